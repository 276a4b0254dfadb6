package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// stopTimeout is how long a component may take to end before it is killed.
	stopTimeout = 10 * time.Second
	// shownLines is how much of a log is shown with a failure.
	shownLines = 15
	poll       = 100 * time.Millisecond
	logFolder  = "logs"
)

// component is one started program of the node. err may be read when ended is
// closed.
type component struct {
	name    string
	log     string
	command *exec.Cmd
	ended   chan struct{}
	err     error
}

// startComponent runs the command with its output in its log folder. Unless it
// is detached the system kills it when this process ends, however that ends.
func startComponent(dir, name string, detached bool, command *exec.Cmd) (*component, error) {
	c := &component{name: name, log: filepath.Join(dir, logFolder, name+".log"), command: command, ended: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(c.log), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	command.Stdout, command.Stderr = log, log
	// A group of its own: a Ctrl-C at the terminal is for this process, which
	// ends the others in their order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !detached {
		command.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.err = command.Wait()
		close(c.ended)
	}()
	return c, nil
}

// stop asks the process to end and kills it when it does not.
func (c *component) stop() error {
	if err := c.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.ended:
		return nil
	case <-time.After(stopTimeout):
	}
	if err := c.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-c.ended
	return nil
}

func (c *component) signal(signal os.Signal) error {
	if err := c.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", c.name, err)
	}
	return nil
}

// until asks again and again whether ready holds, and gives up when ctx or one
// of the components ends. The error then shows what their logs say last.
func until(ctx context.Context, components []*component, ready func(context.Context) error) error {
	again := time.NewTicker(poll)
	defer again.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, c := range components {
			select {
			case <-c.ended:
				return &endedError{name: c.name, cause: c.err, tail: tail(c.log)}
			default:
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%w, last: %w%s", context.Cause(ctx), err, tails(components))
		}
	}
}

// endedError says that a component that should run does not.
type endedError struct {
	name  string
	cause error
	tail  string
}

func (e *endedError) Error() string {
	how := "exit code 0"
	if e.cause != nil {
		how = e.cause.Error()
	}
	return fmt.Sprintf("%s ended (%s)%s", e.name, how, e.tail)
}

func tails(components []*component) string {
	var all strings.Builder
	for _, c := range components {
		all.WriteString(tail(c.log))
	}
	return all.String()
}

// tail returns the last lines of a log, for a person.
func tail(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Sprintf("\n%v", err)
	}
	lines := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	lines = lines[max(0, len(lines)-shownLines):]
	return fmt.Sprintf("\nthe last lines of %s:\n\t%s", name, bytes.Join(lines, []byte("\n\t")))
}
