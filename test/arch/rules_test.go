package arch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// rule is one law of the structure.
type rule struct {
	name   string
	reason string
	// check returns what breaks the rule, each with its place.
	check func(tree []pkg) []string
}

// services do not know each other; they meet through proto and subjects.
var services = []string{
	"ingest", "logic-gate", "throttle-dispatcher", "inventory-reconciler", "notifier", "console",
}

// sharedPackages is the whole of services/internal.
var sharedPackages = []string{
	"bus", "bus/embed", "bus/bustest", "catalog", "catalog/rulestest", "order", "expr", "fault", "maintenance", "notice", "run", "telemetry", "secrets",
}

// purePackages take values and return values, so that testing/synctest and
// property tests can run years of faults in them within seconds.
var purePackages = []string{
	"services/throttle-dispatcher/internal/budget",
	"services/throttle-dispatcher/internal/doubt",
	"services/throttle-dispatcher/internal/feedback",
	"services/throttle-dispatcher/internal/ledger",
	"services/throttle-dispatcher/internal/maintenance",
	"services/throttle-dispatcher/internal/outage",
	"services/throttle-dispatcher/internal/backoff",
	"services/throttle-dispatcher/internal/certificate",
	"services/throttle-dispatcher/internal/promise",
	"services/throttle-dispatcher/internal/queue",
	"services/inventory-reconciler/internal/allocation",
	"services/logic-gate/internal/plan",
	"services/ingest/internal/submission",
	"services/peppasync/internal/orderfile",
	"services/peppasync/internal/permission",
	"services/notifier/internal/message",
	"services/operator/internal/access",
	"services/operator/internal/selection",
	"services/operator/internal/status",
	"services/internal/order",
	"services/internal/fault",
	"services/internal/maintenance",
}

// impure is what a pure package may not reach for.
var impure = []string{
	"context", "net", "os", "io/fs", "io/ioutil", "syscall", "log", "crypto/rand", "database/sql",
	"golang.org/x/sys", "google.golang.org/grpc", "go.opentelemetry.io",
	"github.com/nats-io", "github.com/synadia-io",
	prefix + "services/internal/bus", prefix + "services/internal/run",
	prefix + "services/internal/telemetry", prefix + "services/internal/secrets",
}

const maxLines = 600

var rules = []rule{
	{
		name: "only the bus speaks NATS",
		reason: "the classes of JetStream errors, compare-and-set and the trace headers are settled once, in services/internal/bus; " +
			"a second client would settle them differently",
		check: func(tree []pkg) []string {
			return onlyWithin(tree, "services", "services/internal/bus",
				"github.com/nats-io/nats.go", "github.com/synadia-io/orbit.go")
		},
	},
	{
		name: "only the embedded bus holds the NATS server",
		reason: "the server is most of the all-in-one's memory and none of a role's in a cluster, " +
			"and its durability settings have to stand in one place; the bus's own tests may change its options",
		check: func(tree []pkg) []string {
			return forbid(tree, func(p pkg, f file, imported string) bool {
				forTests := within(p.path, "services/internal/bus/bustest") || within(p.path, "services/internal/bus") && f.test
				return within(p.path, "services") && !within(p.path, "services/internal/bus/embed") && !forTests &&
					within(imported, "github.com/nats-io/nats-server")
			})
		},
	},
	{
		name:   "bustest, rulestest and simtest are for tests",
		reason: "a server that lives as long as one test has no place in a binary, nor have the cases of one",
		check: func(tree []pkg) []string {
			return forbid(tree, func(p pkg, f file, imported string) bool {
				return !f.test && (within(imported, prefix+"services/internal/bus/bustest") ||
					within(imported, prefix+"services/internal/catalog/rulestest") || within(imported, prefix+"test/sim/simtest")) &&
					!within(p.path, "services/internal/bus/bustest")
			})
		},
	},
	{
		name:   "no service imports another",
		reason: "they run as processes of their own and meet through proto and subjects; an import would be a second, untested way",
		check: func(tree []pkg) []string {
			return forbid(tree, func(p pkg, _ file, imported string) bool {
				importer, imports := serviceOf(p.path), serviceOf(strings.TrimPrefix(imported, prefix))
				return importer != "" && imports != "" && importer != imports
			})
		},
	},
	{
		name: "imports point downwards",
		reason: "test > peppasync main > up, operator > service facades > their shells > their pure packages > catalog > connectors > " +
			"the rest of services/internal > proto, services/api; an import that goes up makes two layers one",
		check: checkDirection,
	},
	{
		name:   "the simulated outside world imports nothing of the product",
		reason: "it is the judge: code that it shared with the product would make the same mistake on both sides",
		check: func(tree []pkg) []string {
			return forbid(tree, func(p pkg, _ file, imported string) bool {
				return within(p.path, "test/sim") && within(imported, strings.TrimSuffix(prefix, "/")) &&
					!within(imported, prefix+"test/sim")
			})
		},
	},
	{
		name:   "only the operator uses Kubernetes",
		reason: "every role runs the same code on a laptop and in a cluster, and controller-runtime would triple its dependencies",
		check: func(tree []pkg) []string {
			return onlyWithin(tree, "services", "services/operator",
				"sigs.k8s.io/controller-runtime", "k8s.io/client-go", "k8s.io/api")
		},
	},
	{
		name: "only the check of manifests judges as the API server does",
		reason: "its schemas and rules are an eighth of the binary and a second CEL; roles judge by the catalog, and so the check can move " +
			"to a binary of its own in one step",
		check: func(tree []pkg) []string {
			return forbid(tree, func(p pkg, _ file, imported string) bool {
				return within(p.path, "services") && !within(p.path, "services/operator") && !within(p.path, "services/peppasync/internal/crd") &&
					(within(imported, "k8s.io/apiextensions-apiserver") || within(imported, "k8s.io/apiserver"))
			})
		},
	},
	{
		name:   "services/api imports apimachinery only",
		reason: "whoever reads our custom resources takes this module into theirs, with all that it requires",
		check: func(tree []pkg) []string {
			return forbid(tree, func(p pkg, f file, imported string) bool {
				return within(p.path, "services/api") && !f.test && !standard(imported) &&
					!within(imported, "k8s.io/apimachinery") && !within(imported, prefix+"services/api")
			})
		},
	},
	{
		name:   "pure packages do no I/O",
		reason: "budgets, ledgers, plans and allocations are proved by running years of them in seconds, which a socket, a file or a context would end",
		check: func(tree []pkg) []string {
			return forbid(tree, func(p pkg, f file, imported string) bool {
				return !f.test && slices.Contains(purePackages, p.path) &&
					slices.ContainsFunc(impure, func(root string) bool { return within(imported, root) })
			})
		},
	},
	{
		name:   "pure packages are told the time",
		reason: "a decision that reads the clock cannot be repeated; the caller passes the time in",
		check: func(tree []pkg) []string {
			return declarations(tree, func(p pkg, f file) []string {
				if f.test || !slices.Contains(purePackages, p.path) {
					return nil
				}
				return f.clockReads
			})
		},
	},
	{
		name:   "tests do not sleep",
		reason: "a sleep is too short on a slow machine and too long on a fast one; wait for the condition with a deadline, or use testing/synctest",
		check: func(tree []pkg) []string {
			return declarations(tree, func(_ pkg, f file) []string {
				if !f.test || slices.Contains(f.imports, "testing/synctest") {
					return nil
				}
				return slices.DeleteFunc(slices.Clone(f.clockReads), func(read string) bool {
					return !strings.HasSuffix(read, " time.Sleep")
				})
			})
		},
	},
	{
		name:   "services/internal is a closed list",
		reason: "what is shared is what every service must do alike; anything else lives with its only user",
		check: func(tree []pkg) []string {
			return folders(tree, func(folder string) bool {
				shared, ok := strings.CutPrefix(folder, "services/internal/")
				return ok && !slices.Contains(sharedPackages, shared)
			})
		},
	},
	{
		name:   "a service is a facade and its internals",
		reason: "a service offers Config, New and Run; what is below it belongs in its internal folder, where nobody else can lean on it",
		check: func(tree []pkg) []string {
			return folders(tree, func(folder string) bool {
				service := serviceOf(folder)
				return service != "" && folder != "services/"+service && !within(folder, "services/"+service+"/internal")
			})
		},
	},
	{
		name:   "every package has a room in the layout",
		reason: "the layers cannot be kept by a package that belongs to none of them",
		check: func(tree []pkg) []string {
			return folders(tree, func(folder string) bool { return layerOf(folder) == outside })
		},
	},
	{
		name:   "folders are named after what they hold",
		reason: "a folder whose name says nothing collects whatever has no better place",
		check: func(tree []pkg) []string {
			vague := []string{"util", "utils", "common", "helpers", "helper", "misc", "base", "types", "lib", "shared"}
			return folders(tree, func(folder string) bool {
				return slices.ContainsFunc(strings.Split(folder, "/"), func(name string) bool {
					return slices.Contains(vague, strings.ToLower(name))
				})
			})
		},
	},
	{
		name:   fmt.Sprintf("no Go file has more than %d lines", maxLines),
		reason: "a file that long holds more than one subject",
		check: func(tree []pkg) []string {
			return declarations(tree, func(_ pkg, f file) []string {
				if f.generated || f.lines <= maxLines {
					return nil
				}
				return []string{fmt.Sprintf("%d lines", f.lines)}
			})
		},
	},
	{
		name:   "services have no init functions",
		reason: "what runs before main depends on the import order and cannot be configured, tested or seen; wiring is plain code",
		check: func(tree []pkg) []string {
			return declarations(tree, func(p pkg, f file) []string {
				if f.generated || !within(p.path, "services") {
					return nil
				}
				return f.inits
			})
		},
	},
	{
		name:   "services have no package-level registries",
		reason: "a variable that begins empty is filled by somebody at some time, and two engines in one process would share it",
		check: func(tree []pkg) []string {
			return declarations(tree, func(p pkg, f file) []string {
				if f.generated || f.test || !within(p.path, "services") {
					return nil
				}
				return f.registries
			})
		},
	},
}

// The layers, lowest first. A package imports what is below its layer, and
// what is in it where the layer is one room.
const (
	outside = iota
	contracts
	shared
	connectors
	// The catalog asks the connectors' contract what a system can do, so that a
	// configuration that asks for more is refused before it runs.
	configuration
	pure
	shell
	facade
	assembly
	command
	judge
	delivery
)

func layerOf(folder string) int {
	service := serviceOf(folder)
	switch {
	case within(folder, "deploy"):
		return delivery
	case within(folder, "test"):
		return judge
	case within(folder, "services/peppasync"):
		return command
	case within(folder, "services/up"), within(folder, "services/operator"):
		return assembly
	case service != "" && slices.Contains(purePackages, folder):
		return pure
	case service != "" && within(folder, "services/"+service+"/internal"):
		return shell
	case service != "":
		return facade
	case within(folder, "services/connectors"):
		return connectors
	case within(folder, "services/internal/catalog"):
		return configuration
	case within(folder, "services/internal"):
		return shared
	case within(folder, "services/api"), within(folder, "proto"):
		return contracts
	}
	return outside
}

// checkDirection compares layers. Two packages of one layer may meet, except
// across modules and the two assemblies, which are binaries of their own.
func checkDirection(tree []pkg) []string {
	return forbid(tree, func(p pkg, _ file, imported string) bool {
		target, ours := strings.CutPrefix(imported, prefix)
		if !ours {
			return false
		}
		from, to := layerOf(p.path), layerOf(target)
		if from != to {
			return from < to
		}
		return (from == contracts || from == assembly) && room(p.path) != room(target)
	})
}

// room is the folder that a layer's packages do not leave: proto,
// services/api, services/up or services/operator.
func room(folder string) string {
	parts := strings.Split(folder, "/")
	if parts[0] == "services" && len(parts) > 1 {
		return path.Join(parts[:2]...)
	}
	return parts[0]
}

// serviceOf returns the service that a folder belongs to, "" for none.
func serviceOf(folder string) string {
	rest, ok := strings.CutPrefix(folder, "services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	if !slices.Contains(services, name) {
		return ""
	}
	return name
}

// within reports whether folder is root or lies below it.
func within(folder, root string) bool {
	rest, ok := strings.CutPrefix(folder, root)
	return ok && (rest == "" || rest[0] == '/')
}

// standard reports whether an import path is of the standard library, whose
// first element has no dot.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// forbid returns every import for which bad holds.
func forbid(tree []pkg, bad func(p pkg, f file, imported string) bool) []string {
	var found []string
	for _, p := range tree {
		for _, f := range p.files {
			for _, imported := range f.imports {
				if bad(p, f, imported) {
					found = append(found, fmt.Sprintf("%s imports %s", f.name, imported))
				}
			}
		}
	}
	return found
}

// onlyWithin returns the imports of the given roots, or of anything below
// them, that packages below scope make outside of home.
func onlyWithin(tree []pkg, scope, home string, roots ...string) []string {
	return forbid(tree, func(p pkg, _ file, imported string) bool {
		return within(p.path, scope) && !within(p.path, home) &&
			slices.ContainsFunc(roots, func(root string) bool { return within(imported, root) })
	})
}

// folders returns the packages whose folder is bad.
func folders(tree []pkg, bad func(folder string) bool) []string {
	var found []string
	for _, p := range tree {
		if bad(p.path) {
			found = append(found, p.path)
		}
	}
	return found
}

// declarations returns what pick finds in each file, with the file's name.
func declarations(tree []pkg, pick func(p pkg, f file) []string) []string {
	var found []string
	for _, p := range tree {
		for _, f := range p.files {
			for _, place := range pick(p, f) {
				found = append(found, f.name+":"+place)
			}
		}
	}
	return found
}
