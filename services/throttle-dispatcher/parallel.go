package throttledispatcher

import "time"

// halfEnough is how long half of the calls that may be under way must have been
// enough before no more are allowed again. Each change costs a block.
const halfEnough = time.Minute

const (
	// fewFor is for how long a peak of calls under way tells how many are needed, or
	// twice as long.
	fewFor = 5 * time.Second
	// leastFew is below what it is not worth telling fewer from half.
	leastFew = 4
	// shortAgain is how long after the first call that came short of room others say so
	// that came with it.
	shortAgain = 200 * time.Millisecond
)

// heldLong is how long calls may be held back for want of a reply: a call that hangs
// must not hold up the others for as long as it may take.
const heldLong = time.Second

// parallel is how many calls may be under way at a time. It is half of what the
// limits allow as long as that is enough, and the ledger says so: whoever takes over
// from a process that died must take that many for under way, for as long as they
// may last, and the other half is free for its own calls at once. Send times are
// handed out for more calls than are ever under way; if each of them counted, a
// crash would stop a connector of few parallel calls for the grace at least, and
// where another replica takes over for the longest time that a call may take. In a
// strict window each of those on record takes up its part for that time, also where
// many are allowed, so that fewer than half are said as long as fewer are used.
type parallel struct {
	// half is all where no limit bounds them but the connections: whoever takes over then
	// needs to know it for the windows alone.
	half, all int
	// allowed is what the transport lets through: never more than is on record, so
	// none before the first block.
	allowed int
	// neededAt is when a call last found too little room, neededSince when that began;
	// busy is how long calls have taken since then, all together.
	neededAt, neededSince time.Time
	busy                  time.Duration
	// few is how many are enough: what was under way at most lately, and some more. peak
	// and before are that since turnedAt and in the time before; it holds if no call came
	// short of it since fewSince.
	few, peak, before  int
	turnedAt, fewSince time.Time
	// raisedAt is when one did.
	raisedAt time.Time
}

// sees takes in how many calls are under way.
func (p *parallel) sees(now time.Time, underWay int) {
	if now.Sub(p.turnedAt) >= fewFor {
		p.few = max(p.peak, p.before)
		p.few += p.few/8 + 1
		p.before, p.peak, p.turnedAt = p.peak, 0, now
	}
	p.peak = max(p.peak, underWay)
	if p.fewSince.IsZero() {
		p.fewSince = now
	}
}

// enough is how many are wanted where half is enough: no more than needed, since each
// takes up its part of the windows of whoever takes over.
func (p *parallel) enough(now time.Time) int {
	if now.Sub(p.fewSince) < 2*fewFor {
		return p.half
	}
	return min(p.half, max(p.few, leastFew))
}

// short takes in that a call found too little room for long.
func (p *parallel) short(now time.Time) {
	switch {
	case p.allowed < p.half:
		p.fewSince, p.raisedAt = now, now
	case now.Sub(p.raisedAt) >= shortAgain:
		p.needed(now)
	}
}

func parallelOf(all int, declared bool) parallel {
	if !declared {
		return parallel{half: all, all: all}
	}
	return parallel{half: max(1, all/2), all: all}
}

// needed takes in that half is too few. A mean above four fifths of it does so too:
// calls do not come evenly.
func (p *parallel) needed(now time.Time) {
	if now.Sub(p.neededAt) >= halfEnough {
		p.neededSince = now
	}
	p.neededAt, p.busy = now, 0
}

// keepParallel brings the bound to what is wanted, a step at a time: a higher one
// holds from when it is on record, and a lower one goes on record once it holds.
func (w *worker) keepParallel(now time.Time) {
	p := &w.parallel
	p.sees(now, w.client.UnderWay())
	want, recorded := p.enough(now), w.ledger.OnRecord()
	if needed := now.Sub(p.neededAt); p.allowed > p.half && needed >= halfEnough && p.busy > needed*time.Duration(p.half)*4/5 {
		p.needed(now)
	}
	if now.Sub(p.neededAt) < halfEnough && w.mayWiden(now) {
		want = p.all
	}
	if allowed := min(want, recorded); allowed != p.allowed || want < recorded {
		p.allowed = allowed
		if w.client.Allow(allowed) > want {
			return
		}
	}
	w.ledger.Bound(want)
}

// mayWiden reports whether all calls may be under way if they are needed. Before a
// reply, or where one is overdue, nobody knows that more calls would get one. What is
// sent in an outage are a few probes.
func (w *worker) mayWiden(now time.Time) bool {
	asks := w.breaker.Open() || w.silence.kept
	held := w.parallel.neededAt.Sub(w.parallel.neededSince)
	return asks || !w.overdue(now) && (!w.unheard(now) || held >= heldLong)
}

// unheard reports whether no reply is on record that a successor would read, from
// which it could tell how long calls are worked on. The replies of a system may be
// as far apart as a call may take.
func (w *worker) unheard(now time.Time) bool {
	limits := w.budget.Limits()
	return now.Sub(w.repliedAt) > limits.Retention()+limits.CallTimeout
}

// underWay returns how many calls are, as far as the loop has heard.
func (w *worker) underWay() int { return w.flying - len(w.unsent) }
