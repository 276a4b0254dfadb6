package throttledispatcher

import "time"

const (
	// leastSilence is the shortest time without any reply that counts as silence.
	leastSilence = 500 * time.Millisecond
	// outageAfter is how long a silence lasts until questions in vain count as an
	// outage, of which people are told: a system that is busy with itself for some
	// seconds is none.
	outageAfter = 5 * time.Second
	// repliesFor is for how long, or twice as long, a reply tells how long the system
	// takes.
	repliesFor = 30 * time.Second
)

// silence follows whether a system that has calls under way answers any. One that
// swallows what it is sent shows that only at the calls' deadlines. Until then each
// further call is one more of which nobody knows what became of it, and which counts
// against the window for as long as its bytes may arrive: a window full of them would
// allow no call for seconds after the system is back.
//
// Its zero value has heard nothing, and is never silent.
type silence struct {
	// heardAt is when the last reply came, askedSince when the first call since then
	// was sent. One that was sent before tells nothing: it may take long while others
	// are answered at once.
	askedSince, heardAt time.Time
	// longest and before are the longest replies since turnedAt and of the time before
	// that.
	longest, before time.Duration
	turnedAt        time.Time
	// askAt is when the next question may go; kept: what waits was called back.
	askAt time.Time
	kept  bool
	// cut is how many questions were cut off since the last reply.
	cut int
}

// heard takes in a reply.
func (s *silence) heard(at time.Time, took time.Duration) {
	if at.Sub(s.turnedAt) > repliesFor {
		s.before, s.longest, s.turnedAt = s.longest, 0, at
	}
	s.longest = max(s.longest, took)
	s.heardAt, s.cut = latest(s.heardAt, at), 0
}

// lasts returns for how long no reply has come to calls that were sent since the last
// one, and twice as long as the longest reply took lately, which no system that works
// lets pass without any; 0 for both where there is no such call, or no reply tells how
// long one takes.
func (s *silence) lasts(now time.Time) (lasts, long time.Duration) {
	longest := max(s.longest, s.before)
	if longest == 0 || !s.askedSince.After(s.heardAt) {
		return 0, 0
	}
	return now.Sub(s.askedSince), 2 * longest
}

// overdue reports whether calls are under way and a reply should have come.
func (w *worker) overdue(now time.Time) bool {
	lasts, long := w.silence.lasts(now)
	return w.underWay() > 0 && long > 0 && lasts >= long
}

// silent reports whether that has lasted so long that nothing is sent any more but a
// question twice a second.
func (w *worker) silent(now time.Time) bool {
	lasts, _ := w.silence.lasts(now)
	return lasts >= leastSilence && w.overdue(now)
}

// silentAt returns when that will be if no reply comes; false where nothing is to
// come.
func (w *worker) silentAt(now time.Time) (time.Time, bool) {
	lasts, long := w.silence.lasts(now)
	if w.underWay() == 0 || long == 0 || w.breaker.Open() || w.silent(now) {
		return time.Time{}, false
	}
	return now.Add(max(leastSilence, long) - lasts), true
}

// keepSilence calls back what waits for its send time when it becomes silent.
func (w *worker) keepSilence(now time.Time) {
	was := w.silence.kept
	w.silence.kept = !w.breaker.Open() && w.silent(now)
	if w.silence.kept && !was {
		w.recall()
	}
}

// nextProbe returns when the system may be asked whether it answers; false where
// calls may be made instead.
func (w *worker) nextProbe(now time.Time) (time.Time, bool) {
	if at, open := w.breaker.NextProbe(); open {
		return latest(at, w.questions.notBefore), true
	}
	return w.silence.askAt, w.silent(now)
}
