package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is a folder in every hierarchy. The kubelet keeps its pods below it,
// and all other processes of the node are in its leaf `node` of one of them. So
// whatever the node has ever started is found here and nowhere else, also
// after this process was killed.
type cgroups struct {
	name string
	// hierarchies are the mount points.
	hierarchies []string
	// tracking is the hierarchy in which the leaf is.
	tracking string
}

// findCgroups tells version 1, with a hierarchy for each controller, from 2.
func findCgroups(name string) (cgroups, error) {
	const mount = "/sys/fs/cgroup"
	var stat unix.Statfs_t
	if err := unix.Statfs(mount, &stat); err != nil {
		return cgroups{}, fmt.Errorf("%s: %w", mount, err)
	}
	if stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return cgroups{name: name, hierarchies: []string{mount}, tracking: mount}, nil
	}
	entries, err := os.ReadDir(mount)
	if err != nil {
		return cgroups{}, err
	}
	c := cgroups{name: name}
	for _, entry := range entries {
		hierarchy := filepath.Join(mount, entry.Name())
		if entry.IsDir() { // `cpu` may be a link to `cpu,cpuacct`
			c.hierarchies = append(c.hierarchies, hierarchy)
		}
	}
	// Counting processes is what costs the least.
	c.tracking = filepath.Join(mount, "pids")
	if !slices.Contains(c.hierarchies, c.tracking) {
		return cgroups{}, fmt.Errorf("%s has no controller `pids`, but %v", mount, c.hierarchies)
	}
	return c, nil
}

func (c cgroups) folder(hierarchy string) string { return filepath.Join(hierarchy, c.name) }

// leaf takes the node's own processes.
func (c cgroups) leaf() string { return filepath.Join(c.folder(c.tracking), "node") }

func (c cgroups) create() error {
	for _, hierarchy := range c.hierarchies {
		if err := os.MkdirAll(c.folder(hierarchy), 0o755); err != nil {
			return err
		}
	}
	if len(c.hierarchies) == 1 {
		if err := c.delegate(); err != nil {
			return err
		}
	}
	if err := c.weigh(); err != nil {
		return err
	}
	return os.MkdirAll(c.leaf(), 0o755)
}

// weigh has the scheduler treat the node as the several dozen processes that it is. To
// begin with a folder weighs as much as one of the processes beside it, and whatever else
// the machine does would starve the whole cluster.
func (c cgroups) weigh() error {
	const processes = 8 // of them are at work at a time
	for _, hierarchy := range c.hierarchies {
		for file, one := range map[string]int{"cpu.shares": 1024, "cpu.weight": 100} { // of version 1, of version 2
			name := filepath.Join(c.folder(hierarchy), file)
			if _, err := os.Stat(name); err != nil {
				continue
			}
			if err := os.WriteFile(name, []byte(strconv.Itoa(one*processes)), 0o644); err != nil {
				return fmt.Errorf("give the node its share of the processors: %w", err)
			}
		}
	}
	return nil
}

// delegate gives the folder all controllers, which version 2 hands on only
// when told to.
func (c cgroups) delegate() error {
	controllers, err := os.ReadFile(filepath.Join(c.tracking, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(controllers)) {
		for _, folder := range []string{c.tracking, c.folder(c.tracking)} {
			if err := os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
				return fmt.Errorf("hand on controller %s: %w", controller, err)
			}
		}
	}
	return nil
}

// processes lists all that are in the folder, at any depth.
func (c cgroups) processes() ([]int, error) {
	var all []int
	for _, hierarchy := range c.hierarchies {
		err := filepath.WalkDir(c.folder(hierarchy), func(name string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went meanwhile
			}
			if err != nil || !entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(name, "cgroup.procs"))
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
				return nil
			}
			for field := range strings.FieldsSeq(string(data)) {
				pid, err := strconv.Atoi(field)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				all = append(all, pid)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// end asks every process to end, and after a while kills those that have not.
func (c cgroups) end(ctx context.Context, grace time.Duration) error {
	deadline := time.Now().Add(grace)
	asked := map[int]bool{}
	again := time.NewTicker(poll)
	defer again.Stop()
	for {
		pids, err := c.processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			signal := syscall.SIGKILL
			if time.Now().Before(deadline) {
				if asked[pid] {
					continue
				}
				signal = syscall.SIGTERM
			}
			asked[pid] = true
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("signal process %d of %s: %w", pid, c.name, err)
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("processes %v of %s do not end: %w", pids, c.name, context.Cause(ctx))
		}
	}
}

// remove deletes the folders, the deepest first. The kernel takes a moment to
// let go of a group whose last process has ended.
func (c cgroups) remove(ctx context.Context) error {
	again := time.NewTicker(poll)
	defer again.Stop()
	for {
		var busy error
		for _, hierarchy := range c.hierarchies {
			if err := removeTree(c.folder(hierarchy)); err != nil {
				busy = err
			}
		}
		if busy == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), busy)
		}
	}
}

// removeTree removes folders only: the files in them are the kernel's.
func removeTree(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
