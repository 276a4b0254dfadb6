package maintenance_test

import (
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	windows "github.com/peppasync/peppasync/services/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nightly is closed from two to four, with a ramp of ten minutes after it.
func nightly(t testing.TB) windows.Calendar {
	t.Helper()
	schedule, err := windows.ParseSchedule("0 2 * * *")
	if err != nil {
		t.Fatal(err)
	}
	return windows.NewCalendar([]windows.Window{{Schedule: schedule, Zone: time.UTC, Duration: 2 * time.Hour, RampUp: 10 * time.Minute}})
}

func clock(hour, minute, second int) time.Time {
	return time.Date(2026, time.November, 28, hour, minute, second, 0, time.UTC)
}

func TestStopsBeforeAndResumesAfter(t *testing.T) {
	watch := maintenance.NewWatch(clock(0, 0, 0), maintenance.Settings{Calendar: nightly(t), Lead: 30 * time.Second})
	for _, test := range []struct {
		now    time.Time
		closed bool
		part   float64
	}{
		{clock(1, 59, 29), false, 1},
		{clock(1, 59, 30), true, 1},
		{clock(2, 0, 0), true, 1},
		{clock(3, 59, 59), true, 1},
		{clock(4, 0, 0), false, 0.1},
		{clock(4, 5, 0), false, 0.55},
		{clock(4, 9, 59), false, 0.9985},
		{clock(4, 10, 0), false, 1},
		{clock(12, 0, 0), false, 1},
		{clock(25, 59, 45), true, 1},
		{clock(28, 1, 0), false, 0.19},
	} {
		until, closed := watch.Closed(test.now)
		if closed != test.closed || closed && !until.Equal(clock(4+24*(test.now.Day()-28), 0, 0)) {
			t.Errorf("%v: closed %v until %v, want %v", test.now, closed, until, test.closed)
		}
		if part := watch.Part(test.now); math.Abs(part-test.part) > 1e-9 {
			t.Errorf("%v: %v of the pace, want %v", test.now, part, test.part)
		}
	}
}

func TestStartInsideOfAWindowAndOfARamp(t *testing.T) {
	settings := maintenance.Settings{Calendar: nightly(t), Lead: time.Minute}
	if until, closed := maintenance.NewWatch(clock(3, 0, 0), settings).Closed(clock(3, 0, 0)); !closed || !until.Equal(clock(4, 0, 0)) {
		t.Errorf("inside: closed %v until %v", closed, until)
	}
	if part := maintenance.NewWatch(clock(4, 5, 0), settings).Part(clock(4, 5, 0)); math.Abs(part-0.55) > 1e-9 {
		t.Errorf("a start in the middle of the ramp gives %v of the pace, want 0.55", part)
	}
}

func TestTheSlowerOfTwoRampsHolds(t *testing.T) {
	watch := maintenance.NewWatch(clock(3, 0, 0), maintenance.Settings{Calendar: nightly(t), OutageRampUp: 20 * time.Minute})
	watch.Closed(clock(4, 0, 0))
	watch.Recovered(clock(4, 5, 0))
	for _, test := range []struct {
		now  time.Time
		part float64
	}{{clock(4, 5, 0), 0.1}, {clock(4, 15, 0), 0.55}, {clock(4, 25, 0), 1}} {
		if part := watch.Part(test.now); math.Abs(part-test.part) > 1e-9 {
			t.Errorf("%v: %v of the pace, want %v", test.now, part, test.part)
		}
	}
	// Without a ramp of its own an outage changes nothing.
	watch.Set(clock(12, 0, 0), maintenance.Settings{Calendar: nightly(t)})
	watch.Recovered(clock(12, 0, 0))
	if part := watch.Part(clock(12, 0, 0)); part != 1 {
		t.Errorf("%v of the pace after an outage without a ramp", part)
	}
}

// Whatever the settings, a call that is handed out while open, with all the time
// that it may take, is over when the window begins.
func TestNoCallReachesIntoAWindow(t *testing.T) {
	calendar := nightly(t)
	rapid.Check(t, func(t *rapid.T) {
		lead := time.Duration(rapid.IntRange(0, 600).Draw(t, "lead")) * time.Second
		now := clock(0, 0, 0)
		watch := maintenance.NewWatch(now, maintenance.Settings{Calendar: calendar, Lead: lead})
		for range 50 {
			now = now.Add(time.Duration(rapid.IntRange(1, 7200).Draw(t, "seconds")) * time.Second)
			_, closed := watch.Closed(now)
			over := now.Add(lead)
			inside := func(moment time.Time) bool { return moment.Hour() == 2 || moment.Hour() == 3 }
			if !closed && (inside(now) || inside(over)) {
				t.Fatalf("%v is open, and a call may last until %v", now, over)
			}
			if closed && !inside(now) && !inside(over) {
				t.Fatalf("%v is closed, and a call would be over by %v", now, over)
			}
		}
	})
}
