package throttledispatcher_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Retry-After: 0 names a wait, unlike a refusal without one.
func TestRefusalForNoTime(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]string{"zero": "0", "a date that has passed": "Mon, 23 Nov 2020 11:00:00 GMT"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needs(t, roomToJudge)
			w := newWorld(t, 50, time.Second)
			w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
				if len(w.account.arrivals) > 0 {
					return http.StatusCreated
				}
				reply.Header().Set("Retry-After", wait)
				return http.StatusTooManyRequests
			})
			w.want(1, "")
			w.start()
			w.delivered(1)
			if calls := w.account.seen(); len(calls) != 2 || calls[1].at.Sub(calls[0].at) > 3*time.Second {
				t.Errorf("calls at %v, want the second soon after the first", calls)
			}
		})
	}
}

// Of refusals that ask for no wait a second may hold many: the log hears of them, not of
// each, and not of a pause that there is none of.
func TestRefusalsForNoTimeFillNoLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6000, time.Minute)
	w.catalog.respec(inParallel(1)) // so that some pass between two of them
	met := map[string]bool{}
	w.account.answer(func(reply http.ResponseWriter, r *http.Request, _ string) int {
		if met[r.URL.Path] || len(met)%3 != 0 {
			met[r.URL.Path] = true
			return http.StatusCreated
		}
		met[r.URL.Path] = true
		reply.Header().Set("Retry-After", "0")
		return http.StatusTooManyRequests
	})
	const orders = 12
	for i := range orders {
		w.want(i, "")
	}
	w.start()
	w.delivered(orders)
	if n := len(w.account.seen()); n < orders+3 {
		t.Errorf("%d calls for %d orders, want some refused", n, orders)
	}
	if lines := w.log.with("throttled a call"); len(lines) != 1 || strings.Contains(lines[0], "pauses") || !strings.Contains(lines[0], "asks for no wait") {
		t.Errorf("the log says %q, want one line, of no pause", lines)
	}
}

// A system that refuses everything and asks for nothing is left alone for longer and
// longer; a call that passes ends that.
func TestPausesGrowWhileEverythingIsRefused(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 50, time.Second)
	refusedAgain := false
	w.account.answer(func(http.ResponseWriter, *http.Request, string) int {
		switch n := len(w.account.arrivals); {
		case n < 3: // its pauses are 5, 5 to 10, and 10 to 20 s
			return http.StatusTooManyRequests
		case n > 3 && !refusedAgain:
			refusedAgain = true
			return http.StatusTooManyRequests
		}
		return http.StatusCreated
	})
	w.want(1, "")
	w.start()
	w.delivered(1)
	w.want(2, "")
	w.delivered(2)
	var gaps []time.Duration
	calls := w.account.seen()
	for n := range calls[1:] {
		gaps = append(gaps, calls[n+1].at.Sub(calls[n].at).Round(10*time.Millisecond))
	}
	t.Log("the time between the calls:", gaps)
	if len(gaps) != 5 || gaps[2] < 10*time.Second || gaps[4] < 5*time.Second || gaps[4] > 9*time.Second {
		t.Errorf("the time between the calls: %v, want 5, 5 to 10, 10 to 20, some, and 5 s again", gaps)
	}
}
