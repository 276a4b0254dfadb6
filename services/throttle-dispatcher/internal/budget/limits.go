package budget

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of Limits; a zero field means its default.
const (
	// DefaultCallTimeout is how long a reply may take.
	DefaultCallTimeout = 30 * time.Second
	// DefaultGrace is how long bytes of a connection that was cut may still be
	// on their way.
	DefaultGrace = time.Second
	// DefaultClockTolerance is how far the clock of a replica may be from true
	// time, either way.
	DefaultClockTolerance = 50 * time.Millisecond

	// pacedUpTo is the longest window over which calls are spread evenly; an
	// even spread over a day would make the first order of the morning wait.
	pacedUpTo = 5 * time.Minute
	// longestWindow keeps every sum of times far from overflow.
	longestWindow = 400 * 24 * time.Hour
	// maxTolerance bounds how long a stalled owner can make its successor wait.
	maxTolerance = time.Second
)

// Pacing says how send times are spread.
type Pacing int

const (
	// Even spreads calls evenly over each window of at most five minutes.
	Even Pacing = iota
	// Burst sends as soon as the windows allow.
	Burst
)

// Window allows Calls arrivals in every closed span of length Per.
type Window struct {
	Name  string
	Calls int
	Per   time.Duration
	// Headroom is kept back from Calls: from the pace where the window is
	// paced, else from the count. 0 <= Headroom < Calls.
	Headroom int
	// ArrivesWithin is a declared bound on the time from a request's first byte
	// to its arrival; 0 means that no bound is known.
	ArrivesWithin time.Duration
}

// Concurrency allows Calls requests that have no reply yet.
type Concurrency struct {
	Name  string
	Calls int
	// Headroom is kept back from Calls. 0 <= Headroom < Calls.
	Headroom int
}

// Limits are everything that one external account asks for; all hold at once.
type Limits struct {
	Windows     []Window
	Concurrency []Concurrency
	Buckets     []Bucket
	Pacing      Pacing
	// Tolerance is how long after its send time a permit may still be used. The
	// default is a quarter of the shortest window, at most a second: long enough
	// for a slow fsync of the record and a stall of the scheduler.
	Tolerance time.Duration
	// CallTimeout is the longest time from NotAfter to the reply.
	CallTimeout time.Duration
	// Grace is how long after its deadline a byte of an abandoned connection may
	// still arrive.
	Grace time.Duration
	// ClockTolerance is how far a replica's clock may be from true time.
	ClockTolerance time.Duration
}

// Normal returns the limits with defaults filled in, or what is wrong with them.
func (l Limits) Normal() (Limits, error) {
	var p problems
	names := make(map[string]bool)
	shortest := 4 * maxTolerance
	for _, w := range l.Windows {
		what := fmt.Sprintf("window %q", w.Name)
		p.addf(names[w.Name], "%s: two limits have this name; give each its own", what)
		p.calls(what, w.Calls, w.Headroom)
		p.addf(w.Per <= 0 || w.Per > longestWindow, "%s: per is %v, it must be above 0 and at most %v", what, w.Per, longestWindow)
		p.addf(w.ArrivesWithin < 0 || w.ArrivesWithin > longestWindow, "%s: arrivesWithin is %v, it must be from 0 to %v", what, w.ArrivesWithin, longestWindow)
		names[w.Name] = true
		shortest = min(shortest, max(w.Per, 4))
	}
	for _, c := range l.Concurrency {
		what := fmt.Sprintf("concurrency %q", c.Name)
		p.addf(names[c.Name], "%s: two limits have this name; give each its own", what)
		p.calls(what, c.Calls, c.Headroom)
		names[c.Name] = true
	}
	for _, k := range l.Buckets {
		p.addf(names[k.Name], "bucket %q: two limits have this name; give each its own", k.Name)
		p.bucket(k)
		names[k.Name] = true
	}
	p.addf(l.Pacing != Even && l.Pacing != Burst, "pacing is %d, it must be Even or Burst", l.Pacing)
	p.duration("tolerance", &l.Tolerance, shortest/4)
	p.duration("call timeout", &l.CallTimeout, DefaultCallTimeout)
	p.duration("grace", &l.Grace, DefaultGrace)
	p.duration("clock tolerance", &l.ClockTolerance, DefaultClockTolerance)
	if len(p) > 0 {
		return Limits{}, fmt.Errorf("limits: %w", errors.Join(p...))
	}
	return l, nil
}

// problems collects what is wrong with limits, so that all of it is said at once.
type problems []error

func (p *problems) addf(wrong bool, format string, args ...any) {
	if wrong {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

func (p *problems) calls(what string, calls, headroom int) {
	p.addf(calls < 1, "%s: calls is %d, it must be at least 1", what, calls)
	most := max(calls, 1) - 1
	p.addf(headroom < 0 || headroom > most, "%s: headroom is %d, it must be from 0 to %d, one less than calls", what, headroom, most)
}

// duration fills in the default and checks the rest.
func (p *problems) duration(what string, d *time.Duration, standard time.Duration) {
	if *d == 0 {
		*d = standard
	}
	p.addf(*d < 0 || *d > longestWindow, "%s is %v, it must be above 0 and at most %v", what, *d, longestWindow)
}

// Gap returns the time between two send times under a full backlog; 0 where
// nothing is paced.
func (l Limits) Gap() time.Duration {
	if l.Pacing != Even {
		return 0
	}
	return l.spread()
}

// spread returns the gap of an even spread over all windows of up to five minutes,
// however calls are paced; 0 where there is none.
func (l Limits) spread() time.Duration {
	var gap time.Duration
	for _, w := range l.Windows {
		if w.Per > pacedUpTo {
			continue
		}
		n := time.Duration(w.Calls - w.Headroom)
		// Rounded up: a gap a nanosecond short would be a call over the pace.
		gap = max(gap, (w.Per+n-1)/n)
	}
	return gap
}

// MostCost returns the largest cost that a call may have, and the bucket that says so;
// an empty name where none counts costs.
func (l Limits) MostCost() (most int64, bucket string) {
	for _, k := range l.Buckets {
		if k.Weighted && (bucket == "" || k.Most() < most) {
			most, bucket = k.Most(), k.Name
		}
	}
	return most, bucket
}

// Retention returns how long after it is settled, or after Deadline + Grace
// where it is not, a permit may still matter to an owner that starts from the
// ledger: the longest window, and both owners' clocks wrong in the worst way. A
// bucket's level is on record apart from permits, once they have ended; a deadline
// that was shortened is one at which the budget does not know yet that it has. The
// certificate's is on record as of the oldest call that has not ended.
func (l Limits) Retention() time.Duration {
	var longest time.Duration
	if len(l.Buckets) > 0 {
		longest = l.Tolerance + l.CallTimeout + l.Grace
	}
	for _, w := range l.Windows {
		longest = max(longest, w.Per)
	}
	return longest + 4*l.ClockTolerance
}

// Paced reports whether calls are spread evenly over the window, so that Gap
// holds for it.
func (l Limits) Paced(w Window) bool { return l.Pacing == Even && w.Per <= pacedUpTo }

// count is how many permits may be live under w, the next one included.
func (l Limits) count(w Window) int {
	if l.Paced(w) {
		return w.Calls
	}
	return w.Calls - w.Headroom
}
