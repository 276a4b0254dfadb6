// Package outage decides when a connector counts as down, when it may be asked
// whether it is back, and when it counts as up again. It is pure: time comes in
// as an argument. Not safe for concurrent use.
package outage

import "time"

// Settings of a Breaker.
type Settings struct {
	// Threshold is how many calls in a row must meet an outage before the
	// connector counts as down: one bad reply is not an outage.
	Threshold int
	// ProbeEvery is the time from one probe to the next.
	ProbeEvery time.Duration
	// At most ProbeBudget probes go out in any ProbeWindow: probes are calls,
	// and they must not use up what the backlog needs when the outage is over. One
	// half of them may go at once, so that a short outage is asked often; the
	// other half is spread over the window, so that a long one is never left
	// unasked. 0 means no such bound.
	ProbeBudget int
	ProbeWindow time.Duration
}

// LongestRest bounds for how long a system that is down is left alone because its
// replies ask for it. Pages of a maintenance ask for an hour by habit, and so long it
// may be until it is noticed that the system is back.
const LongestRest = 2 * time.Minute

// Breaker is closed while calls go through and open during an outage.
type Breaker struct {
	settings Settings
	failures int
	open     bool
	since    time.Time
	next     time.Time
	// full is when the stock of probes will be whole again.
	full time.Time
	// rest is until when the system asked to be left alone.
	rest time.Time
}

// New returns a closed breaker.
func New(settings Settings) *Breaker {
	return &Breaker{settings: settings}
}

// Set changes the settings; an outage goes on.
func (b *Breaker) Set(settings Settings) { b.settings = settings }

// Open reports whether the connector counts as down.
func (b *Breaker) Open() bool { return b.open }

// Since returns when the outage began; zero while closed.
func (b *Breaker) Since() time.Time { return b.since }

// Failure says that a call met an outage. It returns true when this opens the
// breaker.
func (b *Breaker) Failure(now time.Time) bool {
	b.failures++
	if b.open || b.failures < b.settings.Threshold {
		return false
	}
	b.open, b.since = true, now
	b.next = now.Add(b.settings.ProbeEvery)
	return true
}

// Rest says that the system, which answers as if it were down, asks not to be asked
// for so long. The newest wish counts, and only while the breaker is open: a system
// that throttles in this way is down for all, and what one call alone is told must not
// stop the others.
func (b *Breaker) Rest(now time.Time, asked time.Duration) {
	b.rest = now.Add(min(max(asked, 0), LongestRest))
}

// Resting returns until when an open breaker lets nothing be asked because the system
// asked for it; zero where it did not.
func (b *Breaker) Resting() time.Time {
	if !b.open {
		return time.Time{}
	}
	return b.rest
}

// Success says that a call or a probe was answered by a working system. It
// returns true when this closes the breaker.
func (b *Breaker) Success() bool {
	b.failures, b.rest = 0, time.Time{}
	if !b.open {
		return false
	}
	b.open, b.since = false, time.Time{}
	return true
}

// NextProbe returns when the next probe may go; false while closed.
func (b *Breaker) NextProbe() (time.Time, bool) {
	if !b.open {
		return time.Time{}, false
	}
	at := b.next
	if stock, refill := b.settings.stock(); stock > 0 {
		// One is left as soon as fewer than all of them are missing.
		if left := b.full.Add(-time.Duration(stock-1) * refill); left.After(at) {
			at = left
		}
	}
	if b.rest.After(at) {
		at = b.rest
	}
	return at, true
}

// Probed says that a probe went out at now.
func (b *Breaker) Probed(now time.Time) {
	b.next = now.Add(b.settings.ProbeEvery)
	if _, refill := b.settings.stock(); refill > 0 {
		if b.full.Before(now) {
			b.full = now
		}
		b.full = b.full.Add(refill)
	}
}

// stock returns how many probes may go at once, and the time in which one more
// is there: stock + window/refill is at most the budget.
func (s Settings) stock() (stock int, refill time.Duration) {
	if s.ProbeBudget <= 0 {
		return 0, 0
	}
	stock = max(1, s.ProbeBudget/2)
	spread := max(1, s.ProbeBudget-stock)
	// A nanosecond more, so that a closed window holds one less, not one more.
	return stock, s.ProbeWindow/time.Duration(spread) + 1
}
