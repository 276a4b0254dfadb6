package budget

import (
	"math"
	"slices"
	"time"
)

// Permit is the right to write one request.
type Permit struct {
	// Number counts up per connector and is never used twice.
	Number int64
	// SendAt is the earliest time for the first byte. Earlier is a breach of the
	// limit; later, up to NotAfter, is safe.
	SendAt   time.Time
	NotAfter time.Time
	// Deadline is when the reply must be in or the connection dead.
	Deadline time.Time
	// Cost is what the request counts for in a weighted bucket.
	Cost int64
}

// Budget is the budget of one external account. It is not safe for concurrent
// use: one goroutine owns it.
//
// Times given to one Budget must come from one clock that does not run
// backwards. Where they carry Go's monotonic reading, as those of time.Now do, a
// step of the wall clock has no effect; times that it returns carry it too.
type Budget struct {
	limits Limits
	gap    int64
	// spread is the gap that Even pacing would have.
	spread  int64
	windows []*window
	buckets []*bucket
	// adopted counts how often buckets were put in force.
	adopted int
	// endings holds the calls that count as in flight in the buckets until a time to
	// come, by that time.
	endings []ending
	// open holds the permits that are neither settled nor void.
	open map[int64]use
	// abandoned holds when permits that will not be settled by anyone (those of
	// an owner that is gone, and those settled as of a time to come) end to
	// count as in flight.
	abandoned instants
	inFlight  int
	ahead     int
	// part of the pace that is allowed, from 0 to 1, after the permit slowAfter; see
	// Slow.
	part      float64
	slowAfter int64

	anchor      time.Time
	now         int64
	last        int64
	sent        bool
	closedUntil int64
	number      int64
	// lastCost is what the latest permit was handed out for.
	lastCost int64
}

// use is what is known of a permit in use. issued is a time at which its first
// byte had left, valid if known; dead is by when nothing of it can arrive.
type use struct {
	issued int64
	known  bool
	cost   int64
	dead   int64
	sendAt int64
}

// window keeps the arrival bounds f of one Window.
type window struct {
	Window
	count   int
	per     int64
	arrives int64
	// unknown counts open permits without a bound; bounds holds the others.
	unknown int
	bounds  instants
}

// New returns an idle budget, or what is wrong with the limits. Of what was sent
// before it knows nothing: see Restore.
func New(limits Limits) (*Budget, error) {
	limits, err := limits.Normal()
	if err != nil {
		return nil, err
	}
	b := &Budget{open: make(map[int64]use), now: -farthest, closedUntil: -farthest, part: 1, lastCost: 1}
	b.adopt(limits)
	for _, k := range b.buckets {
		k.drained = -farthest
	}
	return b, nil
}

// Reserve hands out at most limit permits with send times from now up to now +
// horizon, fewer where the rule allows no more. Each counts from this moment: it
// must be settled or made void.
func (b *Budget) Reserve(now time.Time, horizon time.Duration, limit int) []Permit {
	return b.reserve(now, horizon, limit, func(int) int64 { return 1 })
}

// ReserveFor is Reserve for calls of which each has its cost, in their order: the
// first one that does not fit ends it. A cost below 1 is 1.
func (b *Budget) ReserveFor(now time.Time, horizon time.Duration, costs []int64) []Permit {
	return b.reserve(now, horizon, len(costs), func(n int) int64 { return max(costs[n], 1) })
}

func (b *Budget) reserve(now time.Time, horizon time.Duration, limit int, costOf func(int) int64) []Permit {
	b.advance(now)
	end := min(b.now+int64(max(horizon, 0)), farthest)
	var permits []Permit
	for len(permits) < limit {
		cost := costOf(len(permits))
		at, ok := b.next(cost)
		if !ok || at > end {
			break
		}
		b.number++
		b.last, b.sent, b.lastCost = at, true, cost
		sendAt := b.time(at)
		notAfter := sendAt.Add(b.limits.Tolerance)
		permit := Permit{b.number, sendAt, notAfter, notAfter.Add(b.limits.CallTimeout), cost}
		b.open[b.number] = use{cost: cost, dead: b.nanos(permit.Deadline.Add(b.limits.Grace)), sendAt: at}
		for _, w := range b.windows {
			w.unknown++
		}
		for _, k := range b.buckets {
			k.open += k.cost(cost)
			k.handed += k.cost(cost)
		}
		permits = append(permits, permit)
	}
	return permits
}

// Next returns the earliest send time that Reserve could give as things stand;
// Reserve gives it once now + horizon has reached it. ok is false where only a
// settlement can tell.
func (b *Budget) Next(now time.Time) (at time.Time, ok bool) { return b.NextFor(now, 1) }

// NextFor is Next for a call of that cost. For one that is above what a bucket ever
// has room for there is none.
func (b *Budget) NextFor(now time.Time, cost int64) (at time.Time, ok bool) {
	b.advance(now)
	t, ok := b.next(max(cost, 1))
	if !ok {
		return time.Time{}, false
	}
	return b.time(t), true
}

// Issued says that the permit's first byte had left by at. Windows with
// ArrivesWithin count the permit from there; at must therefore be taken after
// the write, never before it.
func (b *Budget) Issued(number int64, at time.Time) {
	u, ok := b.open[number]
	if !ok || u.known {
		return
	}
	u.issued, u.known = b.nanos(at), true
	b.open[number] = u
	for _, w := range b.windows {
		if w.arrives > 0 {
			w.unknown--
			w.bounds.add(u.issued + w.arrives)
		}
	}
}

// Settle ends a permit: its reply was in, or its connection dead and its bytes
// gone, by at, which may be a time to come. Unknown numbers are ignored.
func (b *Budget) Settle(number int64, at time.Time) {
	b.SettleFor(number, at, b.open[number].cost)
}

// SettleFor is Settle for a call of which the server said what it did cost: by at, it
// had given back what that is less than the cost of the permit.
func (b *Budget) SettleFor(number int64, at time.Time, cost int64) {
	u, ok := b.open[number]
	if !ok {
		return
	}
	b.free(number)
	for _, k := range b.buckets {
		k.raised += max(0, k.cost(cost)-k.cost(u.cost))
	}
	t := b.nanos(at)
	b.end(t, cost)
	if t > b.now {
		b.abandoned.add(t)
	}
	for _, w := range b.windows {
		w.settle(u, t)
	}
}

// Void gives back a permit of which no byte was written. One that was reported
// as issued cannot be void and is settled as of the latest time known instead.
func (b *Budget) Void(number int64) {
	u, ok := b.open[number]
	if !ok {
		return
	}
	if u.known {
		b.Settle(number, b.time(max(b.now, u.issued)))
		return
	}
	b.free(number)
	for _, k := range b.buckets {
		k.handed -= k.cost(u.cost)
	}
	for _, w := range b.windows {
		w.unknown--
	}
}

// free takes a permit out of those that are open.
func (b *Budget) free(number int64) {
	for _, k := range b.buckets {
		k.open -= k.cost(b.open[number].cost)
	}
	delete(b.open, number)
}

// Close hands out no send time before until. It never opens earlier than an
// earlier Close said.
func (b *Budget) Close(until time.Time) {
	b.closedUntil = max(b.closedUntil, b.nanos(until))
}

// Reopen takes back what was given to Close. The limits hold as before.
func (b *Budget) Reopen() { b.closedUntil = -farthest }

// Ahead lets n permits more be out than the concurrency limits allow. It is for a
// caller that itself never writes more requests at a time than they allow and
// holds a permit back until there is room for it: without it, permits that wait
// for their send time would count as under way. While calls may be under way that
// the caller does not see, those of an owner before and those that were cut off a
// moment ago, it has no effect.
func (b *Budget) Ahead(n int) { b.ahead = max(n, 0) }

// Slow allows only a part of the pace from now on: 1 is all of it, and 0.1 makes
// the gap between two send times ten times as long. Where nothing is paced, the
// even spread over the windows of up to five minutes and what buckets refill count
// as the pace, and where there is neither, the concurrency. It can only slow down:
// whatever the part, every limit holds as before. The first call after the whole
// pace goes without the wait: the gap is one between calls that are slowed. Parts
// outside of (0, 1] mean 1.
func (b *Budget) Slow(part float64) {
	if part <= 0 || part > 1 {
		part = 1
	}
	if b.part == 1 && part < 1 {
		b.slowAfter = b.number
	}
	b.part = part
}

// Gap returns the time between two send times under a full backlog as things
// stand; 0 where nothing is paced.
func (b *Budget) Gap() time.Duration { return time.Duration(b.spacing()) }

// GapAt returns the mean time between two send times at a part of the pace, above 0
// and at most 1, under a backlog that outlasts what buckets have room for.
func (b *Budget) GapAt(part float64) time.Duration {
	return time.Duration(max(b.spacingAt(part), int64(float64(b.refillGap())/part)))
}

// SpacingAt returns the least time between two send times at a part of the pace; 0 where
// nothing spaces them. What buckets have room for goes at once.
func (b *Budget) SpacingAt(part float64) time.Duration { return time.Duration(b.spacingAt(part)) }

func (b *Budget) spacing() int64 {
	if b.number == b.slowAfter {
		return b.gap
	}
	return b.spacingAt(b.part)
}

// spacingAt is the gap, or what Slow makes of it.
func (b *Budget) spacingAt(part float64) int64 {
	if part == 1 {
		return b.gap
	}
	return max(b.gap, int64(float64(max(b.spread, b.refillGap()))/part))
}

// refillGap is the time in which each bucket drains by the cost of the latest call.
func (b *Budget) refillGap() int64 {
	var gap int64
	for _, k := range b.buckets {
		gap = max(gap, k.cost(b.lastCost))
	}
	return gap
}

// SetLimits replaces the limits. A wider limit and a narrower one take effect
// for the next permit; permits that are out stay valid, so a span that holds
// calls from before the change is judged by the larger limit.
func (b *Budget) SetLimits(now time.Time, limits Limits) error {
	limits, err := limits.Normal()
	if err != nil {
		return err
	}
	b.advance(now)
	b.adopt(limits)
	return nil
}

// Limits returns the limits in force, with their defaults filled in.
func (b *Budget) Limits() Limits { return b.limits }

// NextSend returns the earliest send time that pace and closure leave, for the
// ledger; zero before the first use.
func (b *Budget) NextSend() time.Time {
	if b.anchor.IsZero() {
		return time.Time{}
	}
	return b.time(b.paced())
}

// ClosedUntil returns the latest time given to Close; zero where there was none.
func (b *Budget) ClosedUntil() time.Time {
	if b.closedUntil == -farthest {
		return time.Time{}
	}
	return b.time(b.closedUntil)
}

// Counted returns how many permits count against each of the windows now, in
// their order in Limits: every call that can have arrived in the window that ends
// now, or arrives later, is among them.
func (b *Budget) Counted(now time.Time) []int {
	b.advance(now)
	counted := make([]int, len(b.windows))
	for i, w := range b.windows {
		counted[i] = w.unknown + w.bounds.len()
	}
	return counted
}

// LastPermit returns the highest number handed out.
func (b *Budget) LastPermit() int64 { return b.number }

// paced is the next send time by pace and closure alone.
func (b *Budget) paced() int64 {
	at := max(b.now, b.closedUntil)
	if b.sent {
		at = max(at, b.last+b.spacing())
	}
	return at
}

// next is the earliest send time under every limit for a call of that cost.
func (b *Budget) next(cost int64) (int64, bool) {
	at := b.paced()
	for _, k := range b.buckets {
		t, ok := k.earliest(cost, b.now, b.endings)
		if !ok {
			return 0, false
		}
		at = max(at, t)
	}
	for _, w := range b.windows {
		t, ok := w.earliest()
		if !ok {
			return 0, false
		}
		at = max(at, t)
	}
	if b.inFlight > 0 {
		free := b.inFlight - 1 - len(b.open)
		switch {
		case b.part < 1 && b.spread == 0 && len(b.buckets) == 0:
			free = int(math.Ceil(b.part*float64(b.inFlight))) - 1 - len(b.open)
		case b.abandoned.len() == 0:
			free += b.ahead
		}
		if free < 0 {
			return 0, false
		}
		if b.abandoned.len() > free {
			at = max(at, b.abandoned.largest(free))
		}
	}
	return at, at < farthest
}

// earliest is the first time at which fewer than count permits are live.
func (w *window) earliest() (int64, bool) {
	free := w.count - 1 - w.unknown
	if free < 0 {
		return 0, false
	}
	if w.bounds.len() <= free {
		return -farthest, true
	}
	// Live up to and including f + per, hence free one nanosecond later.
	return w.bounds.largest(free) + w.per + 1, true
}

// settle replaces what was known of a permit by the time at which it ended.
func (w *window) settle(u use, at int64) {
	if w.arrives == 0 || !u.known {
		w.unknown--
		w.bounds.add(at)
		return
	}
	// Not found means dropped, and then an earlier bound would be as well.
	if bound := u.issued + w.arrives; at < bound && w.bounds.remove(bound) {
		w.bounds.add(at)
	}
}

// advance moves the clock on and forgets what no longer counts.
func (b *Budget) advance(now time.Time) {
	b.now = max(b.now, b.nanos(now))
	for _, w := range b.windows {
		w.bounds.dropBefore(b.now - w.per)
	}
	b.abandoned.dropBefore(b.now + 1)
	b.drain()
}

// adopt puts limits in force and carries over what counts.
func (b *Budget) adopt(limits Limits) {
	old := b.windows
	// Without a window, what can still arrive is known from abandoned alone.
	longest := &window{bounds: b.abandoned}
	for _, w := range old {
		if w.per > longest.per {
			longest = w
		}
	}
	b.limits, b.gap, b.spread, b.inFlight, b.windows = limits, int64(limits.Gap()), int64(limits.spread()), 0, nil
	for _, c := range limits.Concurrency {
		if n := c.Calls - c.Headroom; b.inFlight == 0 || n < b.inFlight {
			b.inFlight = n
		}
	}
	b.adoptBuckets(limits.Buckets)
	for _, l := range limits.Windows {
		w := &window{Window: l, count: limits.count(l), per: int64(l.Per), arrives: int64(l.ArrivesWithin)}
		same := slices.IndexFunc(old, func(o *window) bool { return o.per == w.per && o.arrives == w.arrives })
		if same >= 0 {
			w.unknown, w.bounds = old[same].unknown, instants{at: slices.Clone(old[same].bounds.live())}
		} else {
			b.seed(w, longest)
		}
		b.windows = append(b.windows, w)
	}
}

// seed fills a window that is new from the one that remembers the longest.
// Every call that can still arrive is either open or has a bound not yet past,
// so a span that begins after the change is judged in full.
func (b *Budget) seed(w, from *window) {
	settled := instants{at: slices.Clone(from.bounds.live())}
	for _, u := range b.open {
		if from.arrives > 0 && u.known {
			settled.remove(u.issued + from.arrives)
		}
		if w.arrives > 0 && u.known {
			w.bounds.add(u.issued + w.arrives)
			continue
		}
		w.unknown++
	}
	for _, f := range settled.live() {
		w.bounds.add(f)
	}
}
