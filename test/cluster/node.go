package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/cluster/binaries"
	"github.com/peppasync/peppasync/test/cluster/progress"
)

const startTimeout = 5 * time.Minute

const (
	pauseImage = "peppasync.test/pause:1"
	dnsImage   = "peppasync.test/coredns:1"
)

//go:embed system.yaml
var systemManifest string

// Options are what a node may be told.
type Options struct {
	// Dir takes everything that the node writes, logs included, and must be
	// empty or not there yet. Not in /run, which the node covers for itself.
	Dir string
	// Progress gets a line about each step that takes over two seconds; nil
	// discards.
	Progress io.Writer
	// Detached lets the node outlive this process; Down ends it. Otherwise it
	// ends with this process, and what a kill leaves is cleared by the guard, or
	// by the next Start.
	Detached bool
	// Guard is a command that calls Guard with its standard input and this folder; nil for none.
	Guard *exec.Cmd
}

// Node is a running cluster of one node.
type Node struct {
	remains    *remains
	log        *progress.Log
	store      *binaries.Store
	programs   map[string]string
	keys       *identity
	components []*component
	containerd *component
	kubelet    *component
	guard      *guard
	stopped    bool
}

// Start builds what is not built yet, starts a node and waits until it is
// ready for pods and answers names. An error shows the last lines of the logs.
func Start(ctx context.Context, options Options) (*Node, error) {
	if err := checkMachine(); err != nil {
		return nil, err
	}
	log := progress.New(options.Progress)
	store, err := binaries.Open(ctx, log)
	if err != nil {
		return nil, err
	}
	programs, err := store.GetAll(ctx, binaries.Node()...)
	if err != nil {
		return nil, err
	}
	if err := log.Do("clearing away nodes that nobody stopped", func() error { return sweep(ctx) }); err != nil {
		return nil, err
	}
	dir, err := claim(options.Dir)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(dir, "/run/") || strings.HasPrefix(dir, "/var/run/") {
		return nil, fmt.Errorf("%s: the node covers /run for itself, name a folder elsewhere", dir)
	}
	n := &Node{remains: &remains{Dir: dir, Detached: options.Detached}, log: log, store: store, programs: programs}
	if err := n.remains.register(); err != nil {
		return nil, err
	}
	if options.Guard != nil {
		if n.guard, err = startGuard(options.Guard, dir); err != nil {
			return nil, errors.Join(err, n.Stop())
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("the node is not ready within %v", startTimeout))
	defer cancel()
	if err := n.bringUp(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a node in %s: %w", dir, err), n.Stop())
	}
	return n, nil
}

func (n *Node) bringUp(ctx context.Context) error {
	groups, err := n.remains.cgroups()
	if err != nil {
		return err
	}
	if err := groups.create(); err != nil {
		return err
	}
	if err := n.remains.network().create(ctx); err != nil {
		return err
	}
	if err := n.makeIdentity(); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"starting the API server", n.startAPI},
		{"starting containerd", n.startContainerd},
		{"importing the node's own images", n.importOwn},
		{"applying what the node itself needs", func(ctx context.Context) error { return n.Apply(ctx, systemManifest) }},
		{"starting controllers and kubelet", n.startControllers},
		{"waiting until the node is ready", n.awaitNode},
		{"starting the enforcer of network policies", n.startPolicies},
		{"waiting until names are answered", n.awaitNames},
	} {
		if err := n.log.Do(step.what, func() error { return step.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// start runs a component in the node's cgroup and network. Each of the shells
// and tools replaces itself by the next, so the process that is started is the
// one that runs in the end.
func (n *Node) start(ctx context.Context, name, program string, arguments ...string) (*component, error) {
	groups, err := n.remains.cgroups()
	if err != nil {
		return nil, err
	}
	inside := n.remains.network().command(ctx, program, arguments...)
	command := exec.CommandContext(context.WithoutCancel(ctx), "sh",
		append([]string{"-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, groups.leaf()}, inside.Args...)...)
	c, err := startComponent(n.remains.Dir, name, n.remains.Detached, command)
	if err != nil {
		return nil, err
	}
	n.components = append(n.components, c)
	return c, nil
}

func (n *Node) importOwn(ctx context.Context) error {
	for _, image := range []Image{
		{Name: pauseImage, Program: n.programs["pause"], User: "65535"},
		{Name: dnsImage, Program: n.programs["coredns"]},
	} {
		archive := n.path("own-image.tar")
		if err := image.Write(archive); err != nil {
			return err
		}
		if _, err := n.Import(ctx, archive); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) awaitNode(ctx context.Context) error {
	return until(ctx, n.components, func(ctx context.Context) error {
		ready, err := n.Kubectl(ctx, "get", "node", n.nodeName(), "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
		if err == nil && !strings.HasPrefix(ready, "True") {
			err = fmt.Errorf("node ready: %s", ready)
		}
		return err
	})
}

func (n *Node) awaitNames(ctx context.Context) error {
	return until(ctx, n.components, func(ctx context.Context) error {
		ready, err := n.Kubectl(ctx, "get", "--namespace", "kube-system", "deployment", "coredns", "-o", "jsonpath={.status.readyReplicas}")
		if err == nil && ready != "1" {
			err = errors.New("no pod of CoreDNS is ready")
		}
		return err
	})
}

// Dial connects to an address of the node, of a pod or of a Service, from this
// process, which itself stays outside.
func (n *Node) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return n.remains.network().dial(ctx, network, address)
}

// Logs shows the last lines of each component's log, for the report of a test
// that fails.
func (n *Node) Logs() string { return tails(n.components) }

// Stop ends the node and clears away all that it made in the system. The logs
// stay in the folder. It may be called twice.
func (n *Node) Stop() error {
	if n.stopped {
		return nil // another node may be in the folder by now
	}
	return n.log.Do("stopping the node", func() error {
		var failed error
		if n.kubelet != nil {
			failed = n.kubelet.stop() // it would start again what ends
		}
		if err := errors.Join(failed, n.remains.clear(context.Background())); err != nil {
			return err
		}
		for _, c := range n.components {
			<-c.ended
		}
		n.stopped = true
		if n.guard != nil {
			return n.guard.dismiss()
		}
		return nil
	})
}
