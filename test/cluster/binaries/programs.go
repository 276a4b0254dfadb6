package binaries

import "fmt"

// program is one main package of a module.
type program struct {
	// tool is the folder under tools/ whose go.mod pins the module. Programs of one are
	// built at once: with the same tags, with cgo or without, each named after its package.
	tool string
	// pkg is the main package.
	pkg string
	// module is the one that gives its version; empty where the source is here.
	module string
	// cgo is set where C is linked; all others are static.
	cgo  bool
	tags string
	// stamp are the variables that hold the version: a program that is built from
	// a module does not know it, and clients compare the versions of servers.
	stamp []string
}

const kubernetes = "k8s.io/kubernetes"

// programs are all that a node consists of, by file name.
var programs = map[string]program{
	"etcd":                    {tool: "etcd", pkg: "go.etcd.io/etcd/server/v3", module: "go.etcd.io/etcd/server/v3"},
	"kube-apiserver":          kube("kube-apiserver"),
	"kube-controller-manager": kube("kube-controller-manager"),
	"kube-scheduler":          kube("kube-scheduler"),
	"kube-proxy":              kube("kube-proxy"),
	"kubelet":                 kube("kubelet"),
	"kubectl":                 kube("kubectl"),
	"containerd":              runtime("containerd"),
	"containerd-shim-runc-v2": runtime("containerd-shim-runc-v2"),
	"ctr":                     runtime("ctr"),
	"runc": {
		tool: "runc", pkg: "github.com/opencontainers/runc", module: "github.com/opencontainers/runc", cgo: true, tags: "seccomp",
	},
	"coredns": {tool: "node", pkg: "./coredns", module: "github.com/coredns/coredns"},
	"helm": {
		tool: "node", pkg: "helm.sh/helm/v4/cmd/helm", module: "helm.sh/helm/v4", stamp: []string{"helm.sh/helm/v4/internal/version.version"},
	},
	"kube-router": {
		tool: "node", pkg: "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", module: "github.com/cloudnativelabs/kube-router/v2",
	},
	"pause": {tool: "pause", pkg: "."},
}

func kube(name string) program {
	return program{
		tool: "kubernetes", pkg: kubernetes + "/cmd/" + name, module: kubernetes,
		stamp: []string{"k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"},
	}
}

func runtime(name string) program {
	const module = "github.com/containerd/containerd/v2"
	return program{tool: "node", pkg: module + "/cmd/" + name, module: module, stamp: []string{module + "/version.Version"}}
}

// Node lists what a node runs, in the order in which it should be built: first
// what makes an API server, for which others may wait.
func Node() []string {
	return []string{
		"etcd", "kube-apiserver", "kubectl",
		"kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy",
		"containerd", "containerd-shim-runc-v2", "ctr", "runc", "pause", "coredns", "kube-router",
	}
}

// All lists every program: those of the node, and the client that installs charts.
func All() []string { return append(Node(), "helm") }

func find(name string) (program, error) {
	p, known := programs[name]
	if !known {
		return program{}, fmt.Errorf("%s is not a program of the node; known are %v", name, All())
	}
	return p, nil
}
