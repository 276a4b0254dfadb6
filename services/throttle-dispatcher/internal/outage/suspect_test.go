package outage_test

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/outage"
)

func TestAloneOnlyWhileOthersPass(t *testing.T) {
	at := func(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }
	cases := map[string]struct {
		happens func(works *outage.Works, s *outage.Suspect)
		alone   bool
	}{
		"the first answer may be an outage's": {func(works *outage.Works, _ *outage.Suspect) {
			works.Accepted("put", at(1))
		}, false},
		"nobody else was asked": {func(_ *outage.Works, s *outage.Suspect) {
			s.Met(at(1))
		}, false},
		"others pass since": {func(works *outage.Works, s *outage.Suspect) {
			s.Met(at(1))
			works.Failed("put")
			works.Accepted("put", at(2))
		}, true},
		"what is accepted now was sent before": {func(works *outage.Works, s *outage.Suspect) {
			s.Met(at(2))
			works.Accepted("put", at(1))
		}, false},
		"queries pass, and no other order does": {func(works *outage.Works, s *outage.Suspect) {
			s.Met(at(1))
			works.Accepted("read", at(2))
		}, false},
		"another one failed after those that passed": {func(works *outage.Works, s *outage.Suspect) {
			s.Met(at(1))
			works.Accepted("put", at(2))
			works.Failed("put")
		}, false},
		"the system went down after that": {func(works *outage.Works, s *outage.Suspect) {
			s.Met(at(1))
			works.Accepted("put", at(2))
			works.Down()
		}, false},
		"and came back": {func(works *outage.Works, s *outage.Suspect) {
			s.Met(at(1))
			works.Down()
			s.Met(at(2))
			works.Accepted("put", at(3))
		}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var works outage.Works
			var s outage.Suspect
			c.happens(&works, &s)
			if got := s.Alone(&works, "put"); got != c.alone {
				t.Errorf("alone %v, want %v", got, c.alone)
			}
		})
	}
}

// However many deliveries are answered like that for ever, one that is not gets
// its turn.
func TestSuspectsLetOthersThrough(t *testing.T) {
	const gap = 500 * time.Millisecond
	for _, bad := range []int{1, 3, 4, 30} {
		suspects, free := make([]outage.Suspect, bad), make([]time.Time, bad)
		now, turns := start, 0
		for ; ; now = now.Add(gap) {
			next := -1
			for i := range suspects { // the oldest first
				if !now.Before(free[i]) {
					next = i
					break
				}
			}
			if next < 0 {
				break // the turn of another
			}
			if turns++; turns > bad*(bad+1) {
				t.Fatalf("%d of them took %d turns and left none", bad, turns)
			}
			suspects[next].Met(now)
			free[next] = now.Add(suspects[next].Wait(gap, bad+1) + time.Nanosecond)
		}
		t.Logf("%d of them took %d turns before another had one", bad, turns)
	}
}

func TestASuspectWithNobodyBesideIsAskedEachGap(t *testing.T) {
	var s outage.Suspect
	for range 100 {
		s.Met(start)
	}
	if got := s.Wait(time.Second, 1); got != time.Second {
		t.Errorf("it waits for %v, want a gap", got)
	}
}
