package disk

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// Possible returns why this machine allows no disk, or nil.
func Possible() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may mount a disk, and this is user %d", os.Geteuid())
	}
	for _, device := range []string{"/dev/fuse", "/dev/loop-control"} {
		file, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("no disk can be mounted: %w", err)
		}
		_ = file.Close()
	}
	for _, tool := range []string{"mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("no disk can be mounted: %w", err)
		}
	}
	// What the kernel says about it is known only by trying.
	if out, err := InOwnMounts(context.Background(), "true").CombinedOutput(); err != nil {
		return fmt.Errorf("no mounts of its own for a process: %w\n%s", err, out)
	}
	return nil
}

// InOwnMounts returns a command that sees what is mounted now, and whose own mounts
// nobody else sees. They end with it and its children, however these end: what a test
// leaves mounted when it is killed would stay until the machine is started again.
func InOwnMounts(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, program, arguments...)
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return command
}

// Format makes a file with an empty ext4 file system of that many bytes.
func Format(ctx context.Context, name string, size int64) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := file.Truncate(size); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return tool(ctx, "mkfs.ext4", "-q", "-F", "-b", strconv.Itoa(blockSize), name)
}

// Mount mounts the file system that a file holds. Where it was not unmounted, its
// journal is played first, as at the start of a machine.
func Mount(ctx context.Context, file, at string) error {
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	return tool(ctx, "mount", "-t", "ext4", "-o", "loop", file, at)
}

// Unmount ends what Mount began. It writes what is not written yet.
func Unmount(at string) error {
	if err := syscall.Unmount(at, 0); err != nil {
		return fmt.Errorf("unmounting %s: %w", at, err)
	}
	return nil
}

// Abandon unmounts what Mount mounted from a disk without power.
func Abandon(at string) error {
	if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("abandoning %s: %w", at, err)
	}
	return nil
}

func tool(ctx context.Context, name string, arguments ...string) error {
	if out, err := exec.CommandContext(ctx, name, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, arguments, err, out)
	}
	return nil
}
