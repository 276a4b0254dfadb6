package throttledispatcher_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/transport"
)

// leftAtOnce is how soon the next owner calls; what it takes for under way counts
// for up to the 30 s of a call.
const leftAtOnce = 15 * time.Second

// inParallel declares how many calls may run at a time.
func inParallel(calls int64) func(spec *v1alpha1.ConnectorSpec) {
	return func(spec *v1alpha1.ConnectorSpec) { spec.Limits[1].Concurrency = &v1alpha1.Concurrency{Calls: calls} }
}

// A process that dies before any reply leaves room to the one after it, though as
// much was handed out as may run at once, and though half of it hangs.
func TestACrashBeforeTheFirstReplyLeavesRoom(t *testing.T) {
	const parallel, orders = 4, 12
	w := newWorld(t, 60_000, time.Minute)
	w.catalog.respec(inParallel(parallel))
	for i := range orders {
		w.want(i, "")
	}
	ended := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(ended) }))
	w.account.hold(func() { <-ended })
	killer := deadlyAfter(1 << 30)
	kill := w.start(killer.before(), throttledispatcher.Abrupt)
	w.eventually("calls are under way", func() bool { return w.account.under() >= parallel/2 })
	killer.die()
	kill()
	w.account.hold(nil)
	w.start()
	begun := time.Now()
	w.eventually("another call is answered", func() bool { return len(w.account.seen()) > 0 })
	if took := time.Since(begun); took > leftAtOnce {
		t.Errorf("the first call after the crash is answered after %v", took)
	}
	if most := w.account.atOnce(); most > parallel {
		t.Errorf("%d calls at a time, the limit is %d", most, parallel)
	}
}

// Another owner cannot know that the one before it is dead, and waits for what may
// be under way; but not for all that was handed out.
func TestAnotherOwnerGoesOnAtOnce(t *testing.T) {
	const parallel, orders, before = 4, 200, 40
	w := newWorld(t, 6000, time.Minute)
	w.catalog.respec(inParallel(parallel))
	w.account.setDelay(5 * time.Millisecond)
	for i := range orders {
		w.want(i, "")
	}
	killer := deadlyAfter(1 << 30)
	kill := w.startAs("one", w.bus, killer.before(), throttledispatcher.Abrupt, throttledispatcher.Apart(bustest.Start(t)))
	w.eventually("calls are answered", func() bool { return len(w.account.seen()) >= before })
	killer.die()
	kill()
	left := len(w.account.seen())
	w.startAs("two", w.bus, throttledispatcher.Apart(bustest.Start(t)))
	begun := time.Now()
	w.eventually("another call is answered", func() bool { return len(w.account.seen()) > left })
	if took := time.Since(begun); took > leftAtOnce {
		t.Errorf("the next owner's first call is answered after %v", took)
	}
}

// Where no limit says how many calls may run at a time, connections do, and the ledger
// says so.
func TestConnectionsBoundTheCallsOnRecord(t *testing.T) {
	w := newWorld(t, 6000, time.Minute)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Limits = spec.Limits[:1] })
	w.want(0, "")
	w.start()
	w.delivered(1)
	if bounds := w.bounds(); len(bounds) != 1 || bounds[0] != transport.DefaultMaxConnections {
		t.Errorf("the blocks bound the calls under way by %v, want %d", bounds, transport.DefaultMaxConnections)
	}
}

// Where half of the calls is not enough, all that the limit allows are made, and the
// ledger says so before the first that is beyond half of them.
func TestAllTheCallsThatAreNeededAreOnRecord(t *testing.T) {
	const parallel, orders = 6, 60
	w := newWorld(t, 60_000, time.Minute)
	w.catalog.respec(inParallel(parallel))
	w.account.setDelay(100 * time.Millisecond)
	for i := range orders {
		w.want(i, "")
	}
	w.start()
	w.delivered(orders)
	if most := w.account.atOnce(); most != parallel {
		t.Errorf("%d calls at a time, want %d", most, parallel)
	}
	bounds := w.bounds()
	if len(bounds) != 2 || bounds[0] != parallel/2 || bounds[1] != parallel {
		t.Errorf("the blocks bound the calls under way by %v, want %d and then %d", bounds, parallel/2, parallel)
	}
}

// bounds returns what the blocks say of the calls under way at a time, each once as long
// as it stays.
func (w *world) bounds() []int32 {
	w.t.Helper()
	var bounds []int32
	for record, err := range w.bus.Read(w.t.Context(), bus.StreamLedger, bus.LedgerSubject("wms"), 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		block := &ledgerv1.Block{}
		if err := proto.Unmarshal(record.Data, block); err != nil {
			w.t.Fatal(err)
		}
		if n := len(bounds); n == 0 || bounds[n-1] != block.GetParallel() {
			bounds = append(bounds, block.GetParallel())
		}
	}
	return bounds
}

// An order whose call hangs holds up only itself, also before any reply and where
// half of the calls is one; and that the others wait for room is no outage.
func TestACallThatHangsHoldsUpOnlyItself(t *testing.T) {
	t.Parallel()
	for _, parallel := range []int64{2, 3, 4, 10} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			t.Parallel()
			needs(t, roomToJudge)
			w := newWorld(t, 60_000, time.Minute)
			w.catalog.respec(inParallel(parallel))
			never := make(chan struct{})
			t.Cleanup(sync.OnceFunc(func() { close(never) }))
			w.account.hold(func() { <-never })
			w.want(0, "")
			w.start()
			w.eventually("the first hangs", func() bool { return w.account.under() == 1 })
			w.account.hold(nil)
			begun := time.Now()
			const others = 4
			for i := range others {
				w.want(1+i, "")
			}
			w.eventually("the others are answered", func() bool { return w.account.orders() == others })
			took := time.Since(begun)
			if t.Logf("the others are answered after %v", took); took > leftAtOnce {
				t.Errorf("want at most %v", leftAtOnce)
			}
			if told := w.log.with("the external system is down"); len(told) > 0 {
				t.Errorf("it counts as down: %v", told)
			}
		})
	}
}

// Calls that wait for room while the first replies are slow are no outage.
func TestSlowFirstRepliesAreNoOutage(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const orders, parallel = 40, 4
	w := newWorld(t, 60_000, time.Minute)
	w.catalog.respec(inParallel(parallel))
	w.account.setDelay(2500 * time.Millisecond)
	for i := range parallel / 2 {
		w.want(i, "")
	}
	w.start()
	w.eventually("half are under way", func() bool { return w.account.under() == parallel/2 })
	for i := parallel / 2; i < orders; i++ {
		w.want(i, "")
	}
	w.eventually("some are answered", func() bool { return len(w.account.seen()) >= parallel })
	w.account.setDelay(0)
	w.delivered(orders)
	if told := w.log.with("the external system is down"); len(told) > 0 {
		t.Errorf("it counts as down: %v", told)
	}
	if most := w.account.atOnce(); most > parallel {
		t.Errorf("%d calls at a time, the limit is %d", most, parallel)
	}
}
