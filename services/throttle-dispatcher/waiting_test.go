package throttledispatcher_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/retryafter"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// locking is a system that says 423 where a record is locked for now: refused for
// certain, and to be tried again; and 424 where it does not know what became of it.
type locking struct{ connectors.System }

func (l locking) Read(spec *v1alpha1.ConnectorSpec, call connectors.Call, reply connectors.Reply) connectors.Answer {
	answer := l.System.Read(spec, call, reply)
	if reply.Status == http.StatusLocked {
		answer.Verdict = fault.Verdict{Class: fault.Transient, Cause: fault.Cause{Code: "locked", Status: reply.Status}}
		answer.Wait, _ = retryafter.Wait(reply.Header, reply.At)
	}
	if reply.Status == http.StatusFailedDependency {
		answer.Verdict = fault.Verdict{Class: fault.Unknown, Cause: fault.Cause{Code: "unknown", Status: reply.Status}}
		answer.Wait, _ = retryafter.Wait(reply.Header, reply.At)
	}
	return answer
}

// waits makes long waits begin at some seconds, and 423 a passing refusal.
func waits(d *throttledispatcher.Dispatcher) {
	throttledispatcher.ShortWait(1500 * time.Millisecond)(d)
	throttledispatcher.Calling(map[string]connectors.System{string(v1alpha1.SystemHTTP): locking{systems.All()[string(v1alpha1.SystemHTTP)]}})(d)
}

// refuseUntil refuses what is noted as bad until a time, and says so.
func refuseUntil(code int, until time.Time) func(http.ResponseWriter, *http.Request, string) int {
	return func(w http.ResponseWriter, r *http.Request, body string) int {
		if left := time.Until(until); left > 0 && (strings.Contains(body, `"configuration":"bad"`) || strings.HasPrefix(r.URL.Path, "/shipments/")) {
			w.Header().Set("Retry-After", fmt.Sprint(int(left.Seconds())+1))
			return code
		}
		return http.StatusCreated
	}
}

// waiting counts the records of WAITING.
func (w *world) waiting() int {
	w.t.Helper()
	n := 0
	for _, err := range w.bus.Read(w.t.Context(), bus.StreamWaiting, bus.WaitingFilter("wms"), 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		n++
	}
	return n
}

// wait waits until so many wait; counting them often would be most of the work.
func (w *world) wait(n int) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for w.waiting() != n {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("%d deliveries wait, want %d", w.waiting(), n)
		}
	}
}

// record reads a delivery's record in WAITING, nil where there is none.
func (w *world) record(d *dispatchv1.Delivery) *dispatchv1.Waiting {
	w.t.Helper()
	record, err := w.bus.Last(w.t.Context(), bus.StreamWaiting, bus.WaitingSubject(d.GetConnector(), d.GetKey(), d.GetId()))
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	waiting := &dispatchv1.Waiting{}
	if err := proto.Unmarshal(record.Data, waiting); err != nil {
		w.t.Fatal(err)
	}
	return waiting
}

// 5,000 keys in long backoff hold back nothing but themselves: fresh orders go at the full pace, and after
// the wait each of the 5,000 arrives once. So it is where outcomes are unknown (424).
// Before and after, the limit is wide, to be done sooner. The two are judged one after
// the other, and then wait at the same time.
func TestLongWaitsLeaveTheRestAtFullPace(t *testing.T) { //nolint:tparallel // the two run beside each other, and nothing else beside them
	var judging sync.Mutex
	for name, test := range map[string]struct {
		code, bad int
		after     time.Duration
	}{"refused": {http.StatusLocked, 5000, time.Minute}, "unknown": {http.StatusFailedDependency, 1500, 30 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			judging.Lock()
			judged := sync.OnceFunc(judging.Unlock)
			t.Cleanup(judged)
			const wide, pace, batch = 1000 / slowness, 100, 100
			bad := test.bad / slowness
			w, m := newWorld(t, wide, time.Second), watch(t)
			limit := func(calls int64) {
				w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Limits[0] = window(calls, time.Second) })
			}
			for i := range bad {
				w.want(i, "bad")
			}
			started := time.Now()
			opens := started.Add(test.after * 2 / (1 + min(slowness, 2)))
			w.account.answer(refuseUntil(test.code, opens))
			w.start(waits, throttledispatcher.Through(m.through))
			w.wait(bad)
			t.Logf("%d wait %v after the start", bad, time.Since(started))
			limit(pace)
			during(time.Second) // what was handed out before is used
			m.worst.Store(0)
			fresh, best := 0, 0.0
			// Others work on this machine as well, so it gets several tries.
			for try := 0; try < 6 && best < 0.97*(pace-1); try++ {
				rate, first := w.feed(bad+fresh, batch)
				fresh += batch
				best = max(best, rate)
				t.Logf("with %d waiting, the first of %d fresh orders came %v after it was asked for, and all at %.1f a second of %d", w.waiting(), batch, first, rate, pace-1)
			}
			if !time.Now().Before(opens) {
				t.Fatal("too busy a machine: the wait was over before the fresh orders had arrived")
			}
			if m.judges(t) && best < 0.9*(pace-1) {
				t.Errorf("fresh orders went at %.1f a second, want %d", best, pace-1)
			}
			judged()
			limit(wide)
			w.delivered(bad + fresh)
			accepted := map[string]int{}
			for _, call := range w.account.seen() {
				if call.status == http.StatusCreated {
					accepted[call.path]++
				}
			}
			for path, n := range accepted {
				if n != 1 {
					t.Errorf("%s was accepted %d times", path, n)
				}
			}
			if len(accepted) != bad+fresh {
				t.Errorf("%d orders arrived, want %d", len(accepted), bad+fresh)
			}
			w.account.within(t, wide, time.Second)
			w.wait(0)
			t.Logf("all %d are there %v after they could be, of %d calls in all", bad+fresh, time.Since(opens), len(w.account.seen()))
		})
	}
}

// feed asks for some orders and returns at what rate they came, and how long after
// it was asked for the first one did.
func (w *world) feed(from, orders int) (rate float64, first time.Duration) {
	w.t.Helper()
	asked, before := time.Now(), w.account.accepted()
	for i := range orders {
		w.want(from+i, "")
	}
	w.eventually("the fresh orders are there", func() bool { return w.account.accepted() >= before+orders })
	var taken []time.Time
	for _, call := range w.account.seen() {
		if call.status == http.StatusCreated && call.at.After(asked) {
			taken = append(taken, call.at)
		}
	}
	return float64(orders-1) / taken[orders-1].Sub(taken[0]).Seconds(), taken[0].Sub(asked)
}

// Many waits in their lane would block it as well: some of them leave it, however
// short they are.
func TestManyShortWaitsDoNotBlockTheirLane(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const pace, bad, fresh = 400 / slowness, 1000, 50
	w := newWorld(t, pace, time.Second)
	for i := range bad {
		w.want(i, "bad")
	}
	for i := range fresh {
		w.want(bad+i, "")
	}
	opens := time.Now().Add(30 * time.Second)
	w.account.answer(refuseUntil(http.StatusLocked, opens))
	w.start(waits, throttledispatcher.ShortWait(time.Hour))
	w.eventually("the fresh ones are there", func() bool { return w.account.accepted() >= fresh })
	if !time.Now().Before(opens) {
		t.Error("the fresh ones went only when the bad ones were through")
	}
	w.delivered(bad + fresh)
}

// What waits is mapped anew when its turn comes, from the order and the mapping of
// then, under another idempotency key.
func TestLongWaitBindsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	opens := time.Now().Add(5 * time.Second)
	w.account.answer(refuseUntil(http.StatusLocked, opens))
	w.start(waits)
	w.want(1, "bad")
	w.eventually("it waits", func() bool { return w.record(delivery(1)) != nil })
	if got := w.record(delivery(1)); got.GetAttempts() != 1 || got.GetCause().GetCode() != "locked" || got.GetNextAttemptAt().AsTime().Before(opens.Add(-time.Second)) {
		t.Errorf("its record says %v", got)
	}
	w.store(1, "good")
	w.catalog.change(func(c *catalog) {
		c.mapping = mappingOf(t, `{"externalId": externalId, "configuration": order.note, "corrected": true}`)
	})
	result := w.results(1)[keyOf(1)]
	if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED || result.GetAttempts() != 2 {
		t.Errorf("%v, want delivered at the second attempt", result)
	}
	calls := w.account.on("/orders/shopify-1")
	if len(calls) != 2 || !strings.Contains(calls[1].body, `"corrected":true`) || !strings.Contains(calls[1].body, `"good"`) {
		t.Errorf("it was sent as %v", calls)
	}
	if calls[0].key == calls[1].key {
		t.Error("another payload came under the same idempotency key")
	}
}

// Attempts and age bound the whole of it, however often it waits.
func TestLongWaitsAreBounded(t *testing.T) {
	t.Parallel()
	for name, retry := range map[string]v1alpha1.Retry{
		"by attempts": {MaxAttempts: 3, MaxAge: metav1.Duration{Duration: time.Hour}},
		"by age":      {MaxAttempts: 1000, MaxAge: metav1.Duration{Duration: 5 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 40, time.Second)
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Retry = retry })
			w.account.answer(func(r http.ResponseWriter, _ *http.Request, _ string) int {
				r.Header().Set("Retry-After", "2")
				return http.StatusLocked
			})
			w.start(waits)
			w.want(1, "bad")
			result := w.results(1)[keyOf(1)]
			if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD || result.GetCause().GetCode() != "locked" {
				t.Fatalf("%v, want it held", result)
			}
			if got := int(result.GetAttempts()); got != len(w.account.seen()) || got < 3 || got > 4 {
				t.Errorf("held after %d attempts, and %d calls came", got, len(w.account.seen()))
			}
			if w.hold(result).GetInDoubt() {
				t.Error("held as in doubt, though every attempt was refused")
			}
			w.wait(0)
		})
	}
}

// What waits runs out too, and what stands behind it in its key goes on then, in
// order.
func TestFollowersWaitInOrder(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 40, time.Second)
	opens := time.Now().Add(6 * time.Second)
	w.account.answer(refuseUntil(http.StatusLocked, opens))
	var all []*dispatchv1.Delivery
	next := func(step string, lane string) *dispatchv1.Delivery {
		d := delivery(1)
		d.Id, d.Lane = keyOf(1)+"_sell_"+step+"_3", lane
		all = append(all, d)
		w.ask(d)
		return d
	}
	w.store(1, "bad")
	stop := w.start(waits)
	first := next("a", "standard")
	w.eventually("the first waits", func() bool { return w.record(first) != nil })
	second := next("b", "express")
	w.eventually("the second waits behind it", func() bool { return w.record(second) != nil })
	third := next("c", "bulk")
	w.eventually("the third, too", func() bool { return w.record(third) != nil })
	w.allAcknowledged(all...)
	// The same again, as from a requester that crashed, changes nothing.
	w.ask(first)
	w.allAcknowledged(all...)
	stop()
	w.start(waits)
	w.want(2, "")
	w.eventually("another key goes on", func() bool { return len(w.account.on("/orders/shopify-2")) == 1 })
	if !time.Now().Before(opens) {
		t.Fatal("too busy a machine")
	}
	w.eventually("all went", func() bool { return w.account.accepted() == len(all)+1 })
	w.wait(0)
	if n := len(w.account.on("/orders/shopify-1")); n != len(all)+1 {
		t.Errorf("%d calls for the key, want the refused one and %d", n, len(all))
	}
	var order []uint64
	for _, d := range all {
		record, err := w.bus.Last(t.Context(), bus.StreamResult, bus.ResultSubject("test", d.GetId()))
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, record.Sequence)
	}
	if order[0] > order[1] || order[1] > order[2] {
		t.Errorf("they went in the order %v", order)
	}
}

func TestWhatWaitsRunsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.account.answer(func(r http.ResponseWriter, _ *http.Request, _ string) int {
		r.Header().Set("Retry-After", "3600")
		return http.StatusLocked
	})
	w.start(waits)
	d := query("stock-1")
	d.ExpiresAt = timestamppb.New(time.Now().Add(2 * time.Second))
	w.ask(d)
	if got := w.results(1)["stock-1"]; got.GetOutcome() != dispatchv1.Outcome_OUTCOME_EXPIRED {
		t.Errorf("%v, want expired", got)
	}
	w.wait(0)
}

// Whatever write of a move an owner dies at, its successor knows what waits, for
// how long and at which attempt; each effect comes once.
func TestCrashesWhileDeliveriesMove(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 8 {
		writes := 1 + random.IntN(60)
		t.Run(fmt.Sprintf("%d after %d writes", round, writes), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			w.catalog.respec(brief)
			const orders = 12
			opens := time.Now().Add(8 * time.Second)
			w.account.answer(refuseUntil(http.StatusLocked, opens))
			for i := range orders {
				w.store(i, "bad")
				d := delivery(i)
				if i%3 == 0 {
					d.Operation = "ship"
				}
				w.ask(d)
			}
			dying := deadlyAfter(writes)
			stop := w.start(waits, dying.before(), throttledispatcher.Abrupt)
			select {
			case <-dying.died:
			case <-time.After(5 * time.Second):
			}
			stop()
			w.start(waits)
			held := 0
			for key, result := range w.results(orders) {
				switch result.GetOutcome() {
				case dispatchv1.Outcome_OUTCOME_DELIVERED:
				case dispatchv1.Outcome_OUTCOME_HELD:
					// The reply to a call that must not be repeated may have come when its
					// owner was dead already.
					if !w.hold(result).GetInDoubt() {
						t.Errorf("%s is held because of %v", key, result.GetCause())
					}
					held++
				default:
					t.Errorf("%s: %v", key, result)
				}
			}
			accepted := map[string]int{}
			for _, call := range w.account.seen() {
				if call.status != http.StatusCreated {
					continue
				}
				if call.at.Before(opens) {
					t.Errorf("%s was accepted before it opened", call.path)
				}
				accepted[call.path]++
			}
			for path, n := range accepted {
				if n > 1 && strings.HasPrefix(path, "/shipments/") {
					t.Errorf("%s had its effect %d times", path, n)
				}
			}
			if len(accepted)+held != orders {
				t.Errorf("%d arrived and %d are held, want %d in all", len(accepted), held, orders)
			}
			w.wait(0)
		})
	}
}

// An owner that is being replaced may move a delivery just when its successor has
// read what waits.
func TestWhatMovesDuringATakeoverIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.start()
	w.want(1, "")
	w.delivered(1)
	w.store(2, "")
	d := delivery(2)
	w.publish(bus.WaitingSubject(d.GetConnector(), d.GetKey(), d.GetId()), &dispatchv1.Waiting{Delivery: d, Attempts: 3, Position: 1})
	w.delivered(2)
	w.wait(0)
	if got := w.results(2)[keyOf(2)].GetAttempts(); got != 4 {
		t.Errorf("delivered at attempt %d, want 4", got)
	}
}
