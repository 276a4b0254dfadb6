package throttledispatcher_test

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// A slow system is what bounds the rate: it is kept as busy as it may be, and
// never busier, though calls are handed out ahead of their time.
func TestSlowSystemIsKeptAsBusyAsItMayBe(t *testing.T) {
	for name, c := range map[string]struct {
		calls  int64
		takes  time.Duration
		orders int
	}{
		"four at a time": {calls: 4, takes: 200 * time.Millisecond, orders: 80},
		"one at a time":  {calls: 1, takes: 100 * time.Millisecond, orders: 40},
	} {
		t.Run(name, func(t *testing.T) {
			w, m := newWorld(t, 6000, time.Minute), watch(t)
			w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
				spec.Limits[1].Concurrency = &v1alpha1.Concurrency{Calls: c.calls}
			})
			w.account.setDelay(c.takes)
			for i := range c.orders {
				w.want(i, "")
			}
			w.start(throttledispatcher.Through(m.through))
			w.delivered(c.orders)
			calls := w.account.seen()
			if most := int64(w.account.most); most > c.calls {
				t.Errorf("%d calls at a time, the limit is %d", most, c.calls)
			}
			took := calls[len(calls)-1].at.Sub(calls[0].at)
			busy := float64(len(calls)-1) * float64(c.takes) / float64(c.calls) / float64(took)
			t.Logf("%d calls in %v, %.1f%% of what %d at a time can be", len(calls), took, 100*busy, c.calls)
			if m.judges(t) && busy < 0.9 {
				t.Errorf("%.1f%% busy, want at least 90%%", 100*busy)
			}
			for key, result := range w.results(c.orders) {
				if result.GetAttempts() != 1 {
					t.Errorf("%s took %d attempts", key, result.GetAttempts())
				}
			}
		})
	}
}
