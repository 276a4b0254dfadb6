package throttledispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

var errDead = errors.New("this process is dead")

// deadly stands between a dispatcher and its records. Once it has let a number of
// writes through, the process is as good as dead: nothing that it reads or writes
// has an effect any more, and its calls are cut off as soon as it notices.
type deadly struct {
	throttledispatcher.Records
	left atomic.Int64
	// atAck: the first acknowledgment is its death.
	atAck bool
	// atResult: the first result is.
	atResult bool
	died     chan struct{}
	once     sync.Once
}

func deadlyAfter(writes int) *deadly {
	d := &deadly{died: make(chan struct{})}
	d.left.Store(int64(writes))
	return d
}

func (d *deadly) before() func(*throttledispatcher.Dispatcher) {
	return throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		d.Records = r
		return d
	})
}

// die ends the process now.
func (d *deadly) die() { d.left.Store(0) }

func (d *deadly) writes() bool {
	if d.left.Add(-1) >= 0 {
		return true
	}
	d.once.Do(func() { close(d.died) })
	return false
}

func (d *deadly) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if d.atResult && strings.HasPrefix(m.Subject, "result.") {
		d.die()
	}
	if !d.writes() {
		return bus.Ack{}, errDead
	}
	return d.Records.Publish(ctx, m)
}

func (d *deadly) PublishAtomic(ctx context.Context, messages []bus.Message) (bus.Ack, error) {
	if d.atResult && strings.HasPrefix(messages[0].Subject, "result.") {
		d.die()
	}
	if !d.writes() {
		return bus.Ack{}, errDead
	}
	return d.Records.PublishAtomic(ctx, messages)
}

func (d *deadly) Ack(ctx context.Context, m *bus.Incoming) error {
	if d.atAck {
		d.die()
	}
	if !d.writes() {
		return errDead
	}
	return d.Records.Ack(ctx, m)
}

func (d *deadly) Remove(ctx context.Context, stream, subject string) error {
	if !d.writes() {
		return errDead
	}
	return d.Records.Remove(ctx, stream, subject)
}

func (d *deadly) Last(ctx context.Context, stream, subject string) (bus.Record, error) {
	if d.left.Load() < 0 {
		return bus.Record{}, errDead
	}
	return d.Records.Last(ctx, stream, subject)
}

func (d *deadly) Read(ctx context.Context, stream, subject string, from uint64) iter.Seq2[bus.Record, error] {
	if d.left.Load() < 0 {
		return func(yield func(bus.Record, error) bool) { yield(bus.Record{}, errDead) }
	}
	return d.Records.Read(ctx, stream, subject, from)
}

// brief makes the calls of owners that are gone count for seconds, not minutes.
func brief(spec *v1alpha1.ConnectorSpec) { spec.Timeout = metav1.Duration{Duration: time.Second} }

// oneEffect demands that every request for a record was the same, byte for byte.
func (w *world) oneEffect(paths ...string) {
	w.t.Helper()
	for _, path := range paths {
		calls := w.account.on(path)
		if len(calls) == 0 {
			w.t.Errorf("%s was never sent", path)
		}
		for _, call := range calls {
			if call.body != calls[0].body || call.key != calls[0].key {
				w.t.Errorf("%s was sent as %s with key %s and as %s with key %s", path, calls[0].body, calls[0].key, call.body, call.key)
			}
		}
	}
}

// allAcknowledged waits until the deliveries have left the queue.
func (w *world) allAcknowledged(deliveries ...*dispatchv1.Delivery) {
	w.t.Helper()
	for _, d := range deliveries {
		subject := bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId())
		w.eventually(d.GetId()+" has left the queue", func() bool {
			_, err := w.bus.Last(w.t.Context(), bus.StreamDispatch, subject)
			return errors.Is(err, bus.ErrNotFound)
		})
	}
}

// Killed after any number of writes, a dispatcher is followed by one that brings
// every order to its end, with one effect, and both together keep the limit.
func TestKilledBetweenAnyTwoWrites(t *testing.T) {
	t.Parallel()
	const orders, limit, per = 3, 2, 500 * time.Millisecond
	// Each order takes a block with its claim, one with its close, a result and an
	// acknowledgment; the last rounds see no death.
	for writes := range 4*orders + 2 {
		t.Run(fmt.Sprint("after ", writes, " writes"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, limit, per)
			w.catalog.respec(brief)
			var all []*dispatchv1.Delivery
			var paths []string
			for i := range orders {
				w.want(i, "")
				all = append(all, delivery(i))
				paths = append(paths, fmt.Sprint("/orders/shopify-", i))
			}
			killer := deadlyAfter(writes)
			kill := w.start(killer.before(), throttledispatcher.Abrupt)
			select {
			case <-killer.died:
			case <-time.After(5 * time.Second):
				if writes < 3*orders {
					t.Fatalf("alive after 5 s with %d writes", writes)
				}
			}
			kill()
			w.start()
			w.delivered(orders)
			w.allAcknowledged(all...)
			w.oneEffect(paths...)
			w.account.within(t, limit, per)
		})
	}
}

// Several owners die at random moments over a backlog of orders, of which some
// may go only once, while the system now and then does not reply.
func TestOwnersThatDieLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	const orders, limit, per, lives = 60, 20, time.Second, 4
	w := newWorld(t, limit, per)
	w.catalog.respec(brief)
	dice := rand.New(rand.NewPCG(seed, 2))
	w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
		if dice.IntN(12) == 0 && r.Method == http.MethodPut {
			return http.StatusInternalServerError
		}
		return http.StatusCreated
	})
	w.account.setDelay(20 * time.Millisecond)
	var all []*dispatchv1.Delivery
	var once, often []string
	for i := range orders {
		w.store(i, "")
		d := delivery(i)
		if i%4 == 0 {
			d.Operation = "ship"
			once = append(once, fmt.Sprint("/shipments/shopify-", i))
		} else {
			often = append(often, fmt.Sprint("/orders/shopify-", i))
		}
		w.ask(d)
		all = append(all, d)
	}
	for range lives {
		killer := deadlyAfter(10 + random.IntN(50))
		kill := w.start(killer.before(), throttledispatcher.Abrupt)
		<-killer.died
		kill()
	}
	w.start()
	inDoubt := 0
	for key, result := range w.results(orders) {
		switch {
		case result.GetOutcome() == dispatchv1.Outcome_OUTCOME_DELIVERED:
		case result.GetOutcome() == dispatchv1.Outcome_OUTCOME_HELD && result.GetOperation() == "ship" && w.hold(result).GetInDoubt():
			inDoubt++
		default:
			t.Errorf("%s: %v because of %v", key, result.GetOutcome(), result.GetCause())
		}
	}
	w.allAcknowledged(all...)
	w.oneEffect(often...)
	for _, path := range once {
		if n := len(w.account.on(path)); n > 1 {
			t.Errorf("%s was sent %d times, and may go once", path, n)
		}
	}
	w.account.within(t, limit, per)
	t.Logf("%d calls, %d in doubt", len(w.account.seen()), inDoubt)
}

// Two owners at the same time make each other start again, and keep the limit.
func TestTwoOwnersAtOnceKeepTheLimit(t *testing.T) {
	t.Parallel()
	const orders, limit, per = 40, 20, time.Second
	w := newWorld(t, limit, per)
	w.catalog.respec(brief)
	var paths []string
	var stops []func()
	for _, owner := range []string{"one", "two"} {
		w.owner = owner
		// Each hears nobody else, so that it takes itself for the owner.
		stops = append(stops, w.start(throttledispatcher.Apart(bustest.Start(t))))
	}
	for i := range orders {
		w.want(i, "")
		paths = append(paths, fmt.Sprint("/orders/shopify-", i))
		during(30 * time.Millisecond)
	}
	for _, stop := range stops {
		stop()
	}
	w.start()
	w.delivered(orders)
	w.oneEffect(paths...)
	w.account.within(t, limit, per)
	if len(w.log.with("another dispatcher wrote its ledger")) == 0 {
		t.Error("the two never met")
	}
}

// What an owner had claimed is in doubt when it dies before the reply: what may
// be repeated is repeated as it was claimed, though the order has changed since;
// what may go only once waits for a person.
func TestClaimsInDoubt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	w.catalog.respec(brief)
	arrived := make(chan struct{}, 10)
	silent := make(chan struct{})
	w.account.hold(func() {
		arrived <- struct{}{}
		<-silent
	})
	w.want(1, "as claimed")
	w.store(2, "")
	ship := delivery(2)
	ship.Operation = "ship"
	w.ask(ship)
	killer := deadlyAfter(1000)
	killed := w.start(killer.before(), throttledispatcher.Abrupt)
	for range 2 {
		<-arrived
	}
	killer.die()
	w.store(1, "changed since")
	w.store(2, "changed since")
	killed()
	w.account.hold(nil)
	close(silent)
	w.start()
	results := w.results(2)
	if got := results[keyOf(1)]; got.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
		t.Errorf("what may be repeated: %v", got)
	}
	w.oneEffect("/orders/shopify-1")
	if calls := w.account.on("/orders/shopify-1"); len(calls) != 2 || !strings.Contains(calls[1].body, "as claimed") {
		t.Errorf("want two requests as they were claimed, got %v", calls)
	}
	got := results[keyOf(2)]
	if got.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD || got.GetCause().GetCode() != "outcome-unknown" || !w.hold(got).GetInDoubt() {
		t.Errorf("what may go once: %v, want it held in doubt", got)
	}
	if n := len(w.account.on("/shipments/shopify-2")); n != 1 {
		t.Errorf("what may go once was sent %d times", n)
	}
}
