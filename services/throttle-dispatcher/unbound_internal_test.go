package throttledispatcher

import (
	"testing"
	"time"
)

// The log hears once of deliveries that cannot be bound for long, and once when the last
// of them is bound or over; of one that only came late it hears nothing.
func TestUnboundDeliveriesAreToldOnce(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 2, 14, 0, 0, 0, time.UTC)
	var u unbound
	fails := func(id string, want bool) {
		t.Helper()
		if got := u.fails(id, now); got != want {
			t.Errorf("%s fails: %v is told, want %v", id, got, want)
		}
	}
	binds := func(id string, want time.Duration) {
		t.Helper()
		if got, was := u.binds(id, now); got != want || was != (want > 0) {
			t.Errorf("%s binds: %v (%v), want %v", id, got, was, want)
		}
	}
	for range 100 { // each once, beside others that bind at the same moment
		fails("late", false)
		binds("other", 0)
		now = now.Add(time.Second)
		binds("late", 0)
	}
	fails("a", false)
	now = now.Add(unboundTold - time.Second)
	fails("a", false)
	fails("b", false)
	now = now.Add(time.Second)
	fails("a", true)
	for range 10 {
		now = now.Add(unboundTold)
		fails("a", false)
		fails("b", false)
		binds("other", 0)
	}
	binds("a", 0)
	now = now.Add(time.Second)
	binds("b", 11*unboundTold+time.Second)
	binds("b", 0)
	fails("a", false) // and anew
	now = now.Add(unboundTold)
	fails("a", true)
}
