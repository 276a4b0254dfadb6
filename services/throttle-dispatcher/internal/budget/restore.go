package budget

import "time"

// History is what the ledger says of the permits of the owners before.
type History struct {
	LastPermit            int64
	NextSend, ClosedUntil time.Time
	// Permits holds those that may still count, void ones left out.
	Permits []Past
	// Parallel is how many calls a holder had under way at most at a time, however
	// many permits it held; one that is not in it, as many as it held.
	Parallel map[string]Bound
	// Levels is what the newest record says of the buckets, and Writer the holder who
	// wrote it.
	Levels []Level
	Writer string
}

// Bound is how many calls a holder had under way at most at a time, from Since on.
type Bound struct {
	Calls int
	Since time.Time
}

// Past is one permit of an owner before.
type Past struct {
	Permit
	// Holder is who handed it out, of those in Parallel.
	Holder string
	// SettledAt is zero where no settlement is recorded.
	SettledAt time.Time
	// Gone: the process that held it is known to be dead, and its connections
	// with it.
	Gone bool
}

// patience is how many times the longest reply on record a call is given that
// nobody waits for any more, before it no longer counts as parallel: a server
// does not always stop working when the connection is gone.
const patience = 3

// Restore adds what owners before have handed out. Their clocks and this one's
// may be wrong in opposite ways, so every bound is moved by twice the clock
// tolerance. A permit without a settlement counts as in flight and as not
// arrived until its deadline and grace; under ArrivesWithin as arrived by then
// after NotAfter. Where its holder is gone, the kernel cut its connections when it
// died: it has arrived by a grace from now or never, and is worked on for no
// longer than replies were seen to take. At no time had a holder more calls under
// way than its bound, so that of its calls without a settlement only as many count
// as in flight, and in windows for as long: those that may last the longest. The
// others had arrived or were void when the last permit ran out; see the package
// comment. A bucket of which no level is on record starts full: nobody knows what was
// sent before.
func (b *Budget) Restore(now time.Time, history History) {
	b.advance(now)
	skew := 2 * b.limits.ClockTolerance
	b.number = max(b.number, history.LastPermit)
	if !history.ClosedUntil.IsZero() {
		b.Close(history.ClosedUntil)
	}
	if last, ok := b.lastSend(history); ok && (!b.sent || last > b.last) {
		b.last, b.sent = last, true
	}
	longest := longestReply(history.Permits)
	underWay, left := make(holders), make(leftovers)
	for _, p := range history.Permits {
		b.number = max(b.number, p.Number)
		arrived, done := p.SettledAt, p.SettledAt
		if arrived.IsZero() {
			arrived, done = b.ends(now, p, longest)
			left.of(p.Holder).add(b.nanos(arrived.Add(skew)), b.nanos(p.NotAfter.Add(skew)))
			if p.Gone {
				left.of(p.Holder).died = b.nanos(now.Add(skew))
			}
		}
		if p.SettledAt.IsZero() || done.Add(skew).After(now) { // a call that was cut has its grace
			underWay.add(p.Holder, b.nanos(done.Add(skew)))
		}
		for _, w := range b.windows {
			switch declared := p.NotAfter.Add(w.ArrivesWithin); {
			case w.ArrivesWithin > 0 && declared.Before(arrived):
				w.bounds.add(b.nanos(declared.Add(skew)))
			case w.ArrivesWithin > 0 || !p.SettledAt.IsZero():
				w.bounds.add(b.nanos(arrived.Add(skew)))
			}
		}
	}
	underWay.bounded(history.Parallel, b.abandoned.add)
	b.restoreLeft(left, history.Parallel, skew)
	b.restoreBuckets(history, skew, func(p Past) time.Time {
		if !p.SettledAt.IsZero() {
			return p.SettledAt
		}
		arrived, _ := b.ends(now, p, longest)
		return arrived
	})
	b.advance(now)
}

// restoreLeft adds to the windows what has no settlement.
func (b *Budget) restoreLeft(left leftovers, bounds map[string]Bound, skew time.Duration) {
	for holder, l := range left {
		bound := bounds[holder]
		l.over = max(l.over, b.nanos(bound.Since.Add(skew)))
		for _, w := range b.windows {
			if w.ArrivesWithin == 0 {
				l.bounded(bound.Calls, w.bounds.add)
			}
		}
	}
}

// lastSend returns the send time from which the pace of owners before goes on; false
// where there is none. Where they were closed for longer than that, their next send
// time is when they open, and no pace may be counted from there: the pause may be taken
// back. Then the last permit tells.
func (b *Budget) lastSend(history History) (last int64, ok bool) {
	if history.NextSend.After(history.ClosedUntil) {
		return b.nanos(history.NextSend) - b.gap, true
	}
	for _, p := range history.Permits {
		if at := b.nanos(p.SendAt); !ok || at > last {
			last, ok = at, true
		}
	}
	return last, ok
}

// holders has, for each holder, when its calls end that may be under way.
type holders map[string]*instants

func (h holders) add(holder string, end int64) {
	if h[holder] == nil {
		h[holder] = &instants{}
	}
	h[holder].add(end)
}

// bounded gives add the last ends of each holder, no more than its bound.
func (h holders) bounded(bounds map[string]Bound, add func(end int64)) {
	for holder, ends := range h {
		n := ends.len()
		if bound := bounds[holder].Calls; bound > 0 {
			n = min(n, bound)
		}
		for i := range n {
			add(ends.largest(i))
		}
	}
}

// leftovers has, for each holder, what it left without a settlement.
type leftovers map[string]*leftover

type leftover struct {
	// arrived is by when each call has arrived or never will.
	arrived instants
	// over is a time at which all of its permits had run out and its bound held; died
	// one at which it was dead.
	over, died int64
}

func (l leftovers) of(holder string) *leftover {
	if l[holder] == nil {
		l[holder] = &leftover{over: -farthest, died: farthest}
	}
	return l[holder]
}

func (l *leftover) add(arrived, notAfter int64) {
	l.arrived.add(arrived)
	l.over = max(l.over, notAfter)
}

// bounded gives add by when calls have arrived: the last of them by their own times,
// no more than the bound, 0 for none; the others had ended when no call could begin
// any more.
func (l *leftover) bounded(bound int, add func(at int64)) {
	over := min(l.over, l.died)
	n := l.arrived.len()
	for i := n - 1; i >= 0; i-- {
		at := l.arrived.largest(i)
		if bound > 0 && i >= bound {
			at = min(at, over)
		}
		add(at)
	}
}

// ends returns by when a call without a settlement has arrived or never will,
// and by when it no longer counts as parallel.
func (b *Budget) ends(now time.Time, p Past, longest time.Duration) (arrived, done time.Time) {
	latest := p.Deadline.Add(b.limits.Grace)
	dead := now.Add(b.limits.Grace)
	if !p.Gone || !dead.Before(latest) {
		return latest, latest
	}
	if longest == 0 {
		return dead, latest // nobody knows how long this system works on a call
	}
	if done = p.SendAt.Add(patience * longest); done.Before(dead) {
		done = dead
	}
	if latest.Before(done) {
		done = latest
	}
	return dead, done
}

// longestReply returns the longest time from a call to its settlement, 0 where
// none is on record.
func longestReply(permits []Past) time.Duration {
	var longest time.Duration
	for _, p := range permits {
		if !p.SettledAt.IsZero() {
			longest = max(longest, p.SettledAt.Sub(p.SendAt))
		}
	}
	return longest
}

// farthest keeps sums of times and windows inside 64 bits: 73 years from the
// anchor, either way.
const farthest = int64(1) << 61

// nanos is t on the budget's own scale, which starts at the first time given to
// it. Sub uses the monotonic reading where both have one.
func (b *Budget) nanos(t time.Time) int64 {
	if b.anchor.IsZero() {
		b.anchor = t
	}
	return min(max(int64(t.Sub(b.anchor)), -farthest), farthest)
}

func (b *Budget) time(n int64) time.Time { return b.anchor.Add(time.Duration(n)) }
