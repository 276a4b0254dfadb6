package throttledispatcher

import (
	"testing"
	"time"
)

// What is long is twice the longest reply of the last half minute or minute, and
// counts from the first call since the last reply.
func TestHowLongASilenceLasts(t *testing.T) {
	const second = time.Second
	epoch := time.Date(2026, 11, 28, 14, 47, 0, 0, time.UTC)
	at := epoch.Add
	var s silence
	expect := func(now, lasts, long time.Duration) {
		t.Helper()
		if gotLasts, gotLong := s.lasts(at(now)); gotLasts != lasts || gotLong != long {
			t.Errorf("at %v: lasts %v and long is %v, want %v and %v", now, gotLasts, gotLong, lasts, long)
		}
	}
	s.askedSince = at(0)
	expect(100*second, 0, 0) // nothing was ever heard
	s.heard(at(101*second), 3*second)
	s.heard(at(102*second), second)
	expect(104*second, 0, 0) // no call since then
	s.askedSince = at(110 * second)
	expect(111*second, second, 6*second)
	s.heard(at(133*second), second)
	s.askedSince = at(134 * second)
	expect(136*second, 2*second, 6*second) // the 3 s still count
	s.heard(at(164*second), second/2)
	s.askedSince = at(165 * second)
	expect(166*second, second, 2*second)
	s.heard(at(163*second), second/2) // taken in late
	expect(166*second, second, 2*second)
}
