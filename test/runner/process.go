package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one started binary. err may be read when ended is closed.
type process struct {
	name    string
	command *exec.Cmd
	ended   chan struct{}
	err     error
}

// start runs the binary with the arguments, the first of which names it. It is
// not ended by ctx, but by stop or kill, in its own time.
func start(ctx context.Context, binary string, log io.Writer, arguments ...string) (*process, error) {
	command := exec.CommandContext(context.WithoutCancel(ctx), binary, arguments...)
	command.Stdout = log
	command.Stderr = log
	leash(command)
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	p := &process{name: arguments[0], command: command, ended: make(chan struct{})}
	go func() {
		p.err = command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// signal does nothing to a process that has ended.
func (p *process) signal(signal os.Signal) error {
	if err := p.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

func (p *process) kill() error {
	if err := p.signal(os.Kill); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// stop asks the process to end and returns how it ended.
func (p *process) stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("%s: %w", p.name, p.err)
		}
		return nil
	case <-time.After(startTimeout):
		return errors.Join(fmt.Errorf("%s did not stop within %v", p.name, startTimeout), p.kill())
	}
}

// exit says how an ended process ended.
func (p *process) exit() error {
	if p.err == nil {
		return fmt.Errorf("%s: exit code 0", p.name)
	}
	return fmt.Errorf("%s: %w", p.name, p.err)
}

// peakMemory returns the largest resident size so far, in bytes.
func (p *process) peakMemory() (int64, error) { return memory(p.command.Process.Pid, "VmHWM:") }

// memory returns a line of a process's status, in bytes.
func memory(pid int, which string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		value, ok := strings.CutPrefix(line, which)
		if !ok {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		return kilobytes * 1024, err
	}
	return 0, fmt.Errorf("no %s in the status of process %d", which, pid)
}

// tick is the unit of the times in /proc: USER_HZ, which is 100 on every platform
// that Go knows.
const tick = 10 * time.Millisecond

func (p *process) usage() (Usage, error) {
	used, err := UsageOf(p.command.Process.Pid)
	if err != nil {
		return Usage{}, fmt.Errorf("%s: %w", p.name, err)
	}
	return used, nil
}

// UsageOf returns what the process of that number has used.
func UsageOf(pid int) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	// The name, in parentheses, may hold anything; of what follows it the 12th and
	// 13th are the times in user and in kernel mode.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return Usage{}, fmt.Errorf("the stat of process %d has %d fields", pid, len(fields))
	}
	var u Usage
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("the stat of process %d: %w", pid, err)
		}
		u.CPU += time.Duration(ticks) * tick
	}
	if u.Memory, err = memory(pid, "VmRSS:"); err != nil {
		return Usage{}, err
	}
	u.Peak, err = memory(pid, "VmHWM:")
	return u, err
}
