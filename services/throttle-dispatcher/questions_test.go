package throttledispatcher

import (
	"testing"
	"time"
)

// swallowed asks a system that swallows everything, or that refuses every connection,
// for a while.
type swallowed struct {
	longest time.Duration
	// patient is how much of the time a patient question was under way while nothing
	// else was asked, widest the longest time between two questions, space what of it is
	// not the time of the first.
	patient, widest, space time.Duration
}

func swallow(places int, lasts, callTimeout time.Duration, sent bool) (s swallowed) {
	type question struct {
		over    time.Time
		patient bool
	}
	var q questions
	epoch := time.Date(2026, 11, 28, 14, 47, 0, 0, time.UTC)
	var under []question
	q.begin(epoch, places)
	last := epoch
	for now := epoch; now.Before(epoch.Add(lasts)); now = now.Add(10 * time.Millisecond) {
		left := under[:0]
		for _, one := range under {
			if now.Before(one.over) {
				left = append(left, one)
				continue
			}
			q.underWay--
			q.patient = q.patient && !one.patient
			q.inVain++
			q.ended(now, one.patient, sent, false, callTimeout, places)
		}
		if under = left; len(under) == 1 && under[0].patient {
			s.patient += 10 * time.Millisecond
		}
		if !q.room(places) || now.Before(q.notBefore) {
			continue
		}
		wait, patient := q.wait(now, callTimeout)
		q.asked(now, patient, now.Sub(epoch), callTimeout, places)
		under = append(under, question{now.Add(wait), patient})
		s.space = max(s.space, q.notBefore.Sub(now))
		s.longest, s.widest, last = max(s.longest, wait), max(s.widest, now.Sub(last)), now
	}
	return s
}

// However long an outage lasts, a system that takes as long as a call may is found back
// in the end, and one that answers at once is found soon: where places are few, three
// quarters of the time belong to that.
func TestPatienceGrowsAndLeavesRoom(t *testing.T) {
	const hour, callTimeout = time.Hour, 30 * time.Second
	for _, places := range []int{1, 7, 8, 64} {
		s := swallow(places, hour, callTimeout, true)
		t.Logf("%d places: %+v", places, s)
		if s.longest != callTimeout {
			t.Errorf("%d places: no question waits for longer than %v, a call may take %v", places, s.longest, callTimeout)
		}
		if places < manyPlaces && s.patient > hour/3 {
			t.Errorf("%d places: nothing but a patient question for %v of an hour", places, s.patient)
		}
		if s := swallow(places, hour, callTimeout, false); s.longest > quickly || s.widest > time.Second {
			t.Errorf("%d places, nothing can be sent: a question waits for %v, and none is asked for %v", places, s.longest, s.widest)
		}
	}
	for places, lasts := range map[int]time.Duration{10: time.Minute, 50: 5 * time.Minute, 64: hour} {
		if s := swallow(places, lasts, callTimeout, true); s.widest > time.Second {
			t.Errorf("%d places: none is asked for %v in an outage of %v", places, s.widest, lasts)
		}
	}
}

// Where places are few and calls may take long, a system that is back must not wait for
// minutes until it is asked.
func TestQuestionsAreNeverRare(t *testing.T) {
	for callTimeout, spaces := range map[time.Duration]map[int]time.Duration{
		30 * time.Second: {1: 15 * time.Second, 7: time.Minute / 7, 8: 7500 * time.Millisecond, 50: 1200 * time.Millisecond},
		5 * time.Minute:  {1: 15 * time.Second, 7: 15 * time.Second, 8: 15 * time.Second, 50: 12 * time.Second},
	} {
		for places, want := range spaces {
			s := swallow(places, 2*time.Hour, callTimeout, true)
			t.Logf("%v, %d places: %+v", callTimeout, places, s)
			if s.space.Round(10*time.Millisecond) != want.Round(10*time.Millisecond) {
				t.Errorf("timeout %v, %d places: none is asked for %v after one, want %v", callTimeout, places, s.space, want)
			}
		}
	}
}

// A call that may take no longer than a quick question needs no patience.
func TestNoPatienceForQuickCalls(t *testing.T) {
	if s := swallow(10, time.Minute, quickly, true); s.longest != quickly {
		t.Errorf("a question waits for %v, a call for %v", s.longest, quickly)
	}
}
