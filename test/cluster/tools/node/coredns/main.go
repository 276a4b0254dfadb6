// Command coredns answers for the names of Services and pods. It is CoreDNS with the
// plugins that the node's Corefile names: the others bring the clients of three clouds,
// which take longer to build than everything else in it.
package main

import (
	"github.com/coredns/coredns/coremain"

	// The plugins register themselves; their order is CoreDNS's own.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() { coremain.Run() }
