package throttledispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/peppasync/peppasync/proto/peppasync/lease/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// fleet is a world with several connectors and several dispatchers.
type fleet struct {
	*world
	// address is where replicas connect.
	address string
	names   []string
	asked   atomic.Int64
}

func newFleet(t testing.TB, connectors int) *fleet {
	t.Helper()
	f := &fleet{world: newWorld(t, 500, time.Second)}
	f.address = strings.TrimPrefix(f.server.URL(), "nats://")
	f.fill(connectors)
	return f
}

// newFleetOn works on a cluster; cables lead to its first server.
func newFleetOn(t testing.TB, cluster *bustest.Cluster, connectors int) *fleet {
	t.Helper()
	f := &fleet{world: newWorldOn(t, cluster.Connect(t, "test"), 500, time.Second), address: cluster.Address(0)}
	f.fill(connectors)
	return f
}

func (f *fleet) fill(connectors int) {
	f.account.answer(func(w http.ResponseWriter, _ *http.Request, _ string) int {
		_, _ = io.WriteString(w, "{}")
		return http.StatusOK
	})
	f.catalog.change(func(c *catalog) {
		c.connectors = map[string]*v1alpha1.Connector{}
		for i := range connectors {
			connector := connectorAt(f.account.URL, 500, time.Second)
			connector.Name = fmt.Sprint("c", i)
			brief(&connector.Spec)
			f.names = append(f.names, connector.Name)
			c.connectors[connector.Name] = connector
		}
	})
}

// cable is one replica's connection to the server, which can be cut or stopped.
type cable struct {
	address string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
	// flows is closed while bytes flow.
	flows chan struct{}
}

// InProcessConn connects.
func (c *cable) InProcessConn() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil, errors.New("the cable is cut")
	}
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", c.address)
	if err != nil {
		return nil, err
	}
	c.conns = append(c.conns, conn)
	return &cabled{Conn: conn, cable: c}, nil
}

// unplug closes everything for good, as the death of the process would.
func (c *cable) unplug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// freeze stops the bytes, with nothing closed, until the returned call.
func (c *cable) freeze() (thaw func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	flows := make(chan struct{})
	c.flows = flows
	return sync.OnceFunc(func() { close(flows) })
}

func (c *cable) wait() {
	c.mu.Lock()
	flows := c.flows
	c.mu.Unlock()
	<-flows
}

type cabled struct {
	net.Conn
	cable *cable
}

// Read hands bytes on while they flow.
func (c *cabled) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.cable.wait()
	return n, err
}

// Write hands bytes on while they flow.
func (c *cabled) Write(p []byte) (int, error) {
	c.cable.wait()
	return c.Conn.Write(p)
}

// replica is one dispatcher of a fleet.
type replica struct {
	owner string
	cable *cable
	bus   *bus.Bus
	stop  func()
}

func (f *fleet) join(owner string) *replica {
	f.t.Helper()
	flowing := make(chan struct{})
	close(flowing)
	r := &replica{owner: owner, cable: &cable{address: f.address, flows: flowing}}
	b, err := bus.Connect(f.t.Context(), bus.Options{Name: owner, InProcess: r.cable})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(b.Close)
	r.bus = b
	r.stop = f.startAs(owner, r.bus, throttledispatcher.Abrupt)
	return r
}

// kill ends the replica without a word.
func (r *replica) kill() {
	r.cable.unplug()
	go r.stop()
}

// table reads who owns what, connector by connector.
func (f *fleet) table() map[string]*leasev1.Lease {
	f.t.Helper()
	record, err := f.bus.Get(f.t.Context(), bus.BucketLease, "dispatcher.table")
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	table := &leasev1.Table{}
	if err := proto.Unmarshal(record.Data, table); err != nil {
		f.t.Fatal(err)
	}
	all := map[string]*leasev1.Lease{}
	for _, l := range table.GetLeases() {
		all[l.GetConnector()] = l
	}
	return all
}

// spread waits until the table gives every connector to one of these owners, as
// evenly as it goes.
func (f *fleet) spread(owners ...string) {
	f.t.Helper()
	f.eventually(fmt.Sprint("the connectors are spread over ", owners), func() bool {
		loads := map[string]int{}
		for _, owner := range owners {
			loads[owner] = 0
		}
		for _, l := range f.table() {
			loads[l.GetOwner()]++
		}
		all := slices.Collect(maps.Values(loads))
		sum := 0
		for _, n := range all {
			sum += n
		}
		return len(loads) == len(owners) && sum == len(f.names) && slices.Max(all)-slices.Min(all) <= 1
	})
}

// ownedBy returns the connectors that an owner has by the table.
func (f *fleet) ownedBy(owner string) []string {
	f.t.Helper()
	var names []string
	for name, l := range f.table() {
		if l.GetOwner() == owner {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// askAll asks for one call of each connector; every call asks for something else.
func (f *fleet) askAll() {
	f.t.Helper()
	for _, name := range f.names {
		d := query(fmt.Sprint("q", f.asked.Add(1)))
		d.Connector = name
		f.ask(d)
	}
}

// askPatiently does so also while the bus is away.
func (f *fleet) askPatiently(ctx context.Context) {
	for _, name := range f.names {
		d := query(fmt.Sprint("q", f.asked.Add(1)))
		d.Connector = name
		data, err := proto.Marshal(d)
		for err == nil {
			subject := bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId())
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_, err = f.bus.Publish(bounded, bus.Message{Subject: subject, Data: data})
			cancel()
			if err == nil {
				break
			}
			if !bus.IsUnavailable(err) {
				f.t.Error(err)
				break
			}
			err = nil
			<-time.After(50 * time.Millisecond)
		}
	}
}

// traffic keeps asking until the returned call, which waits for the result of
// everything.
func (f *fleet) traffic() (settle func()) {
	f.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(60 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f.askPatiently(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	f.t.Cleanup(func() { stop(); group.Wait() })
	return func() {
		f.t.Helper()
		stop()
		group.Wait()
		f.delivered(int(f.asked.Load()))
	}
}

// writer returns who wrote the newest block of a connector's ledger.
func (f *fleet) writer(connector string) string {
	f.t.Helper()
	record, err := f.bus.Last(f.t.Context(), bus.StreamLedger, bus.LedgerSubject(connector))
	if errors.Is(err, bus.ErrNotFound) {
		return ""
	}
	if err != nil {
		f.t.Fatal(err)
	}
	block := &ledgerv1.Block{}
	if err := proto.Unmarshal(record.Data, block); err != nil {
		f.t.Fatal(err)
	}
	return block.GetOwner()
}

// working waits until the owner has written the ledgers of these connectors.
func (f *fleet) working(owner string, connectors []string) {
	f.t.Helper()
	f.eventually(fmt.Sprint(owner, " works for ", connectors), func() bool {
		return !slices.ContainsFunc(connectors, func(name string) bool { return f.writer(name) != owner })
	})
}

// takeovers are how long connectors took to change hands.
type takeovers struct {
	// named: the table names another owner; work: that one has written the ledger.
	named, work []time.Duration
}

// takenFrom waits until others than owner have these connectors and work for
// them.
func (f *fleet) takenFrom(owner string, connectors []string) takeovers {
	f.t.Helper()
	begun := time.Now()
	var took takeovers
	unnamed, idle := slices.Clone(connectors), slices.Clone(connectors)
	f.eventually(fmt.Sprint(connectors, " are taken from ", owner), func() bool {
		if len(unnamed) > 0 {
			table := f.table()
			unnamed = slices.DeleteFunc(unnamed, func(name string) bool {
				now := table[name].GetOwner()
				if now == owner || now == "" {
					return false
				}
				took.named = append(took.named, time.Since(begun))
				return true
			})
		}
		idle = slices.DeleteFunc(idle, func(name string) bool {
			if f.writer(name) == owner {
				return false
			}
			took.work = append(took.work, time.Since(begun))
			return true
		})
		return len(unnamed)+len(idle) == 0
	})
	return took
}

// add joins two measurements.
func (t *takeovers) add(other takeovers) {
	t.named, t.work = append(t.named, other.named...), append(t.work, other.work...)
}

// within demands of the decision a mean, and of the whole a longest time: how fast
// a worker starts is also a matter of what else this machine does.
func (t takeovers) within(tb testing.TB, mean, longest time.Duration) {
	tb.Helper()
	decided, _ := meanAndMax(t.named)
	whole, slowest := meanAndMax(t.work)
	tb.Logf("%d connectors: decided after %v in the mean, working after %v in the mean and %v at most", len(t.work), decided, whole, slowest)
	if decided > mean || slowest > longest {
		tb.Errorf("connectors changed hands after %v in the mean and worked after %v at most, want %v and %v", decided, slowest, mean, longest)
	}
}

func meanAndMax(all []time.Duration) (mean, longest time.Duration) {
	var sum time.Duration
	for _, d := range all {
		sum += d
		longest = max(longest, d)
	}
	return sum / time.Duration(max(1, len(all))), longest
}

// answered reports whether the calls with these numbers have their results.
func (f *fleet) answered(from, to int64) bool {
	f.t.Helper()
	for n := from; n <= to; n++ {
		_, err := f.bus.Last(f.t.Context(), bus.StreamResult, bus.ResultSubject("test", fmt.Sprint("q", n)))
		if err != nil {
			return false
		}
	}
	return true
}
