package chaos

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

const (
	// longestPause is what the loss of a NATS server may cost: the cluster's election,
	// and a second to notice it, of which questions that are asked again every 0.5 s are
	// the most.
	longestPause = longestElection + noticed
	// longestElection is after how long without a leader the last server stands for
	// one; the first does after 4 s at least. Where two stand at once and neither gets
	// the other's vote, they do it again.
	longestElection = 9 * time.Second
	noticed         = time.Second
	// soonElsewhere is what the loss of a connection may cost: it is made anew within
	// 0.2 s, consumers within a second, and the rest is a busy machine.
	soonElsewhere = 2 * time.Second
	// settledFor is longer than replicas wait before they spread connectors.
	settledFor = 3 * time.Second
	// ownersEvery is how often owners are asked for. Less than a death takes to be
	// noticed, so that none changes there and back unseen.
	ownersEvery = 500 * time.Millisecond
)

// TestNATSNodeKilled kills a server of a NATS cluster of three, one that leads what
// the connector needs or any, while there is a backlog and orders come in; and starts
// it again. It is one pause, and no change of owner.
func TestNATSNodeKilled(t *testing.T) {
	what := fifty()
	what.nodes = 3
	f := open(t, what)
	o := f.owners()
	f.backlog(atOnce)
	// The ledger is what no call goes without.
	victims := []string{"LEDGER"}
	if *long {
		victims = append(victims, "DISPATCH", "DISPATCH/dispatch_netsuite_standard", "KV_lease", "INGEST_0", "", "", "")
		f.random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	}
	for round, asset := range victims {
		if round > 0 {
			f.sell(2 * atOnce / 3)
		}
		f.lose(o, f.leader(asset), asset)
	}
	f.settled(2 * time.Minute)
	o.unchanged()
	t.Logf("webhooks: %+v", f.world.Shop.Report().Webhooks)
}

// TestNodeOfTheDispatchersKilled kills the one server that all replicas are connected
// to, and were told of, when it leads no stream: they know the others from it, and go
// on by those at once.
func TestNodeOfTheDispatchersKilled(t *testing.T) {
	what := fifty()
	what.nodes = 3
	f := open(t, what)
	f.product.Known = 1
	f.depose(0)
	for i := range what.replicas {
		if err := f.product.KillReplica(i); err != nil {
			t.Fatal(err)
		}
		if err := f.product.StartReplica(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	o := f.owners()
	f.backlog(atOnce)
	if leads := f.leads(0); len(leads) > 0 {
		t.Fatalf("node 0 leads %v, want only connections to be lost with it", leads)
	}
	if pause := f.lose(o, 0, ""); pause > soonElsewhere {
		t.Errorf("no call for %v, want %v at most where only connections are lost", pause, soonElsewhere)
	}
	f.settled(2 * time.Minute)
	o.unchanged()
}

// depose kills a node until others lead what it led, starts it again, and returns when
// it is in sync.
func (f *field) depose(node int) {
	f.t.Helper()
	if err := f.product.KillNode(node); err != nil {
		f.t.Fatal(err)
	}
	f.until(time.Minute, "others lead what the node led", func() bool { return len(f.leads(node, runner.Nobody)) == 0 })
	if err := f.product.StartNode(f.t.Context(), node); err != nil {
		f.t.Fatal(err)
	}
	if err := f.product.InSync(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// leads returns what these nodes lead of the streams, and of the consumers that do not
// go with a connection.
func (f *field) leads(nodes ...int) []string {
	f.t.Helper()
	leaders, err := f.product.Leaders(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	var led []string
	for what, leader := range leaders {
		watch := strings.HasPrefix(what, "KV_") && strings.Contains(what, "/")
		if slices.Contains(nodes, leader) && !watch {
			led = append(led, what)
		}
	}
	return led
}

const (
	// atOnce is how many orders wait when a node is lost: after is how many calls are
	// waited for until it comes back, and again for all of its return.
	atOnce, after = 600, 150
)

// leader returns the node that leads something, a random one for "".
func (f *field) leader(asset string) int {
	f.t.Helper()
	if asset == "" {
		return f.random.IntN(f.terms.nodes)
	}
	leaders, err := f.product.Leaders(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	node, ok := leaders[asset]
	if !ok || node == runner.Nobody {
		f.t.Fatalf("nobody leads %s; there are %v", asset, leaders)
	}
	return node
}

// lose kills a node and starts it again, while orders wait, and returns when it is in
// sync, with the longest time without a call.
func (f *field) lose(o *owners, node int, why string) time.Duration {
	f.t.Helper()
	before := f.world.ERP.Arrivals().Tally()["accepted"]
	f.accepted(before+after, 30*time.Second)
	before += after
	if err := f.product.KillNode(node); err != nil {
		f.t.Fatal(err)
	}
	killed := time.Now()
	sold := f.begin(shopify.Burst{Count: 60, SKU: sku, Quantity: 1, Over: jsontime.Duration(6 * time.Second)})
	elected := f.election(node)
	f.calls(o, before+after)
	led := elected()
	if err := f.product.StartNode(f.t.Context(), node); err != nil {
		f.t.Fatal(err)
	}
	f.calls(o, before+2*after)
	pause := f.gap(killed, time.Now())
	if err := f.product.InSync(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.t.Logf("node %d lost, the leader of %q: no call for %v; leaders after %v; in sync after %v", node, why, pause, led, time.Since(killed))
	most := longestPause
	if led > longestPause {
		most = led + noticed
		f.t.Logf("no leader for %v, longer than an election of NATS takes: votes were split, or the machine is too slow for it", led)
	}
	if pause > most {
		f.t.Errorf("the loss of node %d, the leader of %q, was a pause of %v, want %v at most", node, why, pause, most)
	}
	sold()
	return pause
}

// onTheWay says of a stream or consumer that calls to the ERP do not go without it:
// all of them without the first three, those of a part of the orders without one of
// the others.
func onTheWay(asset string) bool {
	return asset == "LEDGER" || asset == "DISPATCH" || asset == "DISPATCH/dispatch_netsuite_standard" || strings.HasPrefix(asset, "ORDER_")
}

// election begins to look who leads what a call needs, instead of a node that is gone.
// What it returns says after how long others led all of it, 0 if they do not yet.
func (f *field) election(gone int) (took func() time.Duration) {
	ctx, stop := context.WithCancel(f.t.Context())
	begin := time.Now()
	ended := make(chan time.Duration, 1)
	go func() {
		err := runner.Until(ctx, 100*time.Millisecond, "others lead", func() bool {
			leaders, err := f.product.Leaders(ctx)
			for asset, leader := range leaders {
				if onTheWay(asset) && (leader == gone || leader == runner.Nobody) {
					return false
				}
			}
			return err == nil
		})
		if err != nil {
			ended <- 0
			return
		}
		ended <- time.Since(begin)
	}()
	return func() time.Duration {
		stop()
		return <-ended
	}
}

// calls waits for so many accepted calls, and looks at the owners meanwhile.
func (f *field) calls(o *owners, count int) {
	f.t.Helper()
	looked := time.Time{}
	f.until(time.Minute, "calls are accepted after the loss of a node", func() bool {
		if time.Since(looked) > ownersEvery {
			o.look()
			looked = time.Now()
		}
		return f.world.ERP.Arrivals().Tally()["accepted"] >= count
	})
}

// gap returns the longest time without an accepted call.
func (f *field) gap(from, to time.Time) time.Duration {
	longest, last := time.Duration(0), from
	log := f.world.ERP.Arrivals()
	for _, a := range log.Snapshot() {
		if at := log.Origin().Add(a.At); a.Outcome == arrivals.Accepted && at.After(from) && at.Before(to) {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return max(longest, to.Sub(last))
}

// owners says which replica feeds which connector, and must not change.
type owners struct {
	f     *field
	want  map[string]string
	looks int
	// log is how much of the product's log there was.
	log int
}

// owners returns who feeds what, once each works and nothing has moved for a while:
// what is given out at a start is spread a moment later.
func (f *field) owners() *owners {
	f.t.Helper()
	o := &owners{f: f}
	var since time.Time
	f.until(time.Minute, "two replicas feed a connector each, and go on", func() bool {
		now, err := f.product.Owners(f.t.Context())
		fed, failed := f.product.Fed(f.t.Context())
		if err != nil || failed != nil || fed != 2 || now["netsuite"] == now["shopify"] || !maps.Equal(now, o.want) {
			o.want, since = now, time.Now()
			return false
		}
		return time.Since(since) > settledFor
	})
	o.log = len(o.read())
	return o
}

func (o *owners) read() string {
	o.f.t.Helper()
	data, err := os.ReadFile(o.f.log)
	if err != nil {
		o.f.t.Fatal(err)
	}
	return string(data)
}

// look compares. Who is not known at the moment, because NATS is silent, has not
// changed.
func (o *owners) look() {
	o.f.t.Helper()
	now, err := o.f.product.Owners(o.f.t.Context())
	if err != nil {
		return
	}
	o.looks++
	for connector, owner := range now {
		if owner != "" && owner != o.want[connector] {
			o.f.t.Errorf("%s went from %s to %s", connector, o.want[connector], owner)
			o.want[connector] = owner
		}
	}
}

// unchanged looks a last time, and for what replicas say when they take something
// over.
func (o *owners) unchanged() {
	o.f.t.Helper()
	o.look()
	if o.looks < 3 {
		o.f.t.Errorf("the replicas told %d times who feeds what, want more", o.looks)
	}
	for line := range strings.Lines(o.read()[o.log:]) {
		if strings.Contains(line, "a replica fell silent") || strings.Contains(line, "connectors are handed over") {
			o.f.t.Errorf("a replica says that an owner changed: %s", line)
		}
	}
}
