package throttledispatcher_test

import (
	"net/http"
	"testing"
	"time"
)

// Retry-After: 0 names a wait, unlike a refusal without one.
func TestRefusalForNoTime(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]string{"zero": "0", "a date that has passed": "Mon, 23 Nov 2020 11:00:00 GMT"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
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
