package throttledispatcher_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// A limit that changes while calls run holds for every span that ends with a call
// made under it; spans that end before are judged by the larger one.
func TestLimitThatChangesWhileCallsRun(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	const per = time.Second
	w := newWorld(t, 20, per)
	const orders = 300
	for i := range orders {
		w.want(i, "")
	}
	w.start()
	limits := []int{20, 60, 8}
	// A change is in force when its permits are; those handed out before are used
	// within the horizon of a block and the tolerance.
	const settles = 600 * time.Millisecond
	var since []time.Time
	for n, limit := range limits {
		if n > 0 {
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Limits[0] = window(int64(limit), per) })
		}
		since = append(since, time.Now())
		during(2500 * time.Millisecond)
	}
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Limits[0] = window(100, per) })
	since = append(since, time.Now())
	w.delivered(orders)
	calls := w.account.seen()
	w.account.within(t, 100, per)
	for n, limit := range limits {
		from, to := since[n].Add(settles), since[n+1]
		most, first, count := 0, 0, 0
		for last := range calls {
			for calls[last].at.Sub(calls[first].at) > per {
				first++
			}
			if at := calls[last].at; at.After(from) && at.Before(to) {
				most = max(most, last-first+1)
				count++
			}
		}
		t.Logf("limit %d: %d calls in %v, at most %d in a closed window", limit, count, to.Sub(from), most)
		if most > limit {
			t.Errorf("%d calls in a window that ends under a limit of %d", most, limit)
		}
		// Up is felt at once; down once the calls of before have left the window.
		if fair := int(float64(limit-1) * (to.Sub(from) - 2*per).Seconds()); count < max(1, fair) {
			t.Errorf("%d calls under a limit of %d, want at least %d", count, limit, fair)
		}
	}
}

// A throttled reply closes the whole connector for as long as it asks.
func TestThrottledReplyClosesTheConnector(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 20, time.Second)
	throttled := false
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		if throttled {
			return http.StatusCreated
		}
		throttled = true
		reply.Header().Set("Retry-After", "2")
		_, _ = io.WriteString(reply, "slow down")
		return http.StatusTooManyRequests
	})
	const orders = 10
	for i := range orders {
		w.want(i, "")
	}
	w.start()
	w.delivered(orders)
	calls := w.account.seen()
	// What was on its way with the first one may still come in.
	refused := calls[0].at
	for _, call := range calls[1:] {
		if after := call.at.Sub(refused); after > 400*time.Millisecond && after < 2*time.Second {
			t.Errorf("a call came %v after the reply that asked for 2 s", after)
		}
	}
	last := calls[len(calls)-1].at.Sub(refused)
	if last < 2*time.Second || last > 4*time.Second {
		t.Errorf("the last call came %v after the throttled reply, want soon after 2 s", last)
	}
	if n := len(w.log.with("throttled a call")); n != 1 {
		t.Errorf("%d lines in the log for one pause", n)
	}
	for key, result := range w.results(orders) {
		if result.GetAttempts() != 1 {
			t.Errorf("%s: %d attempts spent, a throttled one does not count", key, result.GetAttempts())
		}
	}
}
