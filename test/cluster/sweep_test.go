package cluster

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSweep clears away what a node left whose owner was killed together with its guard.
func TestSweep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	if err := os.MkdirAll(filepath.Join(dir, "pods"), 0o755); err != nil {
		t.Fatal(err)
	}
	left := &remains{Dir: dir}
	groups, err := left.cgroups()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(left.register(), groups.create(), left.network().create(t.Context())); err != nil {
		t.Fatal(err, left.clear(t.Context()))
	}
	process := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && echo && exec sleep 1h`, groups.leaf())
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left.network().path()); err != nil {
		t.Errorf("swept while its owner lives: %v", err)
	}
	if err := left.held.Close(); err != nil { // as the end of its owner does
		t.Fatal(err)
	}
	if err := sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(); err == nil {
		t.Error("its process has ended by itself")
	}
	for _, path := range []string{left.file(), left.network().path(), groups.leaf(), groups.folder(groups.tracking), filepath.Join(dir, "pods")} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}
