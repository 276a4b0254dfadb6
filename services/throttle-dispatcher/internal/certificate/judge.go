package certificate

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// Limit is one declared limit.
type Limit struct {
	Name  string
	Calls int
	// Per is the length of the window; 0 for a limit of calls at the same time.
	Per      time.Duration
	Headroom int
	// ArrivesWithin is the declared bound on the way of a request, on which the
	// figures then rest; 0 where they rest on none.
	ArrivesWithin time.Duration
	// Paced says that calls are spread evenly over the window.
	Paced bool
}

// same says whether figures found under one limit hold for the other.
func (l Limit) same(o Limit) bool {
	return l.Calls == o.Calls && l.Per == o.Per && l.ArrivesWithin == o.ArrivesWithin
}

func limitsOf(declared budget.Limits) []Limit {
	limits := make([]Limit, 0, len(declared.Windows)+len(declared.Concurrency))
	for _, w := range declared.Windows {
		limits = append(limits, Limit{
			Name: w.Name, Calls: w.Calls, Per: w.Per, Headroom: w.Headroom, ArrivesWithin: w.ArrivesWithin, Paced: declared.Paced(w),
		})
	}
	for _, c := range declared.Concurrency {
		limits = append(limits, Limit{Name: c.Name, Calls: c.Calls, Headroom: c.Headroom})
	}
	return limits
}

// judge counts against one limit.
type judge struct {
	limit Limit
	skew  int64 // by which two owners' clocks may differ
	// own and past hold until when a call can stand in one window with a later
	// one: the current owner's calls, and those of owners before it, which are
	// later by the skew.
	own, past bag
	// sends holds send times.
	sends bag
	// early holds calls of a concurrency limit that others may still begin before.
	early []span

	largest, sent int
	reachedAt     int64
	since         time.Time
}

// span is a call from its first byte to its end.
type span struct {
	began, ended int64
	judged       bool
}

// take counts a call that has ended, in the order of the numbers. Only where
// judged does it raise the figures; it stands in the way of later ones in any
// case.
func (j *judge) take(c *call, judged bool) {
	if j.limit.Per == 0 {
		j.run(c, judged)
		return
	}
	per := int64(j.limit.Per)
	if judged {
		j.reach(1+j.own.atLeast(c.sent)+j.past.atLeast(c.sent), c.sent)
		j.sent = max(j.sent, 1+j.sends.atLeast(c.sent-per))
	}
	oldest := c.sent - int64(time.Second) - j.skew // further than any clock is set back
	j.own.forget(oldest)
	j.past.forget(oldest)
	j.sends.forget(oldest - per)
	j.sends.add(c.sent)
	j.own.add(j.arrived(c) + per)
}

func (j *judge) reach(n int, at int64) {
	if n > j.largest {
		j.largest, j.reachedAt = n, at
	}
}

// arrived is by when the call can have arrived at the latest.
func (j *judge) arrived(c *call) int64 {
	within := int64(j.limit.ArrivesWithin)
	switch {
	case within == 0:
		return c.ended
	case c.issued != 0:
		return min(c.ended, c.issued+within)
	}
	return min(c.ended, c.notAfter+within)
}

// run counts calls at the same time. Of one that was abandoned nobody knows
// whether it ran, so it is left out. Calls begin in another order than they are
// handed out; they are counted in the order of their beginning.
func (j *judge) run(c *call, judged bool) {
	if c.state == settled {
		s := span{began: max(c.sent, c.began), ended: c.ended, judged: judged}
		i := sort.Search(len(j.early), func(i int) bool { return j.early[i].began > s.began })
		j.early = slices.Insert(j.early, i, s)
	}
	j.runUntil(c.sent)
}

// runUntil counts those that began by t; none that comes later began before.
func (j *judge) runUntil(t int64) {
	n := 0
	for ; n < len(j.early) && j.early[n].began <= t; n++ {
		s := j.early[n]
		j.own.forget(s.began)
		if s.judged {
			j.reach(1+j.own.atLeast(s.began), s.began)
		}
		j.own.add(s.ended - 1) // over before the next one begins
	}
	j.early = slices.Delete(j.early, 0, n)
}

// takeOver makes the calls counted so far those of an owner before. What ran at
// the same time under a concurrency limit had ended before, by the order of the
// log.
func (j *judge) takeOver() {
	if j.limit.Per == 0 {
		j.runUntil(math.MaxInt64)
		j.own = bag{}
		return
	}
	j.past.move(&j.own, j.skew)
}

// last returns how many calls can have arrived in the window that ends at t.
func (j *judge) last(t int64) int { return j.own.atLeast(t) + j.past.atLeast(t) }

// seed takes over what another judge remembers.
func (j *judge) seed(from *judge) {
	longer := int64(j.limit.Per - from.limit.Per)
	for _, pair := range []struct{ to, from *bag }{{&j.own, &from.own}, {&j.past, &from.past}} {
		for _, v := range pair.from.live() {
			pair.to.add(v + longer)
		}
	}
	for _, v := range from.sends.live() {
		j.sends.add(v)
	}
}
