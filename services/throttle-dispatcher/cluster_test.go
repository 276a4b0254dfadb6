package throttledispatcher_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// The loss of a NATS server, whichever streams it leads, is one pause and no
// change of owner.
func TestLossOfANATSServerChangesNoOwner(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	f := newFleetOn(t, cluster, 4)
	for i := range 3 {
		f.startAs(fmt.Sprint("r", i), cluster.Connect(t, fmt.Sprint("r", i)))
	}
	f.spread("r0", "r1", "r2")
	settle := f.traffic()
	before := f.table()
	for _, stream := range []string{bus.KeyValueStream(bus.BucketLease), bus.StreamLedger} {
		node := cluster.Leader(t, stream)
		killed := time.Now()
		cluster.Kill(node)
		f.eventually("the bus takes leases again", f.takesLeases)
		silent := time.Since(killed)
		// Who was taken for dead would have lost its connectors by then.
		during(4 * time.Second)
		asked := f.asked.Load()
		f.eventually("calls go out again", func() bool { return f.answered(asked, asked) })
		pause := f.longestPause(killed, time.Now())
		t.Logf("loss of the leader of %s: leases were silent for %v, calls for %v", stream, silent, pause)
		if pause > 10*time.Second {
			t.Errorf("the loss of the leader of %s was a pause of %v, want at most 10 s", stream, pause)
		}
		cluster.StartAgain(t, node)
		cluster.InSync(t)
		during(2 * time.Second)
	}
	settle()
	for name, l := range before {
		if now := f.table()[name]; now.GetEpoch() != l.GetEpoch() || now.GetSession() != l.GetSession() {
			t.Errorf("%s went from %v to %v", name, l, now)
		}
	}
}

// takesLeases reports whether the lease bucket can be written.
func (f *fleet) takesLeases() bool {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := f.bus.Put(ctx, bus.BucketLease, "test", nil, nil)
	return err == nil
}

// longestPause returns the longest time without a call.
func (f *fleet) longestPause(from, to time.Time) time.Duration {
	f.t.Helper()
	longest, last := time.Duration(0), from
	for _, call := range f.account.seen() {
		if call.at.After(from) && call.at.Before(to) {
			longest, last = max(longest, call.at.Sub(last)), call.at
		}
	}
	return max(longest, to.Sub(last))
}

// A replica that dies is replaced on a cluster as on a single server.
func TestKilledReplicaIsReplacedOnACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: runs without -short, as in make test")
	}
	f := newFleetOn(t, bustest.NewCluster(t), 4)
	settle := f.traffic()
	f.join("stays")
	f.spread("stays")
	f.working("stays", f.names)
	var took takeovers
	for round := range 3 {
		dies := f.join(fmt.Sprint("dies", round))
		f.spread("stays", dies.owner)
		names := f.ownedBy(dies.owner)
		f.working(dies.owner, names)
		dies.kill()
		took.add(f.takenFrom(dies.owner, names))
	}
	settle()
	took.within(t, 1500*time.Millisecond, 3*time.Second)
}
