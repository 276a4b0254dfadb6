package scenario

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/scene"
)

func TestMain(m *testing.M) {
	if err := manyAtOnce(); err != nil {
		panic(err)
	}
	folder, err := os.MkdirTemp("", "peppasync-scenario-")
	if err != nil {
		panic(err)
	}
	builds.folder = folder
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(folder); err != nil {
			panic(err)
		}
		os.Exit(code)
	}))
}

// manyAtOnce lets four of the tests that mostly wait run at the same time on two processors
// too, where nobody has said by -parallel how many: each takes a fifth of one.
func manyAtOnce() error {
	return flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0))))
}

// builds are the binaries of this run of the tests, each built when it is first
// asked for.
var builds struct {
	folder string
	mu     sync.Mutex
	built  map[bool]string
}

// binary returns the product: as it is used, or with the race detector, which
// costs it pace and memory and makes it exit with code 66 after a race.
func binary(t *testing.T, race bool) string {
	t.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if path := builds.built[race]; path != "" {
		return path
	}
	folder := filepath.Join(builds.folder, map[bool]string{false: "plain", true: "race"}[race])
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	path, err := runner.Build(ctx, root(t), folder, race)
	if err != nil {
		t.Fatal(err)
	}
	if builds.built == nil {
		builds.built = make(map[bool]string)
	}
	builds.built[race] = path
	return path
}

func root(t *testing.T) string {
	t.Helper()
	folder, err := runner.Root()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// open starts the outside world and the product, and ends them with the test. A
// product that does not end well fails it; its log is shown when it failed.
func open(t *testing.T, o scene.Options) *scene.Stage {
	t.Helper()
	o.Manifests, o.Folder = filepath.Join(root(t), "deploy", "demo"), t.TempDir()
	stage, err := scene.Open(t.Context(), o)
	if err != nil {
		showLog(t, filepath.Join(o.Folder, "product.log"))
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			showLog(t, stage.Log())
		}
	})
	return stage
}

// showLog prints the end of the product's log.
func showLog(t *testing.T, file string) {
	t.Helper()
	const most = 60
	lines := strings.Split(strings.TrimSpace(logOf(t, file)), "\n")
	t.Logf("the end of the product's log:\n%s", strings.Join(lines[max(len(lines)-most, 0):], "\n"))
}

func logOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

// until fails the test where the condition does not come about in time.
func until(t *testing.T, within time.Duration, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := runner.Until(ctx, 20*time.Millisecond, what, condition); err != nil {
		t.Fatal(err)
	}
}

// judge prints the report and fails the test for every broken promise but those
// that the test is not about.
func judge(t *testing.T, stage *scene.Stage, late error, except ...string) {
	t.Helper()
	report := stage.Report(late)
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", text.String())
	for _, p := range report.Broken() {
		if slices.Contains(except, p.Name) {
			continue
		}
		t.Errorf("%s: found %s; promised: %s", p.Name, p.Found, p.Promised)
	}
}

// lines counts the lines of a log.
func lines(t *testing.T, file string) int {
	t.Helper()
	return strings.Count(logOf(t, file), "\n")
}
