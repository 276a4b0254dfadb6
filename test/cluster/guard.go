package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// guard is a process that outlives this one, however this one ends, to clear away its node.
type guard struct {
	command *exec.Cmd
	// held is closed with this process, if not before.
	held io.Closer
}

// startGuard runs the command, which calls Guard. It is in a session of its own, so that
// what ends this process, such as a Ctrl-C, does not end it.
func startGuard(command *exec.Cmd, dir string) (*guard, error) {
	logs := filepath.Join(dir, logFolder)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(logs, "guard.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	held, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start the guard of a node: %w", err)
	}
	return &guard{command: command, held: held}, nil
}

// dismiss ends it; without a node there is nothing left for it to do.
func (g *guard) dismiss() error {
	if err := errors.Join(g.held.Close(), g.command.Wait()); err != nil {
		return fmt.Errorf("the guard of the node: %w", err)
	}
	return nil
}

// Guard waits for the end of in, which its owner holds open, and then clears away the node
// of a folder if its owner has not.
func Guard(ctx context.Context, in io.Reader, dir string) error {
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	r := &remains{Dir: dir}
	again := time.NewTicker(poll)
	defer again.Stop()
	for begin := time.Now(); ; <-again.C {
		// The kernel closes what a killed process had open one by one, the lock last maybe.
		if err := r.clearOrphan(ctx); !errors.Is(err, errOwned) || time.Since(begin) > clearTimeout {
			return err
		}
	}
}
