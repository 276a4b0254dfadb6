package throttledispatcher_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// refusing answers these orders with 429 and all others with 201; asks is its
// Retry-After, empty for none.
func refusing(asks string, numbers ...int) func(http.ResponseWriter, *http.Request, string) int {
	return func(reply http.ResponseWriter, r *http.Request, _ string) int {
		if !slices.ContainsFunc(numbers, func(n int) bool { return r.URL.Path == fmt.Sprint("/orders/shopify-", n) }) {
			return http.StatusCreated
		}
		if asks != "" {
			reply.Header().Set("Retry-After", asks)
		}
		return http.StatusTooManyRequests
	}
}

// One order that is always throttled while others pass goes to the Error Hold after
// its attempts, and the others go at pace meanwhile: but for one pause where the reply
// names no wait, and a few where it does.
func TestOrderThatAloneIsThrottledIsHeld(t *testing.T) {
	t.Parallel()
	type pace struct {
		calls  int64
		per    time.Duration
		orders int
	}
	for name, pace := range map[string]pace{"slow": {100, time.Minute, 30}, "quick": {1200, time.Minute, 120}} {
		for asks, most := range map[string]time.Duration{"": 5 * time.Second, "1": 4 * time.Second} {
			t.Run(fmt.Sprintf("%s, Retry-After %q", name, asks), func(t *testing.T) {
				t.Parallel()
				needs(t, roomToJudge)
				w, m := newWorld(t, pace.calls, pace.per), watch(t)
				w.catalog.respec(attempts(3))
				w.account.answer(refusing(asks, 0))
				for i := range pace.orders {
					w.want(i, "")
				}
				w.start(throttledispatcher.Through(m.through))
				results := w.results(pace.orders)
				bad := results[keyOf(0)]
				if bad.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD || bad.GetCause().GetStatus() != http.StatusTooManyRequests ||
					!strings.Contains(bad.GetCause().GetDetail(), "while others pass") || bad.GetAttempts() != 3 {
					t.Errorf("%v because of %v, want it held after 3 attempts with a cause that tells", bad.GetOutcome(), bad.GetCause())
				}
				if w.hold(bad).GetInDoubt() {
					t.Error("it is in doubt, though it was refused for certain")
				}
				var good []arrival
				for i := 1; i < pace.orders; i++ {
					calls := w.account.on(fmt.Sprint("/orders/shopify-", i))
					if got := results[keyOf(i)].GetOutcome(); got != dispatchv1.Outcome_OUTCOME_DELIVERED || len(calls) != 1 {
						t.Errorf("order %d: %v after %d calls", i, got, len(calls))
					}
					good = append(good, calls...)
				}
				sortByTime(good)
				// Refusals of an account's own lower the pace to 85%.
				took := good[len(good)-1].at.Sub(good[0].at)
				whole := time.Duration(pace.orders) * pace.per / time.Duration(pace.calls) * 100 / 85
				t.Logf("%d orders in %v, of which the pace is %v; %d calls for the bad one", len(good), took, whole, len(w.account.on("/orders/shopify-0")))
				if late := took - whole; m.judges(t) && late > most+time.Second {
					t.Errorf("the others were held up for %v, want %v", late, most)
				}
				w.account.within(t, int(pace.calls), pace.per)
			})
		}
	}
}

// The wait that it is asked for is a pause of all; the delivery does not serve it again
// after that.
func TestANamedWaitIsServedOnce(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const wait, orders = 4 * time.Second, 120
	w := newWorld(t, 600, time.Minute)
	w.catalog.respec(attempts(2))
	w.account.answer(refusing(fmt.Sprint(wait.Seconds()), 0))
	for i := range orders {
		w.want(i, "")
	}
	w.start()
	w.eventually("it is held", func() bool { return w.resultOf(delivery(0)) != nil })
	calls := w.account.on("/orders/shopify-0")
	if len(calls) < 3 {
		t.Fatalf("calls at %v, want three: none of the others passed before the first", calls)
	}
	for n, call := range calls[1:] {
		gap := call.at.Sub(calls[n].at)
		t.Logf("again after %v", gap)
		if gap < wait || gap >= 2*wait {
			t.Errorf("again after %v, want %v and the least backoff", gap, wait)
		}
	}
}

// Many of them, all older than the others, where the others come one by one.
func TestManyThrottledOrdersStopOnlyThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1200, time.Minute)
	w.catalog.respec(attempts(2))
	const bad = 5
	w.account.answer(refusing("0.5", 0, 1, 2, 3, 4))
	for i := range bad {
		w.want(i, "")
	}
	w.start()
	orders := bad
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	w.eventually("all bad ones are held", func() bool {
		<-tick.C
		w.want(orders, "")
		orders++
		for i := range bad {
			if w.resultOf(delivery(i)) == nil {
				return false
			}
		}
		return true
	})
	for key, result := range w.results(orders) {
		want := dispatchv1.Outcome_OUTCOME_DELIVERED
		for i := range bad {
			if key == keyOf(i) {
				want = dispatchv1.Outcome_OUTCOME_HELD
			}
		}
		if result.GetOutcome() != want {
			t.Errorf("%s: %v because of %v, want %v", key, result.GetOutcome(), result.GetCause(), want)
		}
	}
}

// An account that throttles whatever comes too fast holds up all and harms none.
func TestThrottledAccountHoldsNoOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		if lately(slices.DeleteFunc(slices.Clone(w.account.arrivals), func(a arrival) bool { return a.status != http.StatusCreated }), time.Second) < 10 {
			return http.StatusCreated
		}
		reply.Header().Set("Retry-After", "0.5")
		return http.StatusTooManyRequests
	})
	const orders = 100
	for i := range orders {
		w.want(i, "")
	}
	w.start()
	w.delivered(orders)
	t.Logf("%d calls for %d orders", len(w.account.seen()), orders)
}
