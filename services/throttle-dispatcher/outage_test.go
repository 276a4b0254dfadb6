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
	for _, call := range w.account.seen() {
		if call.status == http.StatusCreated && call.method == http.MethodPut {
			if late := call.at.Sub(back); late > time.Second {
				t.Errorf("first accepted call %v after the outage, want within a second", late)
			}
			break
		}
	}
}
