package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// registry has a file for each node that was started and not cleared away.
	registry = "/run/peppasync-cluster"
	// grace is for pods and components together: nobody waits for their answers.
	grace        = 3 * time.Second
	clearTimeout = 60 * time.Second
)

// remains is what a node leaves in the system besides its folder. All of it can
// be found from the folder's name alone.
type remains struct {
	Dir string `json:"dir"`
	// Detached nodes outlive the process that started them.
	Detached bool `json:"detached"`
	// held is locked for as long as the owner lives.
	held *os.File
}

// name is short, because it is a part of socket paths and of device names.
func (r *remains) name() string {
	sum := sha256.Sum256([]byte(r.Dir))
	return "peppasync-" + hex.EncodeToString(sum[:4])
}

func (r *remains) network() network { return network{name: r.name()} }

func (r *remains) cgroups() (cgroups, error) { return findCgroups(r.name()) }

func (r *remains) file() string { return filepath.Join(registry, r.name()) }

// register notes that the node exists, before anything of it does.
func (r *remains) register() error {
	if err := os.MkdirAll(registry, 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if r.held, err = os.OpenFile(r.file(), os.O_CREATE|os.O_RDWR, 0o644); err != nil {
		return err
	}
	if err := unix.Flock(int(r.held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("another process starts or stops the node of %s: %w", r.Dir, err), r.held.Close())
	}
	if err := r.held.Truncate(0); err != nil {
		return err
	}
	_, err = r.held.Write(data)
	return err
}

// clear ends every process of the node and removes what it made in the
// system, and its folder but for the logs. Mounts need no care: those of the
// kubelet, of containerd and of the pods are in a mount namespace of their
// own, which ends with the last process in it.
func (r *remains) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), clearTimeout, fmt.Errorf("not cleared within %v", clearTimeout))
	defer cancel()
	groups, err := r.cgroups()
	if err != nil {
		return err
	}
	if err := groups.end(ctx, grace); err != nil {
		return err
	}
	if err := errors.Join(groups.remove(ctx), r.network().remove(ctx)); err != nil {
		return err
	}
	if err := r.empty(); err != nil {
		return err
	}
	if err := os.Remove(r.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if r.held != nil {
		err = r.held.Close()
		r.held = nil
	}
	return err
}

// empty removes the folder's content. It does not reach through a mount, which
// may show a folder of the machine.
func (r *remains) empty() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], r.Dir+"/") {
			return fmt.Errorf("%s is still mounted: unmount it and remove %s", fields[4], r.Dir)
		}
	}
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == logFolder {
			continue
		}
		if err := os.RemoveAll(filepath.Join(r.Dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Nodes returns the folders of the nodes that run detached.
func Nodes() ([]string, error) {
	all, err := registered()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, r := range all {
		if r.Detached {
			dirs = append(dirs, r.Dir)
		}
	}
	return dirs, nil
}

// Down ends the node of a folder, whoever started it.
func Down(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	return (&remains{Dir: dir}).clear(ctx)
}

// sweep clears away the nodes whose owner was killed.
func sweep(ctx context.Context) error {
	all, err := registered()
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.Detached {
			continue
		}
		if err := r.clearOrphan(ctx); err != nil && !errors.Is(err, errOwned) {
			return fmt.Errorf("clear away the node of %s, which nobody stopped: %w", r.Dir, err)
		}
	}
	return nil
}

// errOwned says that there is no orphan.
var errOwned = errors.New("its owner lives")

func (r *remains) clearOrphan(ctx context.Context) error {
	held, err := os.Open(r.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(errOwned, held.Close())
	}
	r.held = held
	return r.clear(ctx)
}

func registered() ([]*remains, error) {
	entries, err := os.ReadDir(registry)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*remains
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(registry, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := &remains{}
		if err := json.Unmarshal(data, r); err != nil {
			continue // half written: its owner is at it, or died before the node began
		}
		all = append(all, r)
	}
	return all, nil
}
