package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Possible returns why this machine allows no disk, or nil.
func Possible(ctx context.Context) error {
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
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("no disk can be mounted: %w", err)
		}
	}
	// What the kernel says about it is known only by trying.
	room, err := NewRoom(ctx)
	if err != nil {
		return err
	}
	return room.Close()
}

// Room is where disks are mounted, seen by nobody but the processes in it. All of it ends
// with this process, however that ends: what a test leaves mounted when it is killed would
// stay until the machine is started again.
//
// This process serves the disks and is not in the room itself. If it were, and died
// without unmounting, the kernel would write back to a disk of which nobody answers any
// more, for ever.
type Room struct {
	keeper *exec.Cmd
	leave  io.Closer
}

// NewRoom returns a room that sees what is mounted now.
func NewRoom(ctx context.Context) (*Room, error) {
	keeper := exec.CommandContext(context.WithoutCancel(ctx), "cat")
	keeper.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	leave, err := keeper.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := keeper.Start(); err != nil {
		return nil, fmt.Errorf("no process may have mounts of its own: %w", err)
	}
	return &Room{keeper: keeper, leave: leave}, nil
}

// Close ends the room. Nothing may run in it any more.
func (r *Room) Close() error { return errors.Join(r.leave.Close(), r.keeper.Wait()) }

// Enter returns how a command in the room begins.
func (r *Room) Enter() []string {
	return []string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", r.keeper.Process.Pid), "--"}
}

// Wrap makes a program that runs another one in the room, in the same process.
func (r *Room) Wrap(name, program string) error {
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s \"$@\"\n", strings.Join(r.Enter(), " "), program)
	return os.WriteFile(name, []byte(script), 0o700)
}

func (r *Room) run(ctx context.Context, files []*os.File, arguments ...string) error {
	arguments = append(r.Enter(), arguments...)
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	command.ExtraFiles = files
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", arguments, err, out)
	}
	return nil
}

// Format makes a file with an empty ext4 file system of that many bytes.
func Format(ctx context.Context, name string, size int64) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return err
	}
	format := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-b", strconv.Itoa(blockSize), name)
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4 %s: %w\n%s", name, err, out)
	}
	return nil
}

// Mounted is a disk with a file system that is mounted in a room.
type Mounted struct {
	room   *Room
	at     string
	server *server
}

// Mount mounts the file system that a disk holds. Where it was not unmounted, its journal
// is played first, as at the start of a machine. The folder is made; the disk's file lies
// beside it.
func (r *Room) Mount(ctx context.Context, d *Disk, at string) (*Mounted, error) {
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, err
	}
	server, err := d.serve(ctx, r, at+".disk")
	if err != nil {
		return nil, err
	}
	if err := r.run(ctx, nil, "mount", "-t", "ext4", "-o", "loop", server.at, at); err != nil {
		return nil, errors.Join(err, server.close())
	}
	return &Mounted{room: r, at: at, server: server}, nil
}

// Unmount writes what is not written yet and ends the mount.
func (m *Mounted) Unmount() error {
	return errors.Join(m.room.run(context.Background(), nil, "umount", m.at), m.server.close())
}

// Abandon ends the mount of a disk without power, after Fail.
func (m *Mounted) Abandon() error {
	return errors.Join(m.room.run(context.Background(), nil, "umount", "--lazy", m.at), m.server.close())
}
