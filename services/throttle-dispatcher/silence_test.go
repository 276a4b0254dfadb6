package throttledispatcher

import (
	"testing"
	"time"
)

// What is long is twice the longest reply of the last half minute or minute, and
// counts from the last reply or from when calls were begun after a rest.
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
	s.busySince = at(0)
	expect(100*second, 0, 0) // nothing was ever heard
	s.heard(at(101*second), 3*second)
	s.heard(at(102*second), second)
	expect(104*second, 2*second, 6*second)
	s.busySince = at(110 * second)
	expect(111*second, second, 6*second)
	s.heard(at(133*second), second)
	expect(133*second, 0, 6*second) // the 3 s still count
	s.heard(at(164*second), second/2)
	expect(165*second, second, 2*second)
	s.heard(at(163*second), second/2) // taken in late
	expect(165*second, second, 2*second)
}
