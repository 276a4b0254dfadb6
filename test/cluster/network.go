package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// namedNetworks is where ip keeps the namespaces that have names.
	namedNetworks = "/run/netns"
	// nodeAddress is the node's in its network namespace, which nothing outside
	// reaches, so it is the same for all nodes.
	nodeAddress = "172.31.0.2"
	nodeGateway = "172.31.0.1"
	podRange    = "10.244.0.0/24"
)

// network is a namespace with the node's address, and no way out.
type network struct{ name string }

func (n network) path() string { return filepath.Join(namedNetworks, n.name) }

// create makes the namespace. There is no dummy device on every kernel, so one
// end of a veth pair carries the address; the default route goes over it,
// because a client that finds no route at all does not even ask for a Service.
func (n network) create(ctx context.Context) error {
	if err := run(ctx, "ip", "netns", "add", n.name); err != nil {
		return err
	}
	for _, line := range []string{
		"link set lo up",
		"link add node0 type veth peer name node1",
		"address add " + nodeAddress + "/24 dev node0",
		"link set node0 up",
		"link set node1 up",
		"route add default via " + nodeGateway + " dev node0",
	} {
		if err := run(ctx, "ip", append([]string{"-n", n.name}, strings.Fields(line)...)...); err != nil {
			return err
		}
	}
	// Pods reach each other over a bridge, whose packets the rules for Services
	// and the network policies have to see.
	return n.run(ctx, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")
}

// remove deletes the namespace; one that is not there is none.
func (n network) remove(ctx context.Context) error {
	if _, err := os.Stat(n.path()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return run(ctx, "ip", "netns", "delete", n.name)
}

// command runs a program in the namespace. `ip netns exec` would mount a new
// /sys, and the kubelet would find no cgroups in it.
func (n network) command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.path(), "--", program}, arguments...)...)
}

func (n network) run(ctx context.Context, program string, arguments ...string) error {
	return output(n.command(ctx, program, arguments...))
}

// dial connects from within the namespace: a socket stays in the namespace of
// the thread that made it.
func (n network) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		return nil, fmt.Errorf("%s is not an address: names are resolved by other threads, outside of the node", host)
	}
	var conn net.Conn
	err = n.within(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, protocol, address)
		return err
	})
	return conn, err
}

// within runs a function in the namespace, and brings its thread back. A thread
// that ended there instead would take with it the components that it has started,
// whose leash is the thread's life and not the process's.
func (n network) within(do func() error) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			ended <- err
			return
		}
		defer func() { _ = home.Close() }()
		err = n.enter()
		if err == nil {
			err = do()
		}
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			// Stays locked, so that nobody else finds himself in the namespace.
			ended <- errors.Join(err, fmt.Errorf("leave %s: %w", n.path(), back))
			return
		}
		runtime.UnlockOSThread()
		ended <- err
	}()
	return <-ended
}

func (n network) enter() error {
	namespace, err := os.Open(n.path())
	if err != nil {
		return err
	}
	defer func() { _ = namespace.Close() }()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", n.path(), err)
	}
	return nil
}

// run runs a program to its end and returns what it said if it failed.
func run(ctx context.Context, program string, arguments ...string) error {
	return output(exec.CommandContext(ctx, program, arguments...))
}

func output(command *exec.Cmd) error {
	said, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(string(said)))
	}
	return nil
}
