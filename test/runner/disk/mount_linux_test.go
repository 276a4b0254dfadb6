package disk

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writesTo says to this test that it is the process that writes, and where.
const writesTo = "PEPPASYNC_DISK_TEST"

// TestFileSystem has a process write files to a file system on a disk, half of them with
// fsync, and cuts the power meanwhile. Those with it are there after each cut and each
// loss, and some of the others are not: else a cut would show nothing.
func TestFileSystem(t *testing.T) {
	if store := os.Getenv(writesTo); store != "" {
		writeFiles(store)
		return
	}
	if err := Possible(t.Context()); err != nil {
		t.Skip(err)
	}
	room, err := NewRoom(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := room.Close(); err != nil {
			t.Error(err)
		}
	})
	folder, random := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	empty := filepath.Join(folder, "empty")
	if err := Format(t.Context(), empty, 64<<20); err != nil {
		t.Fatal(err)
	}
	d, err := Load(empty)
	if err != nil {
		t.Fatal(err)
	}
	var synced, lazy []string
	lost, pending := 0, 0
	for round := range 2 * len(Losses) {
		loss := Losses[round%len(Losses)]
		mounted, err := room.Mount(t.Context(), d, filepath.Join(folder, fmt.Sprint(round)))
		if err != nil {
			t.Fatal(err)
		}
		w := startWriter(t, room, mounted.at)
		for _, name := range synced {
			if !slices.Contains(w.found, name) {
				t.Errorf("round %d: file %s was synced and is not there, or not whole", round, name)
			}
		}
		for _, name := range lazy {
			if !slices.Contains(w.found, name) {
				lost++
			}
		}
		for range 1 + random.IntN(30) {
			name := w.line(t)
			synced, lazy = append(synced, name), append(lazy, "lazy-"+name)
		}
		image := <-d.CutAfter(1 + random.IntN(30))
		d.Fail()
		w.end()
		pending += image.Pending()
		if err := mounted.Abandon(); err != nil {
			t.Fatal(err)
		}
		d = image.Disk(loss, random)
	}
	t.Logf("%d files synced; %d writes were left to chance, %d times a file that was not synced was missing", len(synced), pending, lost)
	if lost == 0 || pending == 0 {
		t.Error("the disk keeps what it should not")
	}
}

// writer is a process in a room that writes, and tells by a line of each file that is
// synced.
type writer struct {
	command *exec.Cmd
	lines   *bufio.Scanner
	// found are the files that were there and whole when it began.
	found []string
}

func startWriter(t *testing.T, room *Room, store string) *writer {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	arguments := append(room.Enter(), self, "-test.run=^TestFileSystem$")
	w := &writer{command: exec.CommandContext(t.Context(), arguments[0], arguments[1:]...)}
	w.command.Env = append(os.Environ(), writesTo+"="+store)
	out, err := w.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.lines = bufio.NewScanner(out)
	if err := w.command.Start(); err != nil {
		t.Fatal(err)
	}
	for name := w.line(t); name != "."; name = w.line(t) {
		w.found = append(w.found, name)
	}
	return w
}

func (w *writer) line(t *testing.T) string {
	t.Helper()
	if !w.lines.Scan() {
		t.Fatalf("the writer ended: %v", errors.Join(w.lines.Err(), w.command.Wait()))
	}
	return w.lines.Text()
}

// end waits until it has found that its disk fails.
func (w *writer) end() {
	for w.lines.Scan() {
		continue // what it still says came too late
	}
	_ = w.command.Wait()
}

// writeFiles is the process that writes.
func writeFiles(store string) {
	there, err := os.ReadDir(store)
	if err != nil {
		panic(err)
	}
	for _, entry := range there {
		data, err := os.ReadFile(filepath.Join(store, entry.Name()))
		if err == nil && strings.TrimRight(string(data), ".") == entry.Name() && len(data) > len(entry.Name()) {
			fmt.Println(entry.Name())
		}
	}
	fmt.Println(".")
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s-%d", filepath.Base(store), i)
		if writeFile(store, "lazy-"+name, false) != nil || writeFile(store, name, true) != nil {
			return
		}
		fmt.Println(name)
	}
}

// writeFile writes a file of which is known what it should hold.
func writeFile(store, name string, sync bool) error {
	file, err := os.Create(filepath.Join(store, name))
	if err != nil {
		return err
	}
	_, err = file.WriteString(name + strings.Repeat(".", 20_000))
	if sync {
		err = errors.Join(err, file.Sync())
	}
	return errors.Join(err, file.Close())
}
