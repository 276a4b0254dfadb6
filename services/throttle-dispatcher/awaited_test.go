package throttledispatcher_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// An edit of a flow that wants none of the orders that wait, or loses their step,
// stands for seconds and is taken back: every order is sent, nothing is in the Error
// Hold, and the log has told what waits. An order that was cancelled meanwhile is
// skipped.
func TestASlipInAFlowLosesNothingThatWaits(t *testing.T) {
	t.Parallel()
	for name, slip := range map[string]struct {
		edit, mend func(c *catalog)
		text       string
	}{
		"the condition wants none": {
			edit: func(c *catalog) { c.when = conditionOf(t, `order.note == "slip"`) },
			mend: func(c *catalog) { c.when = conditionOf(t, `!has(order.cancelled_at)`) },
			text: "the flow's condition no longer wants them",
		},
		"the step is renamed": {
			edit: func(c *catalog) { c.gone = true },
			mend: func(c *catalog) { c.gone = false },
			text: "no longer has the step",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			w.catalog.change(slip.edit)
			stop := w.start()
			w.account.answer(func(rw http.ResponseWriter, r *http.Request, _ string) int {
				if r.Method == http.MethodGet {
					_, _ = rw.Write([]byte(`{}`))
					return http.StatusOK
				}
				return http.StatusCreated
			})
			const orders = 40
			for i := range orders {
				w.want(i, "")
			}
			w.eventually("the log tells", func() bool { return len(w.log.with(slip.text)) == 1 })
			other := query("q-1") // what the flow has no say in goes on
			w.ask(other)
			w.eventually("the query", func() bool { return len(w.account.on("/stock")) == 1 })
			// Neither an edit that mends nothing nor a new owner loses any.
			w.catalog.change(func(*catalog) {})
			w.eventually("the log tells again", func() bool { return len(w.log.with(slip.text)) == 2 })
			stop()
			w.start(throttledispatcher.AskOften)
			w.cancel(7)
			w.eventually("the cancelled one is skipped, though nothing is edited", func() bool {
				result := w.resultOf(delivery(7))
				return result.GetOutcome() == dispatchv1.Outcome_OUTCOME_SKIPPED
			})
			if n := len(w.account.seen()); n != 1 {
				t.Errorf("%d calls while the flow wants none, want the query", n)
			}
			w.catalog.change(slip.mend)
			for key, result := range w.results(orders + 1) {
				want := dispatchv1.Outcome_OUTCOME_DELIVERED
				if key == keyOf(7) {
					want = dispatchv1.Outcome_OUTCOME_SKIPPED
				}
				if result.GetOutcome() != want {
					t.Errorf("%s: %v because of %v, want %v", key, result.GetOutcome(), result.GetCause(), want)
				}
			}
			if len(w.log.with("no order waits for an edit")) == 0 {
				t.Error("the log does not tell that it is over")
			}
		})
	}
}

// counting counts what a dispatcher looks up.
type counting struct {
	throttledispatcher.Records
	reads atomic.Int64
}

func (c *counting) before() func(*throttledispatcher.Dispatcher) {
	return throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		c.Records = r
		return c
	})
}

func (c *counting) Last(ctx context.Context, stream, subject string) (bus.Record, error) {
	c.reads.Add(1)
	return c.Records.Last(ctx, stream, subject)
}

// Deliveries that wait for the catalog do not keep the worker busy.
func TestWaitingForTheCatalogDoesNotSpin(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 1000, time.Second)
	w.catalog.change(func(c *catalog) { c.gone = true })
	counted := &counting{}
	w.start(counted.before())
	for i := range 20 {
		w.want(i, "")
	}
	w.eventually("the log tells", func() bool { return len(w.log.with("no longer has the step")) > 0 })
	during(500 * time.Millisecond)
	before := counted.reads.Load()
	during(time.Second)
	if n := counted.reads.Load() - before; n > 5 {
		t.Errorf("%d reads within a second in which nothing changed", n)
	}
}

// An order that is refused for now is asked anew at its next attempt, also by the
// owner after a restart: what was cancelled meanwhile is not sent, what was edited
// is sent as it is, under another idempotency key, and what is as it was is
// repeated.
func TestARefusedOrderIsBoundAnew(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refusal int
		restart bool
	}{
		"after an outage":                {http.StatusServiceUnavailable, false},
		"after an outage and a restart":  {http.StatusServiceUnavailable, true},
		"after throttling":               {http.StatusTooManyRequests, false},
		"after throttling and a restart": {http.StatusTooManyRequests, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			w.catalog.change(func(c *catalog) { c.when = conditionOf(t, `!has(order.cancelled_at)`) })
			w.account.answer(func(rw http.ResponseWriter, _ *http.Request, _ string) int {
				rw.Header().Set("Retry-After", "1")
				return test.refusal
			})
			w.account.setDelay(100 * time.Millisecond) // so that all are sent before one is refused
			for i := range 3 {
				w.want(i, "as asked")
			}
			stop := w.start()
			tried := func(i int) []arrival { return w.account.on("/orders/shopify-" + string(rune('0'+i))) }
			w.eventually("every order is refused", func() bool { return len(tried(0)) > 0 && len(tried(1)) > 0 && len(tried(2)) > 0 })
			if test.restart {
				stop()
			}
			w.cancel(1)
			w.store(2, "edited")
			if !test.restart {
				during(time.Second) // what was bound before, up to a block ahead, is refused still
			}
			sent := len(tried(1))
			w.account.answer(nil)
			if test.restart {
				w.start()
			}
			results := w.results(3)
			for i, want := range []dispatchv1.Outcome{dispatchv1.Outcome_OUTCOME_DELIVERED, dispatchv1.Outcome_OUTCOME_SKIPPED, dispatchv1.Outcome_OUTCOME_DELIVERED} {
				if got := results[keyOf(i)]; got.GetOutcome() != want {
					t.Errorf("order %d: %v because of %v, want %v", i, got.GetOutcome(), got.GetCause(), want)
				}
			}
			if n := len(tried(1)); n != sent {
				t.Errorf("the cancelled order was sent %d times more", n-sent)
			}
			same, edited := tried(0), tried(2)
			if first, last := same[0], same[len(same)-1]; first.body != last.body || first.key != last.key {
				t.Errorf("what is as it was is sent as %v and as %v", first, last)
			}
			if first, last := edited[0], edited[len(edited)-1]; !strings.Contains(last.body, "edited") || first.key == last.key {
				t.Errorf("what was edited is sent as %v after %v", last, first)
			}
		})
	}
}

// Once an outcome is unknown, every attempt repeats what was claimed, through
// refusals and restarts, though the order is cancelled.
func TestAnUnknownOutcomeIsRepeatedAsClaimed(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"in one life": false, "over a restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			w.catalog.change(func(c *catalog) { c.when = conditionOf(t, `!has(order.cancelled_at)`) })
			calls := 0
			w.account.answer(func(http.ResponseWriter, *http.Request, string) int {
				if calls++; calls == 1 {
					return http.StatusInternalServerError // may have had its effect
				}
				return http.StatusTooManyRequests // a later attempt had none for certain
			})
			w.want(1, "as claimed")
			stop := w.start()
			w.eventually("a refusal", func() bool { return len(w.account.on("/orders/shopify-1")) > 1 })
			if restart {
				stop()
			}
			w.cancel(1)
			w.account.answer(nil)
			if restart {
				w.start()
			}
			w.delivered(1)
			w.oneEffect("/orders/shopify-1")
		})
	}
}
