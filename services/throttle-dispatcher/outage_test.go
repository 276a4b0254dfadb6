package throttledispatcher_test

import (
	"net/http"
	"testing"
	"time"
)

// Maintenance: the system answers 503 to everything, its probe included.
func TestOutageIsAPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 600, time.Minute)
	w.account.answer(status(http.StatusServiceUnavailable))
	w.start()
	const orders = 20
	for i := range orders {
		w.want(i, "")
	}
	during(3 * time.Second)
	w.account.answer(nil)
	back := time.Now()
	w.delivered(orders)
	w.resumedWithin(back, time.Second)
}

// resumedWithin demands that an order was accepted so soon after the outage.
func (w *world) resumedWithin(back time.Time, most time.Duration) {
	w.t.Helper()
	for _, call := range w.account.seen() {
		if call.status != http.StatusCreated || call.method != http.MethodPut || call.at.Before(back) {
			continue
		}
		late := call.at.Sub(back)
		w.t.Logf("first accepted call %v after the outage", late)
		if late > most {
			w.t.Errorf("first accepted call %v after the outage, want within %v", late, most)
		}
		return
	}
	w.t.Error("no call was accepted after the outage")
}

// Where the pace leaves room for less than two requests a second, a probe would
// take the place of a call: then the call is the probe.
func TestSlowAccountIsAskedByItsCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Minute)
	w.account.answer(status(http.StatusServiceUnavailable))
	w.start()
	const orders = 3
	for i := range orders {
		w.want(i, "")
	}
	during(3 * time.Second)
	w.account.answer(nil)
	back := time.Now()
	w.delivered(orders)
	w.resumedWithin(back, 900*time.Millisecond)
	if n := len(w.account.on("/health")); n > 0 {
		t.Errorf("%d probes took the place of calls", n)
	}
}
