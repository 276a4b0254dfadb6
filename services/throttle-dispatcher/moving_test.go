package throttledispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// gated stands between a dispatcher and WAITING, which takes nothing on certain
// subjects for now, as a stream without room or without a leader.
type gated struct {
	throttledispatcher.Records
	shut    func(subject string) bool
	refused atomic.Int64
}

var errNoRoom = errors.New("the stream has no room")

func (g *gated) before() func(*throttledispatcher.Dispatcher) {
	return throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		g.Records = r
		return g
	})
}

func (g *gated) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if strings.HasPrefix(m.Subject, "waiting.") && g.shut(m.Subject) {
		g.refused.Add(1)
		return bus.Ack{}, errNoRoom
	}
	return g.Records.Publish(ctx, m)
}

// step is one of several deliveries of an order.
func step(number int, name string) *dispatchv1.Delivery {
	d := delivery(number)
	d.Id = keyOf(number) + "_sell_" + name + "_3"
	return d
}

// inOrder demands that the deliveries were closed one after the other.
func (w *world) inOrder(all ...*dispatchv1.Delivery) {
	w.t.Helper()
	var last uint64
	for _, d := range all {
		record, err := w.bus.Last(w.t.Context(), bus.StreamResult, bus.ResultSubject("test", d.GetId()))
		if err != nil {
			w.t.Errorf("%s: %v", d.GetId(), err)
			continue
		}
		if record.Sequence < last {
			w.t.Errorf("%s was closed before the one that it follows", d.GetId())
		}
		last = record.Sequence
	}
}

// A follower's record is not written before that of the one it follows: a new owner
// takes what is in WAITING first.
func TestFollowersMoveBehindTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	w.account.answer(refuseUntil(http.StatusLocked, time.Now().Add(5*time.Second)))
	w.store(1, "bad")
	first, second := step(1, "a"), step(1, "b")
	gate := &gated{shut: func(subject string) bool {
		return subject == bus.WaitingSubject("wms", keyOf(1), first.GetId())
	}}
	stop := w.start(waits, gate.before(), throttledispatcher.Abrupt)
	w.ask(first)
	w.eventually("the first is about to move", func() bool { return gate.refused.Load() > 0 })
	w.ask(second)
	w.want(2, "") // of the same lane, so that the second was taken in before it
	w.eventually("another key goes on", func() bool { return w.resultOf(delivery(2)) != nil })
	during(300 * time.Millisecond)
	if w.record(second) != nil {
		t.Error("the second is in WAITING, and the first is not")
	}
	stop()
	w.start(waits)
	w.eventually("all went", func() bool { return w.resultOf(first) != nil && w.resultOf(second) != nil })
	w.inOrder(first, second)
	w.wait(0)
}

// What is deferred is in line before the lanes are read, though its record was not
// written, and though an owner that is none any more acknowledges its message.
func TestWhatIsDeferredComesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	opens := time.Now().Add(5 * time.Second)
	w.account.answer(refuseUntil(http.StatusLocked, opens))
	w.store(1, "bad")
	first, second := step(1, "a"), step(1, "b")
	gate := &gated{shut: func(string) bool { return true }}
	stop := w.start(waits, gate.before(), throttledispatcher.Abrupt)
	w.ask(first)
	w.eventually("the first is about to move", func() bool { return gate.refused.Load() > 0 })
	stop()
	w.ask(second)
	if err := w.bus.Remove(t.Context(), bus.StreamDispatch, bus.DispatchSubject("wms", "standard", keyOf(1), first.GetId())); err != nil {
		t.Fatal(err)
	}
	w.start(waits)
	w.eventually("its record is written", func() bool { return w.record(first).GetAttempts() == 1 })
	w.eventually("the second follows", func() bool { return w.record(second) != nil })
	w.eventually("both went", func() bool { return w.resultOf(first) != nil && w.resultOf(second) != nil })
	w.inOrder(first, second)
	if got := w.resultOf(first).GetAttempts(); got != 2 {
		t.Errorf("the first was delivered at attempt %d, want 2", got)
	}
	if n := len(w.account.on("/orders/shopify-1")); n != 3 {
		t.Errorf("%d calls, want the refused one and two", n)
	}
	w.wait(0)
}

// While WAITING takes nothing, what is to move there pauses; the rest goes on, and its
// results go out. Nothing is lost or sent twice.
func TestAFullStoreOfWaitsIsAPause(t *testing.T) {
	t.Parallel()
	const bad, fresh = 40, 20
	w := newWorld(t, 200, time.Second)
	opens := time.Now().Add(4 * time.Second)
	w.account.answer(refuseUntil(http.StatusLocked, opens))
	var full atomic.Bool
	full.Store(true)
	gate := &gated{shut: func(string) bool { return full.Load() }}
	w.start(waits, gate.before())
	for i := range bad {
		w.want(i, "bad")
	}
	w.eventually("all are refused", func() bool { return len(w.account.seen()) >= bad })
	w.eventually("as many moves as can be are under way", func() bool { return gate.refused.Load() >= 16 })
	for i := range fresh {
		w.want(bad+i, "")
	}
	w.delivered(fresh)
	if w.waiting() != 0 {
		t.Fatal("WAITING has taken something: this shows nothing")
	}
	during(time.Until(opens))
	if n := w.account.accepted(); n != fresh {
		t.Errorf("%d were accepted, though %d of them have no place to wait", n, n-fresh)
	}
	full.Store(false)
	w.delivered(bad + fresh)
	if n := w.account.accepted(); n != bad+fresh {
		t.Errorf("%d calls were accepted, want %d", n, bad+fresh)
	}
	w.wait(0)
}

// An owner that was stopped in the middle of a move and goes on leaves a record, of
// what is under way elsewhere or long done. Both are recognized and go.
func TestRecordsOfOwnersThatAreNoneGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	goOn := make(chan struct{})
	w.account.hold(func() { <-goOn })
	w.start(throttledispatcher.LookOften)
	late := func(d *dispatchv1.Delivery) {
		w.publish(bus.WaitingSubject(d.GetConnector(), d.GetKey(), d.GetId()), &dispatchv1.Waiting{Delivery: d, Attempts: 1, Position: 1})
	}
	w.want(1, "")
	w.eventually("it is under way", func() bool { return w.account.under() == 1 })
	late(delivery(1))
	during(200 * time.Millisecond) // in which it is looked at
	close(goOn)
	w.delivered(1)
	w.wait(0)
	late(delivery(1))
	w.wait(0)
	if n := len(w.account.seen()); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// An order that is cancelled while it waits is skipped when its turn comes, with no
// further call; what follows in its key goes on.
func TestCancelledWhileItWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	w.catalog.change(func(c *catalog) { c.when = conditionOf(t, `!has(order.cancelled_at)`) })
	w.account.answer(refuseUntil(http.StatusLocked, time.Now().Add(3*time.Second)))
	w.start(waits)
	w.want(1, "bad")
	w.eventually("it waits", func() bool { return w.record(delivery(1)) != nil })
	follower := step(1, "b")
	w.ask(follower)
	w.cancel(1)
	w.eventually("both are closed", func() bool { return w.resultOf(delivery(1)) != nil && w.resultOf(follower) != nil })
	if got := w.resultOf(delivery(1)).GetOutcome(); got != dispatchv1.Outcome_OUTCOME_SKIPPED {
		t.Errorf("%v, want skipped", got)
	}
	if n := len(w.account.seen()); n != 1 {
		t.Errorf("%d calls, want the refused one", n)
	}
	w.wait(0)
}

// Whatever write an owner dies at, what follows in a key goes after what it follows.
func TestCrashesKeepTheOrderOfKeysThatWait(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for round := range 8 {
		writes := 1 + random.IntN(70)
		t.Run(fmt.Sprintf("%d after %d writes", round, writes), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
				brief(spec)
				// What follows a call in doubt waits for that.
				spec.CommitHorizon = &metav1.Duration{Duration: time.Second}
			})
			const orders = 6
			w.account.answer(refuseUntil(http.StatusLocked, time.Now().Add(6*time.Second)))
			var lines [][]*dispatchv1.Delivery
			for i := range orders {
				w.store(i, "bad")
				lines = append(lines, []*dispatchv1.Delivery{step(i, "a"), step(i, "b"), step(i, "c")})
			}
			for n := range 3 {
				for _, line := range lines {
					w.ask(line[n])
				}
			}
			dying := deadlyAfter(writes)
			stop := w.start(waits, dying.before(), throttledispatcher.Abrupt)
			select {
			case <-dying.died:
			case <-time.After(5 * time.Second):
			}
			stop()
			w.start(waits)
			for i, line := range lines {
				w.eventually("all of a key are closed", func() bool {
					for _, d := range line {
						if w.resultOf(d) == nil {
							return false
						}
					}
					return true
				})
				w.inOrder(line...)
				// An effect of an owner that died before it heard of it is repeated.
				if n := len(w.account.on(fmt.Sprint("/orders/shopify-", i))); n < len(line)+1 {
					t.Errorf("order %d: %d calls", i, n)
				}
			}
			w.wait(0)
		})
	}
}

// without is a bus of an older version's making, which has no WAITING.
type without struct {
	throttledispatcher.Records
	absent atomic.Bool
}

func (a *without) Read(ctx context.Context, stream, subject string, from uint64) iter.Seq2[bus.Record, error] {
	if stream == bus.StreamWaiting && a.absent.Load() {
		stream = "ABSENT" // the server's own answer
	}
	return a.Records.Read(ctx, stream, subject, from)
}

// On streams of an older version a dispatcher says what to do, and begins once it is
// done.
func TestWithoutTheStreamOfWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	old := &without{}
	old.absent.Store(true)
	w.start(throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		old.Records = r
		return old
	}))
	w.want(1, "")
	w.eventually("the log says what to do", func() bool { return len(w.log.with("peppasync apply")) > 0 })
	old.absent.Store(false)
	w.delivered(1)
}

// wantOnceItCan is want on a cluster that has just lost a server.
func (w *world) wantOnceItCan(number int, note string) {
	w.t.Helper()
	id, d := fmt.Sprint(number), delivery(number)
	state := &orderv1.State{Key: keyOf(number), Revision: 3, Order: &orderv1.Order{Source: "shopify", Id: id, Name: "#" + id, Note: note}}
	for subject, message := range map[string]proto.Message{
		bus.OrderStateSubject(keyOf(number)):                                      state,
		bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId()): d,
	} {
		data, err := proto.Marshal(message)
		if err != nil {
			w.t.Fatal(err)
		}
		w.eventually("the bus takes "+subject, func() bool {
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
			defer cancel()
			_, err := w.bus.Publish(ctx, bus.Message{Subject: subject, Data: data})
			return err == nil
		})
	}
}

// On a cluster the loss of the server that leads WAITING is a pause of what waits.
func TestLongWaitsOnACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: runs without -short, as in make test")
	}
	t.Parallel()
	needs(t, roomToJudge) // of three servers more
	const bad = 30
	cluster := bustest.NewCluster(t)
	w := newWorldOn(t, cluster.Connect(t, "test"), 100, time.Second)
	opens := time.Now().Add(20 * time.Second)
	w.account.answer(refuseUntil(http.StatusLocked, opens))
	stop := w.start(waits)
	for i := range bad / 2 {
		w.want(i, "bad")
	}
	w.wait(bad / 2)
	cluster.Kill(cluster.Leader(t, bus.StreamWaiting))
	for i := range bad / 2 {
		w.wantOnceItCan(bad/2+i, "bad")
	}
	stop()
	w.startAs("successor", cluster.Connect(t, "successor"), waits)
	for i := range bad {
		d := delivery(i)
		w.eventually(d.GetId()+" is closed", func() bool {
			_, err := w.bus.Last(t.Context(), bus.StreamResult, bus.ResultSubject("test", d.GetId()))
			return err == nil
		})
		if got := w.resultOf(d).GetOutcome(); got != dispatchv1.Outcome_OUTCOME_DELIVERED {
			t.Errorf("%s: %v, want delivered", d.GetId(), got)
		}
	}
	if n := w.account.accepted(); n != bad {
		t.Errorf("%d calls were accepted, want %d", n, bad)
	}
	w.wait(0)
}
