package throttledispatcher

import (
	"testing"
	"time"
)

// What goes on for longer than a takeover is two owners; what comes again after a while
// is another takeover.
func TestHowLongATakeoverLasts(t *testing.T) {
	epoch := time.Date(2026, 11, 28, 14, 47, 0, 0, time.UTC)
	var taken takenOver
	for _, step := range []struct {
		at             time.Duration
		begins, goesOn bool
	}{
		{0, true, true}, {time.Second, false, true}, {9 * time.Second, false, true}, {11 * time.Second, false, false},
		{60 * time.Second, false, false}, {121 * time.Second, true, true}, {122 * time.Second, false, true},
	} {
		if begins, goesOn := taken.met(epoch.Add(step.at)); begins != step.begins || goesOn != step.goesOn {
			t.Errorf("at %v: begins %v and goes on %v, want %v and %v", step.at, begins, goesOn, step.begins, step.goesOn)
		}
	}
}
