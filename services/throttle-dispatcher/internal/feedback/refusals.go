package feedback

import (
	"math/rand/v2"
	"time"
)

const (
	// FirstPause follows a refusal that does not say how long to wait.
	FirstPause = 5 * time.Second
	// LongestPause bounds what pauses grow to while nothing passes: so long it may be
	// until it is noticed that the system takes calls again.
	LongestPause = 5 * time.Minute
)

// Refusals computes for how long to send nothing after refusals that do not say it:
// twice as long each time while nothing passes, because there are systems which
// prolong the lock of whoever keeps asking. Its zero value has heard none.
type Refusals struct {
	// inARow is how many there were since a call passed, those of calls that were under
	// way together as one. replied is when the latest of them said so, heard when that was
	// acted on: calls between the two went before anybody could stop them. paused is what
	// it led to.
	inARow         int
	replied, heard time.Time
	paused         time.Duration
}

// Pause takes in a refusal of a call whose first byte left at sent and whose reply came at
// replied, and returns for how long to send nothing. asked is what the reply asks for, if said. No time at all is
// believed once: where the next call is refused as well, a pause is what is missing.
func (r *Refusals) Pause(sent, replied, now time.Time, asked time.Duration, said bool, random *rand.Rand) time.Duration {
	together := r.inARow > 0 && !sent.After(r.heard)
	if !together {
		r.inARow++
		r.replied, r.heard = replied, now
	}
	switch {
	case said && (asked > 0 || r.inARow == 1):
		r.paused = asked
	case !together:
		r.paused = grown(r.inARow, random)
	}
	return r.paused
}

// Passed takes in that a call passed whose first byte left at sent. One that was under
// way when another was refused says nothing of what followed.
func (r *Refusals) Passed(sent time.Time) {
	if sent.After(r.replied) {
		r.inARow = 0
	}
}

// Forget begins anew: somebody knows that the system takes calls again.
func (r *Refusals) Forget() { *r = Refusals{} }

// grown is the n-th pause in a row: between half of the doubled one and all of it, so
// that several who were refused together do not come back together, and never shorter
// than the first.
func grown(n int, random *rand.Rand) time.Duration {
	pause := LongestPause
	if n < 32 { // FirstPause << 32 would overflow
		pause = min(pause, FirstPause<<max(n-1, 0))
	}
	return max(FirstPause, pause/2+time.Duration(random.Int64N(int64(pause/2)+1)))
}
