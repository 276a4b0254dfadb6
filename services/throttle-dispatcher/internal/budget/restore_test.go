package budget

import (
	"testing"
	"time"
)

// Of what an owner with a bound left, only as many calls can be on their way after its
// last permit ran out; the others count for a window from then on.
func TestRestoreFreesWhatCannotBeOnItsWay(t *testing.T) {
	l := Limits{
		Windows: []Window{{Name: "strict", Calls: 50, Per: time.Second}, {Name: "declared", Calls: 50, Per: time.Second, ArrivesWithin: 2 * time.Second}}, Pacing: Burst,
		Tolerance: 250 * millisecond, CallTimeout: 30 * time.Second, Grace: time.Second, ClockTolerance: 50 * millisecond,
	}
	const skew, long = 100 * millisecond, 31*time.Second + 250*millisecond
	left := newBudget(t, l).Reserve(epoch, 0, 20)
	for name, c := range map[string]struct {
		parallel int
		since    time.Duration
		gone     bool
		over     time.Duration // by which most had arrived
		late     int           // of those that had not
		until    time.Duration // by which they have
	}{
		"another owner":                   {8, 0, false, 250 * millisecond, 8, long},
		"with a bound since later":        {8, 5 * time.Second, false, 5 * time.Second, 8, long},
		"without a bound":                 {0, 0, false, 0, 20, long},
		"with a bound that binds nothing": {40, 0, false, 0, 20, long},
		// It was dead when the next one began, and its bytes are a grace later.
		"of the same name":                 {8, 0, true, 100 * millisecond, 8, 1100 * millisecond},
		"of the same name without a bound": {0, 0, true, 0, 20, 1100 * millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			h := History{LastPermit: 20, Parallel: map[string]Bound{}}
			if c.parallel > 0 {
				h.Parallel["one"] = Bound{Calls: c.parallel, Since: epoch.Add(c.since)}
			}
			for _, p := range left {
				h.Permits = append(h.Permits, Past{Permit: p, Holder: "one", Gone: c.gone})
			}
			live := func(at time.Duration) int {
				b := newBudget(t, l)
				b.Restore(epoch.Add(100*millisecond), h)
				return b.Live(epoch.Add(at), "strict")
			}
			for at, want := range map[time.Duration]int{
				c.over + skew + time.Second: 20, c.over + skew + time.Second + 1: c.late,
				c.until + skew + time.Second: c.late, c.until + skew + time.Second + 1: 0,
			} {
				if c.late == 20 && at < c.until {
					want = 20
				}
				if n := live(at); n != want {
					t.Errorf("live %d at %v, want %d", n, at, want)
				}
			}
			b := newBudget(t, l)
			b.Restore(epoch.Add(100*millisecond), h)
			if n := b.Live(epoch.Add(min(c.until, 2250*millisecond)+skew+time.Second), "declared"); n != 20 {
				t.Errorf("live %d of the declared window, want 20: each for its own time", n)
			}
		})
	}
}
