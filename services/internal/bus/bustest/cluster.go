package bustest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/embed"
)

// What a node's process is told.
const (
	nodeNumber  = "BUSTEST_NODE"
	nodeFolder  = "BUSTEST_FOLDER"
	nodeClients = "BUSTEST_CLIENTS"
	nodeMonitor = "BUSTEST_MONITOR"
	nodeRoutes  = "BUSTEST_ROUTES"
)

const nodes = 3

// RunNode is for the first line of a TestMain whose tests use NewCluster: in a
// process that NewCluster has started it is a node of the cluster, and does not
// return. Everywhere else it does nothing.
func RunNode() {
	number := os.Getenv(nodeNumber)
	if number == "" {
		return
	}
	routes := strings.Split(os.Getenv(nodeRoutes), ",")
	i, err := strconv.Atoi(number)
	if err == nil {
		_, err = embed.Start(context.Background(), embed.Options{
			DataDir: os.Getenv(nodeFolder), Listen: os.Getenv(nodeClients), Monitor: os.Getenv(nodeMonitor), MaxStore: 1 << 30,
			Cluster: &embed.Cluster{Name: "bustest", Member: "node-" + number, Listen: routes[i], Routes: routes},
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bustest: node", number, err)
		os.Exit(1)
	}
	// It ends with the pipe to the test, should the test be killed.
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

// Cluster is three servers, each a process of its own that can be killed. Streams
// are replicated over all of them.
type Cluster struct {
	dir                       string
	clients, routes, monitors []string

	mu      sync.Mutex
	running [nodes]*exec.Cmd
}

// NewCluster returns a running cluster with the default topology applied. It ends
// with the test. TestMain must call RunNode.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	c := newCluster(t)
	for i := range nodes {
		c.StartAgain(t, i)
	}
	b := c.Connect(t, "bustest")
	// A cluster that has just met answers nothing until it has elected a leader.
	c.until(t, "the topology is applied", func(ctx context.Context) error {
		return b.Apply(ctx, bus.Topology{IngestShards: 2, OrderShards: 2, Replicas: nodes})
	})
	b.Close()
	c.InSync(t)
	return c
}

// NewGathering returns a cluster whose last server, the number of which is returned,
// is not there yet: StartAgain starts it. It has no topology, and answers.
func NewGathering(t testing.TB) (c *Cluster, last int) {
	t.Helper()
	c, last = newCluster(t), nodes-1
	for i := range last {
		c.StartAgain(t, i)
	}
	b := c.Connect(t, "bustest")
	c.until(t, "the servers that are there answer", b.Healthy)
	b.Close()
	return c, last
}

func newCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{dir: t.TempDir()}
	for range nodes {
		c.clients, c.routes, c.monitors = append(c.clients, freeAddress(t)), append(c.routes, freeAddress(t)), append(c.monitors, freeAddress(t))
	}
	t.Cleanup(func() {
		for i := range nodes {
			c.Kill(i)
		}
	})
	return c
}

// freeAddress returns an address of the loopback interface that nobody listens on.
// The servers need to know each other's before they listen.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func (c *Cluster) until(t testing.TB, what string, do func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*deadline)
	defer cancel()
	for {
		// What is asked while there is no leader is never answered.
		attempt, end := context.WithTimeout(ctx, 5*time.Second)
		err := do(attempt)
		end()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("bustest: not within %v: %s: %v", 2*deadline, what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// URL names all servers.
func (c *Cluster) URL() string {
	return "nats://" + strings.Join(c.clients, ",nats://")
}

// Address returns where a server takes TCP clients.
func (c *Cluster) Address(node int) string { return c.clients[node] }

// Connect returns a bus that ends with the test.
func (c *Cluster) Connect(t testing.TB, name string) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(context.Background(), bus.Options{URL: c.URL(), Name: name})
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(b.Close)
	return b
}

// StartAgain starts a node on its folder, where it does not run.
func (c *Cluster) StartAgain(t testing.TB, node int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[node] != nil {
		return
	}
	cmd := exec.Command(os.Args[0]) //nolint:gosec,noctx // this very test; it outlives the call
	cmd.Env = append(os.Environ(),
		fmt.Sprint(nodeNumber, "=", node), nodeFolder+"="+filepath.Join(c.dir, strconv.Itoa(node)),
		nodeClients+"="+c.clients[node], nodeMonitor+"="+c.monitors[node], nodeRoutes+"="+strings.Join(c.routes, ","))
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("bustest: node %d: %v", node, err)
	}
	_ = stdin // open for as long as this process lives
	c.running[node] = cmd
}

// InSync waits until every node runs and has all that it should have. Who loses one of
// three before that may lose two copies: what had not come back on another one is then
// silent for as long as the lost one is away, on a busy machine for minutes.
func (c *Cluster) InSync(t testing.TB) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for node, monitor := range c.monitors {
		c.until(t, fmt.Sprint("node ", node, " is in sync"), func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+monitor+"/healthz", nil)
			if err != nil {
				return err
			}
			response, err := client.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			said, err := io.ReadAll(response.Body)
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", response.Status, said)
			}
			return err
		})
	}
}

// Kill ends a node as a power cut would end its process, if it runs.
func (c *Cluster) Kill(node int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cmd := c.running[node]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		c.running[node] = nil
	}
}

// Leader returns the node that leads a stream.
func (c *Cluster) Leader(t testing.TB, stream string) int {
	t.Helper()
	leader := -1
	c.until(t, "stream "+stream+" has a leader", func(ctx context.Context) error {
		nc, err := nats.Connect(c.URL())
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if _, err := fmt.Sscanf(s.CachedInfo().Cluster.Leader, "node-%d", &leader); err != nil {
			return fmt.Errorf("leader %q: %w", s.CachedInfo().Cluster.Leader, err)
		}
		return nil
	})
	return leader
}
