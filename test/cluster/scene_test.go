package cluster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	root  = "../.."
	chart = root + "/charts/peppasync"
	// firstRelease has all values of the release that upgrades begin with.
	firstRelease = root + "/test/chart/testdata/released/0.1.0.yaml"
	// judged orders are the scene of the demo, half as long: the judge of the demo says that
	// with fewer one late call would be more than the pace may lack.
	judged = 500
	// more are sold after it, and again before each pod ends, so that this many wait then
	// however fast the machine is.
	more = 300
)

// TestScene installs the chart with the values of its first release, has the demo's scene played
// and judged by the demo's judge, sells once more, and while the ERP is fed it changes a limit,
// tries what must be refused, upgrades the release to the values of today, and ends every pod,
// NATS servers included.
func TestScene(t *testing.T) {
	begin := time.Now()
	dir := filepath.Join(t.TempDir(), "node")
	s := opened(t, dir)
	s.part("the demo's Connectors are ready within a minute", s.becomesReady)
	s.part("kubectl shows pace, queue and ETA moving while the demo's scene keeps its promises", s.keepsPromises)
	s.sells(t, more, "--wait")
	s.part("what is wrong is refused with what to write instead", s.refusesWhatIsWrong)
	s.part("a Connector with undelivered orders is not deleted", s.deletesNothingThatIsOwed)
	s.part("a patched limit is kept", s.keepsAPatchedLimit)
	s.part("no role may do what is another's", s.keepsRolesApart)
	s.part("fewer than three copies are refused", s.keepsThreeCopies)
	s.part("the first release is upgraded, and NATS rolls", s.isUpgraded)
	s.part("one of three NATS servers is killed", s.losesAServer)
	s.part("every pod is deleted at once while every Deployment rolls", s.losesEveryPod)
	s.part("each order arrives once, within every window", s.arrives)
	s.part("helm test", func(t *testing.T) { s.helm(t, "test", "peppasync", "-n", "orders") })
	s.part("an uninstall leaves what is documented", s.uninstalls)
	s.part("the node is stopped", func(t *testing.T) { stop(t, s.node, dir) })
	t.Logf("\n%s%7.1f s  in all", strings.Join(s.took, ""), time.Since(begin).Seconds())
}

// scene is the product and its world on a node.
type scene struct {
	t    *testing.T
	node *cluster.Node
	// folder has what was built and prepared for the scene.
	folder string
	// control drives the world; sold is how many orders it has sold.
	control string
	sold    int
	took    []string
}

// part runs a subtest and notes how long it took.
func (s *scene) part(name string, do func(t *testing.T)) {
	begin := time.Now()
	s.t.Run(name, do)
	s.passed(name, begin)
}

func (s *scene) passed(name string, begin time.Time) {
	s.took = append(s.took, fmt.Sprintf("%7.1f s  %s\n", time.Since(begin).Seconds(), name))
}

// report is what the world has seen, as far as it is judged here.
type report struct {
	Sold, Captured, Fed, Duplicates, Throttled, Lost, Undone int
	WMSAccepted                                              int
	Texts                                                    []struct{ Body string }
	Limits                                                   []struct {
		System, Name   string
		Largest, Limit int
	}
}

// images are those that the chart and the world need.
var images = []string{"peppasync", "peppasync-operator", "nats-server", "peppasync-sim"}

// opened returns the product and its world, installed on a node that is started while the
// images are built.
func opened(t *testing.T, dir string) *scene {
	t.Helper()
	begin := time.Now()
	s := &scene{t: t, folder: t.TempDir()}
	old := filepath.Join(dir, "logs", "of-an-earlier-node.log")
	if err := errors.Join(os.MkdirAll(filepath.Dir(old), 0o755), os.WriteFile(old, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	built := make(chan error, 1)
	go func() { built <- s.builds() }()
	s.node = start(t, dir)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the logs of an earlier node make no room: %v", err)
	}
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	archives, err := filepath.Glob(filepath.Join(s.folder, "*.tar"))
	if err != nil || len(archives) != len(images)+1 {
		t.Fatalf("images %v, %v", archives, err)
	}
	for _, archive := range archives {
		if _, err := s.node.Import(t.Context(), archive); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.node.AddVolumes(t.Context(), "nats", "", 3, 20); err != nil {
		t.Fatal(err)
	}
	kubectl(t, s.node, "create", "namespace", "orders")
	kubectl(t, s.node, "label", "namespace", "orders", "pod-security.kubernetes.io/enforce=restricted")
	s.passed("images and node", begin)
	begin = time.Now()
	s.helm(t, "install", "peppasync", chart, "-n", "orders", "-f", firstRelease, "-f", "testdata/values.yaml", "--wait", "--timeout", "5m")
	s.brings(t)
	s.passed("the chart is installed and ready", begin)
	return s
}

// builds makes the images, and the programs that drive and judge.
func (s *scene) builds() error {
	if err := s.run(root+"/deploy/images", "go", append([]string{
		"run", ".", "-out", s.folder, "-platforms", "linux/" + runtime.GOARCH,
	}, images...)...); err != nil {
		return err
	}
	if err := s.run(root+"/test", "go", "build", "-o", s.folder+"/", "./sim/peppasync-sim", "./runner/peppasync-scene", "./runner/peppasync-probe"); err != nil {
		return err
	}
	probe := cluster.Image{Name: probeImage, Program: filepath.Join(s.folder, "peppasync-probe"), User: "65532"}
	if err := probe.Write(filepath.Join(s.folder, "probe.tar")); err != nil {
		return err
	}
	return s.run(root+"/test", filepath.Join(s.folder, "peppasync-scene"), "prepare", "--orders", fmt.Sprint(judged), "--folder", s.folder,
		"--host", "world.orders.svc", "--target", "http://peppasync-ingest/v1/webhooks/shopify")
}

// brings puts the world and the users' Secrets into the namespace.
func (s *scene) brings(t *testing.T) {
	t.Helper()
	kubectl(t, s.node, "create", "configmap", "world", "-n", "orders", "--from-file="+filepath.Join(s.folder, "sim.yaml"))
	if _, err := s.apply("testdata/world.yaml"); err != nil {
		t.Fatal(err)
	}
	secrets, err := filepath.Glob(filepath.Join(s.folder, "secrets", "*"))
	if err != nil || len(secrets) == 0 {
		t.Fatalf("secrets %v, %v", secrets, err)
	}
	for _, folder := range secrets {
		kubectl(t, s.node, "create", "secret", "generic", filepath.Base(folder), "-n", "orders", "--from-file="+folder)
	}
	kubectl(t, s.node, "wait", "pod/world", "-n", "orders", "--for=condition=Ready", "--timeout", wait.String())
	s.control = "http://" + kubectl(t, s.node, "get", "service", "world", "-n", "orders", "-o", "jsonpath={.spec.clusterIP}") + ":9100"
}

// run runs a program of the machine in one of the repository's folders.
func (s *scene) run(folder, program string, arguments ...string) error {
	command := exec.CommandContext(s.t.Context(), program, arguments...)
	command.Dir, command.Env = folder, append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, said)
	}
	return nil
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
func (s *scene) world(t *testing.T, arguments ...string) string {
	t.Helper()
	program := filepath.Join(s.folder, "peppasync-sim")
	said, err := s.node.Command(t.Context(), program, append(arguments, "--control", s.control)...).Output()
	if err != nil {
		t.Fatalf("peppasync-sim %s: %v", strings.Join(arguments, " "), err)
	}
	return string(said)
}

func (s *scene) sells(t *testing.T, count int, how ...string) {
	t.Helper()
	s.sold += count
	s.world(t, append([]string{"sell", "--sku", "VIRAL-1", "--count", fmt.Sprint(count)}, how...)...)
}

func (s *scene) report(t *testing.T) report {
	t.Helper()
	var r report
	if err := json.Unmarshal([]byte(s.world(t, "report", "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// keepsPromises plays the demo's scene, while somebody watches the Connectors.
func (s *scene) keepsPromises(t *testing.T) {
	watched := s.watches(t)
	memory := s.measures(t)
	var said bytes.Buffer
	play := s.node.Command(t.Context(), filepath.Join(s.folder, "peppasync-scene"), "--orders", fmt.Sprint(judged), "--world", s.control, "--memory-file", memory)
	play.Stdout = io.MultiWriter(&said, t.Output())
	play.Stderr = t.Output()
	err := play.Run()
	s.sold += judged
	// What it printed is the table; the number is that of the demo.
	if want := "20 of 20 promises kept"; err != nil || !strings.Contains(said.String(), want) {
		t.Errorf("the scene ends with %v, want %q", err, want)
	}
	watched(t)
}

// measures keeps the largest resident size of a process of the product in a file, until
// the test ends.
func (s *scene) measures(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "memory")
	quit, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.measure(file, quit) }()
	t.Cleanup(func() {
		close(quit)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return file
}

func (s *scene) measure(file string, quit <-chan struct{}) error {
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	var largest int64
	for {
		processes, err := s.node.PodProcesses()
		if err != nil {
			return err
		}
		for _, p := range processes {
			if p.Program == "/bin/peppasync" {
				largest = max(largest, p.PeakMemory)
			}
		}
		// Renamed, so that nobody reads one that is half written.
		if err := errors.Join(os.WriteFile(file+".new", fmt.Append(nil, largest), 0o600), os.Rename(file+".new", file)); err != nil {
			return err
		}
		select {
		case <-quit:
			return nil
		case <-again.C:
		}
	}
}
