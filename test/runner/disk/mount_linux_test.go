package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
)

// again says to this test that it runs in a process with mounts of its own.
const again = "PEPPASYNC_DISK_TEST"

// TestFileSystem writes files to a file system on a disk, half of them with fsync, and
// cuts the power meanwhile. Those with it are there after each cut and each loss, and
// some of the others are not: else a cut would show nothing.
func TestFileSystem(t *testing.T) {
	if os.Getenv(again) == "" {
		if err := Possible(); err != nil {
			t.Skip(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		command := InOwnMounts(t.Context(), self, "-test.run=^TestFileSystem$", "-test.v")
		command.Env = append(os.Environ(), again+"=1")
		out, err := command.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	folder, random := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	empty := filepath.Join(folder, "empty")
	if err := Format(t.Context(), empty, 64<<20); err != nil {
		t.Fatal(err)
	}
	d, err := Load(empty)
	if err != nil {
		t.Fatal(err)
	}
	var synced []string
	lazy, lost, pending := 0, 0, 0
	for round := range 4 * len(Losses) {
		loss := Losses[round%len(Losses)]
		store := filepath.Join(folder, "store", fmt.Sprint(round))
		server := serve(t, d, store)
		for _, name := range synced {
			if data, err := os.ReadFile(filepath.Join(store, name)); err != nil || string(data) != name {
				t.Fatalf("round %d: file %s was synced and is %q: %v", round, name, data, err)
			}
		}
		for i := range lazy {
			if _, err := os.Stat(filepath.Join(store, fmt.Sprint("lazy-", i))); errors.Is(err, fs.ErrNotExist) {
				lost++
			}
		}
		w := writer{store: store, round: round, lazy: lazy}
		var writing sync.WaitGroup
		writing.Go(w.run)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		enough := 1 + random.IntN(30)
		err := runner.Until(ctx, time.Millisecond, "files are written", func() bool { return len(w.names()) >= enough })
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(random.Int64N(int64(5 * time.Millisecond)))) // somewhere in the middle of a file
		names := w.names()
		image := d.Cut()
		d.Fail()
		writing.Wait()
		synced, lazy, pending = append(synced, names...), w.lazy, pending+image.Pending()
		if err := errors.Join(Abandon(store), server.Close()); err != nil {
			t.Fatal(err)
		}
		d = image.Disk(loss, random)
	}
	t.Logf("%d files synced, all of them there; %d writes were left to chance, %d times a file that was not synced was missing", len(synced), pending, lost)
	if lost == 0 || pending == 0 {
		t.Error("the disk keeps what it should not")
	}
}

// writer writes files with fsync, and one without before each, until the disk fails.
type writer struct {
	store       string
	round, lazy int

	mu     sync.Mutex
	synced []string
}

func (w *writer) run() {
	for i := 0; ; i++ {
		_ = os.WriteFile(filepath.Join(w.store, fmt.Sprint("lazy-", w.lazy)), make([]byte, 40_000), 0o600)
		w.lazy++
		name := fmt.Sprintf("synced-%d-%d", w.round, i)
		if synced(filepath.Join(w.store, name), name) != nil {
			return
		}
		w.mu.Lock()
		w.synced = append(w.synced, name)
		w.mu.Unlock()
	}
}

func (w *writer) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.synced)
}

// synced returns nil once a file is there for good.
func synced(name, text string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Sync(), file.Close())
}

func serve(t *testing.T, d *Disk, store string) *Server {
	t.Helper()
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	server, err := d.Serve(store + ".disk")
	if err != nil {
		t.Fatal(err)
	}
	if err := Mount(t.Context(), store+".disk", store); err != nil {
		t.Fatal(errors.Join(err, server.Close()))
	}
	return server
}
