package throttledispatcher_test

import (
	"testing"
	"time"
)

// paced demands that the arrivals come at no less than 99% of the pace.
func paced(t testing.TB, arrivals []arrival, gap time.Duration) {
	t.Helper()
	n := len(arrivals)
	took := arrivals[n-1].at.Sub(arrivals[0].at)
	share := float64(n-1) * float64(gap) / float64(took)
	var slowest time.Duration
	slips := 0
	for i := 1; i < n; i++ {
		between := arrivals[i].at.Sub(arrivals[i-1].at)
		slowest = max(slowest, between)
		if between > gap+gap/2 {
			slips++
		}
	}
	t.Logf("%d calls in %v, %.2f%% of the pace; longest gap %v of %v, %d over half a gap late", n, took, 100*share, slowest, gap, slips)
	if share < 0.99 {
		t.Errorf("%.2f%% of the pace, want at least 99%%", 100*share)
	}
}

func TestBacklogIsSentAtThePace(t *testing.T) {
	w := newWorld(t, 600, 30*time.Second)
	w.account.setDelay(50 * time.Millisecond)
	const orders = 360
	for i := range orders {
		w.want(i, "")
	}
	w.start()
	w.delivered(orders)
	w.account.within(t, 600, 30*time.Second)
	paced(t, w.account.seen(), (30*time.Second+598)/599)
}
