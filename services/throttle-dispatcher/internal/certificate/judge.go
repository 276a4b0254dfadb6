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
	// Per is the length of the window; 0 for a limit of calls at the same time, and for
	// a bucket, of which Calls is the capacity.
	Per      time.Duration
	Headroom int
	// ArrivesWithin is the declared bound on the way of a request, on which the
	// figures then rest; 0 where they rest on none.
	ArrivesWithin time.Duration
	// Paced says that calls are spread evenly over the window.
	Paced  bool
	Bucket Bucket
}

// IsBucket says whether it is one.
func (l Limit) IsBucket() bool { return l.Bucket != (Bucket{}) }

// same says whether figures found under one limit hold for the other.
func (l Limit) same(o Limit) bool { return l.Calls == o.Calls && l.like(o) }

// like says whether the two count the same.
func (l Limit) like(o Limit) bool {
	return l.Per == o.Per && l.ArrivesWithin == o.ArrivesWithin && l.Bucket == o.Bucket
}

func limitsOf(declared budget.Limits) []Limit {
	limits := make([]Limit, 0, len(declared.Windows)+len(declared.Concurrency)+len(declared.Buckets))
	for _, w := range declared.Windows {
		limits = append(limits, Limit{
			Name: w.Name, Calls: w.Calls, Per: w.Per, Headroom: w.Headroom, ArrivesWithin: w.ArrivesWithin, Paced: declared.Paced(w),
		})
	}
	for _, c := range declared.Concurrency {
		limits = append(limits, Limit{Name: c.Name, Calls: c.Calls, Headroom: c.Headroom})
	}
	for _, k := range declared.Buckets {
		limits = append(limits, Limit{
			Name: k.Name, Calls: int(k.Capacity), Headroom: int(k.Headroom),
			Bucket: Bucket{Refill: k.Refill, Per: int64(k.Per), Points: k.Weighted},
		})
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
	// sends holds when calls began.
	sends bag
	// early holds calls that others may still begin before: they begin in another
	// order than they are handed out.
	early []span
	// tank is the bucket's; nil where the limit is none. While calls that an owner left
	// are counted, left is what it was before: their send times are ahead of what that
	// owner has seen pass, and what ends until then is the next one's to drain.
	tank, left *tank

	largest, sent int
	reachedAt     int64
	since         time.Time
}

// span is a call from its first byte until when it stands in the way of others.
type span struct {
	began, until int64
	judged       bool
	// For buckets: what it was reserved for and what it did cost, and whether its end is
	// on record.
	cost, spent int64
	ended       bool
}

// newJudge returns one that knows nothing.
func newJudge(limit Limit, skew int64) *judge {
	j := &judge{limit: limit, skew: skew}
	if limit.IsBucket() {
		j.tank = &tank{Bucket: limit.Bucket}
	}
	return j
}

// take takes in a call that has ended, in the order of the numbers. Only where
// judged does it raise the figures; it stands in the way of later ones in any
// case.
func (j *judge) take(c *call, judged bool) {
	if j.limit.Per > 0 || j.tank != nil || c.state == settled {
		s := span{
			began: max(c.sent, c.began), until: j.until(c), judged: judged, cost: c.cost, spent: c.spent, ended: c.state == settled,
		}
		i := sort.Search(len(j.early), func(i int) bool { return j.early[i].began > s.began })
		j.early = slices.Insert(j.early, i, s)
	}
	j.countTo(c.sent)
}

// countTo counts the calls that began by t; none that is handed out later began
// before.
func (j *judge) countTo(t int64) {
	per, n := int64(j.limit.Per), 0
	for ; n < len(j.early) && j.early[n].began <= t; n++ {
		s := j.early[n]
		if j.tank != nil {
			if level := j.tank.begin(s).up(); s.judged && level > j.largest {
				j.largest, j.reachedAt = level, s.began
			}
			if j.left != nil {
				j.left.add(j.tank.filling(s))
			}
			continue
		}
		if s.judged {
			if n := 1 + j.last(s.began); n > j.largest {
				j.largest, j.reachedAt = n, s.began
			}
			if per > 0 {
				j.sent = max(j.sent, 1+j.sends.atLeast(s.began-per))
			}
		}
		oldest := s.began - j.skew
		j.own.forget(oldest)
		j.past.forget(oldest)
		j.own.add(s.until)
		if per > 0 {
			j.sends.forget(oldest - per)
			j.sends.add(s.began)
		}
	}
	j.early = slices.Delete(j.early, 0, n)
}

// moveOn moves a bucket on as far as all is counted but those: with it the next block
// says all that its reader may not find in the calls. Not past written, when the newest
// block was: send times are ahead of it, and what ends by them the next owner finds.
func (j *judge) moveOn(uncounted []call, written, now int64) {
	switch {
	case j.tank == nil:
	case len(uncounted) > 0:
		j.countTo(uncounted[0].sent)
		j.tank.advance(min(uncounted[0].sent, written))
	default:
		j.countTo(math.MaxInt64)
		j.tank.quiet(now)
		j.tank.catchUp()
	}
}

// leave moves a bucket on as the first block of the next owner has it, before what is
// left open is counted.
func (j *judge) leave(uncounted []call, written, now int64) {
	if j.tank != nil {
		j.moveOn(uncounted, written, now)
		j.left = j.tank.clone()
	}
}

// until is the last moment at which a call that begins then can meet c: in one
// window, or running.
func (j *judge) until(c *call) int64 {
	within := int64(j.limit.ArrivesWithin)
	arrived := c.ended
	switch {
	case j.tank != nil:
		return c.ended
	case j.limit.Per == 0:
		return c.ended - 1 // over before the next one begins
	case within == 0 && c.over != 0:
		arrived = min(arrived, c.over)
	case within == 0:
	case c.issued != 0:
		arrived = min(arrived, c.issued+within)
	default:
		arrived = min(arrived, c.notAfter+within)
	}
	return arrived + int64(j.limit.Per)
}

// takeOver makes the calls counted so far those of an owner before. What ran at
// the same time under a concurrency limit had ended before, by the order of the
// log.
func (j *judge) takeOver(other bool, restored int64) {
	if j.tank != nil {
		j.countTo(math.MaxInt64)
		j.tank, j.left = j.left, nil
		if other {
			j.tank.takeOver(j.skew)
		}
		j.tank.restart(restored)
		return
	}
	if !other {
		return
	}
	j.countTo(math.MaxInt64)
	if j.limit.Per == 0 {
		j.own = bag{}
		return
	}
	j.past.move(&j.own, j.skew)
}

// last returns how many calls that began by t can have arrived in the window that
// ends then, or run.
func (j *judge) last(t int64) int { return j.own.atLeast(t) + j.past.atLeast(t) }

// inherit takes over what a judge of the same window knows, and its figures where
// they hold for this limit too, which it reports.
func (j *judge) inherit(o *judge) bool {
	same := o.limit.same(j.limit)
	j.own, j.past, j.sends, j.early = o.own.clone(), o.past.clone(), o.sends.clone(), slices.Clone(o.early)
	if o.tank != nil {
		j.tank = o.tank.clone()
	}
	for i := range j.early {
		j.early[i].judged = j.early[i].judged && same
	}
	if same {
		j.largest, j.sent, j.reachedAt, j.since = o.largest, o.sent, o.reachedAt, o.since
	}
	return same
}

// seed lets a judge of a new window begin with what another remembers: a span that
// begins after the change is judged in full, since what can still arrive is in the
// longest window's memory, or under way.
func (j *judge) seed(o *judge) {
	if o == nil {
		return
	}
	longer := int64(j.limit.Per - o.limit.Per)
	for _, v := range o.own.live() {
		j.own.add(v + longer)
	}
	for _, v := range o.past.live() {
		j.past.add(v + longer)
	}
	j.sends = o.sends.clone()
	for _, s := range o.early {
		j.early = append(j.early, span{began: s.began, until: s.until + longer})
	}
}

// longest returns the judge with the longest window; nil where there is none.
func longest(judges []*judge) *judge {
	var most *judge
	for _, j := range judges {
		if j.limit.Per > 0 && (most == nil || j.limit.Per > most.limit.Per) {
			most = j
		}
	}
	return most
}
