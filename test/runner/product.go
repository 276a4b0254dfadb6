package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTimeout is how long the product may take to be ready, on a slow machine
// and with a data folder that was left by a kill.
const startTimeout = 60 * time.Second

// Product is the all-in-one as a process. It is not safe for concurrent use.
type Product struct {
	// Binary, Files, Secrets and Data are paths.
	Binary, Files, Secrets, Data string
	// Arguments are further flags.
	Arguments []string
	// Log receives what the process writes to standard error.
	Log io.Writer

	listen  string
	nats    string
	process *process
}

// process is one run of the product. err may be read when ended is closed.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
	err     error
}

// Start runs the process and waits until it is ready. After a Kill or Stop it
// listens where it listened before, so that senders find it again.
func (p *Product) Start(ctx context.Context) error {
	if p.listen == "" {
		address, err := freeAddress(ctx)
		if err != nil {
			return err
		}
		p.listen = address
	}
	ready := filepath.Join(filepath.Dir(p.Data), "ready.json")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	arguments := append([]string{
		"up", "-f", p.Files, "--secrets-dir", p.Secrets, "--data", p.Data, "--listen", p.listen, "--ready-file", ready,
	}, p.Arguments...)
	// Not ended by ctx: the process ends by Stop or Kill, in its own time.
	command := exec.CommandContext(context.WithoutCancel(ctx), p.Binary, arguments...)
	command.Stderr = p.Log
	command.Stdout = p.Log
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.Binary, err)
	}
	started := &process{command: command, ended: make(chan struct{})}
	go func() {
		started.err = command.Wait()
		close(started.ended)
	}()
	p.process = started
	if err := p.awaitReady(ctx, ready); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

// freeAddress returns an address of loopback that nobody listens on. Its port
// lies below those that the system gives to outgoing connections: one of them
// could take it while the product is down, and a sender that calls a port of
// that range when nobody listens may be connected to itself.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	var last error
	for range 100 {
		listener, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err != nil {
			last = err
			continue
		}
		return listener.Addr().String(), listener.Close()
	}
	return "", fmt.Errorf("no free port: %w", last)
}

func (p *Product) awaitReady(ctx context.Context, file string) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.process.ended:
			return fmt.Errorf("the product ended before it was ready: %w", p.process.exit())
		case <-deadline.C:
			return fmt.Errorf("the product was not ready within %v", startTimeout)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var addresses struct {
			Webhooks string `json:"webhooks"`
			NATS     string `json:"nats"`
		}
		if err := json.Unmarshal(data, &addresses); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		p.listen, p.nats = strings.TrimPrefix(addresses.Webhooks, "http://"), addresses.NATS
		return nil
	}
}

// WebhookURL returns where a connector's webhooks go.
func (p *Product) WebhookURL(connector string) string {
	return "http://" + p.listen + "/v1/webhooks/" + connector
}

// NATS returns where the embedded NATS listens, "" where it serves nobody.
func (p *Product) NATS() string { return p.nats }

// Kill ends the process at once, as kill -9 does.
func (p *Product) Kill() error {
	if p.process == nil {
		return nil
	}
	if err := p.process.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.process.ended
	p.process = nil
	return nil
}

// Stop asks the process to end and returns how it ended.
func (p *Product) Stop() error {
	if p.process == nil {
		return nil
	}
	if err := p.process.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.process.ended:
		err := p.process.err
		p.process = nil
		return err
	case <-time.After(startTimeout):
		return errors.Join(fmt.Errorf("the product did not stop within %v", startTimeout), p.Kill())
	}
}

// Exited reports whether the process has ended by itself, and how, as an error
// in any case. After a Kill or Stop it has not.
func (p *Product) Exited() (bool, error) {
	if p.process == nil {
		return false, nil
	}
	select {
	case <-p.process.ended:
		return true, p.process.exit()
	default:
		return false, nil
	}
}

// exit says how an ended process ended.
func (p *process) exit() error {
	if p.err == nil {
		return errors.New("exit code 0")
	}
	return p.err
}

// PeakMemory returns the largest resident size of the running process so far,
// in bytes.
func (p *Product) PeakMemory() (int64, error) {
	if p.process == nil {
		return 0, errors.New("the product is not running")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.process.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		value, ok := strings.CutPrefix(line, "VmHWM:")
		if !ok {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		return kilobytes * 1024, err
	}
	return 0, errors.New("no VmHWM in the process's status")
}
