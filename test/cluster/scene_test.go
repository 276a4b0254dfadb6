package cluster_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/cluster"
)

const (
	root   = "../.."
	orders = 600
	// refused is the order whose configuration the warehouse does not know; the first is
	// number 1001.
	refused = 1150
)

// TestScene installs the chart as its README says, gives it the demo, sells, and while
// the ERP is fed it changes a limit, asks for what must be refused, and ends every pod,
// NATS included. The world judges, as it does the demo's.
func TestScene(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	node := start(t, dir)
	s := install(t, node)
	t.Run("the demo's Connectors are ready within a minute", s.becomesReady)
	s.world("sell", "--sku", "VIRAL-1", "--count", fmt.Sprint(orders), "--configuration", fmt.Sprintf("%d=CFG-NOT-KNOWN", refused), "--wait")
	t.Run("kubectl shows what waits, the pace and when it will be there", s.showsFigures)
	t.Run("what is wrong is refused with what to write instead", s.refusesWhatIsWrong)
	t.Run("a Connector with undelivered orders is not deleted", s.deletesNothingThatIsOwed)
	t.Run("a patched limit is kept", s.keepsAPatchedLimit)
	t.Run("no role may do what is another's", s.keepsRolesApart)
	t.Run("every pod ends, and the chart is upgraded", s.losesEveryPod)
	t.Run("each order arrives once, within every window", s.arrives)
	t.Run("helm test", func(t *testing.T) { s.helm(t, "test", "peppasync", "-n", "orders") })
	t.Run("an uninstall leaves what is documented", s.uninstalls)
	stop(t, node, dir)
}

// scene is the product and its world on a node.
type scene struct {
	t    *testing.T
	node *cluster.Node
	// binary and control drive the world.
	binary, control string
}

// report is what the world has seen, as far as it is judged here.
type report struct {
	Sold, Captured, Fed, Duplicates, Throttled, Lost int
	WMSAccepted                                      int
	Texts                                            []struct{ Body string }
	Limits                                           []struct {
		System, Name   string
		Largest, Limit int
	}
}

func install(t *testing.T, node *cluster.Node) *scene {
	t.Helper()
	folder := t.TempDir()
	s := &scene{t: t, node: node, binary: filepath.Join(folder, "peppasync-sim")}
	archives := filepath.Join(folder, "images")
	s.run(root+"/deploy/images", "go", "run", ".", "-out", archives, "-platforms", "linux/"+runtime.GOARCH,
		"peppasync", "peppasync-operator", "nats-server", "peppasync-sim")
	s.run(filepath.Join(root, "test"), "go", "build", "-o", s.binary, "./sim/peppasync-sim")
	files, err := filepath.Glob(filepath.Join(archives, "*.tar"))
	if err != nil || len(files) != 4 {
		t.Fatalf("images %v, %v", files, err)
	}
	for _, file := range files {
		if _, err := node.Import(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.AddVolumes(t.Context(), "nats", "", 1, 4); err != nil {
		t.Fatal(err)
	}
	kubectl(t, node, "create", "namespace", "orders")
	kubectl(t, node, "label", "namespace", "orders", "pod-security.kubernetes.io/enforce=restricted")
	begin := time.Now()
	s.helm(t, "install", "peppasync", chart, "-n", "orders", "-f", small, "-f", "testdata/values.yaml", "--wait", "--timeout", "3m")
	t.Logf("installed and ready in %.1f s", time.Since(begin).Seconds())
	if _, err := s.apply("testdata/world.yaml"); err != nil {
		t.Fatal(err)
	}
	kubectl(t, node, "wait", "pod/world", "-n", "orders", "--for=condition=Ready", "--timeout", wait.String())
	s.control = "http://" + kubectl(t, node, "get", "service", "world", "-n", "orders", "-o", "jsonpath={.spec.clusterIP}") + ":9100"
	secrets, err := filepath.Glob(root + "/deploy/world/secrets/*/*")
	if err != nil || len(secrets) == 0 {
		t.Fatalf("secrets %v, %v", secrets, err)
	}
	for _, file := range secrets {
		kubectl(t, node, "create", "secret", "generic", filepath.Base(filepath.Dir(file)), "-n", "orders", "--from-file="+filepath.Base(file)+"="+file)
	}
	return s
}

const (
	chart = root + "/charts/peppasync"
	small = chart + "/values-small.yaml"
)

// run runs a program of the machine in one of the repository's folders.
func (s *scene) run(folder, program string, arguments ...string) {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), program, arguments...)
	command.Dir, command.Env = folder, append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if said, err := command.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, said)
	}
}

func (s *scene) helm(t *testing.T, arguments ...string) {
	t.Helper()
	if said, err := s.node.Helm(t.Context(), arguments...); err != nil {
		pods, _ := s.node.Kubectl(t.Context(), "get", "pods,events", "-n", "orders")
		t.Fatalf("%v\n%s\n%s", err, said, pods)
	}
}

// apply sends what is in a file or a folder, for the product's namespace.
func (s *scene) apply(path string) (string, error) {
	return s.node.Kubectl(s.t.Context(), "apply", "-n", "orders", "-f", path)
}

// world drives the world, or asks it, and returns what it says.
func (s *scene) world(arguments ...string) string {
	s.t.Helper()
	said, err := s.node.Command(s.t.Context(), s.binary, append(arguments, "--control", s.control)...).Output()
	if err != nil {
		s.t.Fatalf("peppasync-sim %s: %v", strings.Join(arguments, " "), err)
	}
	return string(said)
}

func (s *scene) report(t *testing.T) report {
	t.Helper()
	var r report
	if err := json.Unmarshal([]byte(s.world("report", "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}
