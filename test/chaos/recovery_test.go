package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/arrivals"
)

// TestRecovery ends outages, of refused connections, of swallowed bytes and of 503 in
// turn, and measures how long after the end the first call is accepted.
func TestRecovery(t *testing.T) {
	what := fifty()
	what.replicas, what.cut = 1, true
	f := open(t, what)
	outages := 6
	if *long {
		outages = 50
	}
	f.sell(200)
	var took []time.Duration
	for i := range outages {
		f.sell(150)
		f.accepted(i*50+20, time.Minute)
		lasts := time.Duration(2000+f.random.IntN(4000)) * time.Millisecond
		end := f.outage(i%3, lasts)
		f.until(20*time.Second, "a call is accepted after the outage", func() bool {
			_, ok := firstAccepted(f.world.ERP.Arrivals(), end)
			return ok
		})
		first, _ := firstAccepted(f.world.ERP.Arrivals(), end)
		took = append(took, first.Sub(end))
		t.Logf("%v of %s, over at %s: %v", lasts, [...]string{"refused connections", "swallowed bytes", "503"}[i%3], end.UTC().Format("15:04:05.000"), first.Sub(end))
	}
	f.settled(2*time.Minute + time.Duration(outages)*5*time.Second)
	slices.Sort(took)
	t.Logf("the first call after %d outages is accepted after %v at p50, %v at p99", outages, arrivals.Percentile(took, 0.5), arrivals.Percentile(took, 0.99))
	if late := arrivals.Percentile(took, 0.99); late > time.Second {
		t.Errorf("the first call is accepted %v after an outage at p99, want 1 s at most; all: %v", late, took)
	}
}

// outage lasts as long as it says, and returns its end.
func (f *field) outage(kind int, lasts time.Duration) time.Time {
	f.t.Helper()
	switch kind {
	case 0:
		f.way.refuse()
		f.editing(2, lasts)
		f.way.flow()
	case 1:
		f.way.swallow()
		f.editing(2, lasts)
		f.way.flow()
	default:
		if err := f.world.ERP.StartMaintenance(time.Hour); err != nil {
			f.t.Fatal(err)
		}
		f.editing(2, lasts)
		if err := f.world.ERP.StopMaintenance(); err != nil {
			f.t.Fatal(err)
		}
	}
	return time.Now()
}

func firstAccepted(log *arrivals.Log, after time.Time) (time.Time, bool) {
	for _, a := range log.Snapshot() {
		if at := log.Origin().Add(a.At); !at.Before(after) && a.Outcome == arrivals.Accepted {
			return at, true
		}
	}
	return time.Time{}, false
}
