package throttledispatcher

import (
	"testing"
	"time"
)

// A bound follows what is under way: no more than that and an eighth are kept for a
// successor to wait for, and half at once where a call comes short of it.
func TestABoundFollowsWhatIsUnderWay(t *testing.T) {
	now := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	p := parallelOf(50, true)
	for range 3 {
		p.sees(now, 8)
		now = now.Add(fewFor)
	}
	p.sees(now, 2)
	if got := p.enough(now); got != 10 {
		t.Errorf("%d are enough where 8 were under way, want 10", got)
	}
	p.allowed = 10
	if p.short(now); p.enough(now) != 25 || !p.neededAt.IsZero() {
		t.Errorf("%d are enough after a call came short, want half; all are needed since %v", p.enough(now), p.neededAt)
	}
	p.allowed = 25
	if p.short(now.Add(shortAgain / 2)); !p.neededAt.IsZero() {
		t.Error("a call that came short of the lower bound asks for all")
	}
	if p.short(now.Add(shortAgain)); p.neededAt.IsZero() {
		t.Error("a call that comes short of half does not ask for all")
	}
	for range 4 {
		now = now.Add(fewFor)
		p.sees(now, 0)
	}
	if got := p.enough(now); got != leastFew {
		t.Errorf("%d are enough where none was under way, want %d", got, leastFew)
	}
	few := parallelOf(6, true)
	for range 4 {
		now = now.Add(fewFor)
		few.sees(now, 1)
	}
	if got := few.enough(now); got != 3 {
		t.Errorf("%d of 6 are enough, want half: fewer save nothing", got)
	}
}
