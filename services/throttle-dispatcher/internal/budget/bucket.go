package budget

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"
)

// longestDrain is how long a full bucket may take to drain. It keeps the sum of the
// costs of thousands of calls in flight far from overflow.
const longestDrain = 30 * 24 * time.Hour

// Bucket lets what calls cost add up to Capacity; Refill of it drains away in each
// Per, evenly. See the package comment.
type Bucket struct {
	Name     string
	Capacity int64
	Refill   int64
	Per      time.Duration
	// Headroom is kept back from Capacity. 0 <= Headroom < Capacity.
	Headroom int64
	// Weighted: each call counts by its cost; else each counts one.
	Weighted bool
}

// Most is the largest cost that a call may have: one that is above it can never be
// sent.
func (l Bucket) Most() int64 { return l.Capacity - l.Headroom }

// DrainTime is how long it takes to drain from full.
func (l Bucket) DrainTime() time.Duration { return time.Duration(l.drain(l.Capacity, true)) }

// drain is the time in which so much drains away, in nanoseconds, at most
// longestDrain. Rounded up, a cost is never counted for less than it is.
func (l Bucket) drain(amount int64, up bool) int64 {
	if amount <= 0 || l.Refill <= 0 || l.Per <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(amount), uint64(l.Per))
	refill := uint64(l.Refill)
	if hi >= refill {
		return int64(longestDrain)
	}
	quotient, rest := bits.Div64(hi, lo, refill)
	if up && rest > 0 {
		quotient++
	}
	return int64(min(quotient, uint64(longestDrain)))
}

// filled is how much drains away in a time.
func (l Bucket) filled(drains int64) int64 {
	per := uint64(max(l.Per, 1))
	hi, lo := bits.Mul64(uint64(max(drains, 0)), uint64(max(l.Refill, 0)))
	if hi >= per {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(hi, lo, per)
	return int64(min(quotient, math.MaxInt64))
}

// cost is what a call counts for.
func (l Bucket) cost(points int64) int64 {
	if !l.Weighted {
		points = 1
	}
	return l.drain(points, true)
}

// like says whether a level under one is a level under the other: it drains at the
// same rate and counts the same.
func (l Bucket) like(o Bucket) bool {
	return l.Name == o.Name && l.Refill == o.Refill && l.Per == o.Per && l.Weighted == o.Weighted
}

func (p *problems) bucket(l Bucket) {
	what := fmt.Sprintf("bucket %q", l.Name)
	p.addf(l.Capacity < 1, "%s: capacity is %d, it must be at least 1", what, l.Capacity)
	p.addf(l.Refill < 1, "%s: refill is %d, it must be at least 1", what, l.Refill)
	p.addf(l.Per <= 0 || l.Per > longestWindow, "%s: per is %v, it must be above 0 and at most %v", what, l.Per, longestWindow)
	most := max(l.Capacity, 1) - 1
	p.addf(l.Headroom < 0 || l.Headroom > most, "%s: headroom is %d, it must be from 0 to %d, one less than capacity", what, l.Headroom, most)
	p.addf(l.DrainTime() >= longestDrain, "%s: it takes %v or more to drain, it must be less; make refill larger", what, longestDrain)
}

// bucket keeps the level of one Bucket. All amounts are in nanoseconds of draining,
// so that the level of what has settled is a single time.
type bucket struct {
	Bucket
	room int64
	// open is what the permits cost that are in flight without a known end.
	open int64
	// drained is when what has settled, and what others put there, will have drained
	// away.
	drained int64
	// handed is what all permits cost that were handed out and are not void, raised by
	// what the level was raised beside them.
	handed, raised int64
	// foreign is when what others put there will have drained, as far as it is proven;
	// until sharedUntil they are taken to go on.
	foreign, sharedUntil int64
}

func newBucket(l Bucket) *bucket {
	return &bucket{Bucket: l, room: l.drain(l.Most(), false), drained: -farthest, foreign: -farthest, sharedUntil: -farthest}
}

// ending is a call that counts as in flight until a time that is known.
type ending struct{ at, cost int64 }

// earliest is the first time from now on at which a call of that cost fits. The level
// only falls as time goes by while nothing is handed out: what ends begins to drain.
func (k *bucket) earliest(cost, now int64, endings []ending) (int64, bool) {
	free := k.room - k.cost(cost) - k.open
	if free < 0 {
		return 0, false
	}
	var flying int64
	for _, e := range endings {
		flying += k.cost(e.cost)
	}
	at, drained := now, k.drained
	for _, e := range endings {
		if flying <= free {
			if t := max(at, drained-(free-flying)); t <= e.at {
				return t, true
			}
		}
		at, drained = max(at, e.at), max(drained, e.at)+k.cost(e.cost)
		flying -= k.cost(e.cost)
	}
	return max(at, drained-free), true
}

// settle lets a cost drain from at on. Where it comes after one that settled later,
// the level is too high rather than too low.
func (k *bucket) settle(at, cost int64) {
	k.drained = min(max(k.drained, at)+k.cost(cost), farthest)
}

// fill raises the level to the capacity.
func (k *bucket) fill(now int64) { k.drained = max(k.drained, now+k.drain(k.Capacity, true)) }

// Level is what has settled of one bucket, for the ledger.
type Level struct {
	// Name, Refill, Per and Weighted say which bucket it is of: one that differs in
	// any of them knows nothing of its level.
	Name     string
	Refill   int64
	Per      time.Duration
	Weighted bool
	// Drained is when what has settled will have drained away.
	Drained time.Time
	// AsOf: what had ended by then is in it. It is by the clock of send times, as are
	// deadlines and settlements on record.
	AsOf time.Time
}

// Levels returns what has settled of each bucket by now, and what should have. With
// the permits on record that have not settled by then it is what an owner after this
// one must know.
func (b *Budget) Levels(now time.Time) []Level {
	if len(b.buckets) == 0 {
		return nil
	}
	b.advance(now)
	// Whoever reads this may not be told of permits long past their deadline. They
	// are few, so their order is worth no sorting.
	var overdue []ending
	for _, u := range b.open {
		if u.dead <= b.now {
			overdue = append(overdue, ending{u.dead, u.cost})
		}
	}
	levels := make([]Level, 0, len(b.buckets))
	for _, k := range b.buckets {
		then := *k
		for _, e := range overdue {
			then.settle(e.at, e.cost)
		}
		levels = append(levels, Level{k.Name, k.Refill, k.Per, k.Weighted, b.time(max(then.drained, b.now)), b.time(b.now)})
	}
	return levels
}

// Fill is what is in a bucket, as the time in which it drains.
type Fill struct {
	Bucket
	// Room is what there is room for when nothing is in it, Settled what drains now, and
	// Flying what calls in flight hold.
	Room, Settled, Flying time.Duration
}

// Takes is what so many points of cost fill, where that is a mean of calls.
func (l Bucket) Takes(points float64) time.Duration {
	if !l.Weighted {
		points = 1
	}
	return time.Duration(points * float64(l.Per) / float64(l.Refill))
}

// Fills returns what is in each bucket now.
func (b *Budget) Fills(now time.Time) []Fill {
	b.advance(now)
	fills := make([]Fill, 0, len(b.buckets))
	for _, k := range b.buckets {
		fills = append(fills, Fill{
			k.Bucket, time.Duration(k.room), time.Duration(max(0, k.drained-b.now)), time.Duration(k.flying(b.endings)),
		})
	}
	return fills
}

// Room reports whether every bucket has room for a call of that cost now.
func (b *Budget) Room(now time.Time, cost int64) bool {
	b.advance(now)
	for _, k := range b.buckets {
		if at, ok := k.earliest(max(cost, 1), b.now, b.endings); !ok || at > b.now {
			return false
		}
	}
	return true
}

// end lets a call count as in flight until at, and then drain.
func (b *Budget) end(at, cost int64) {
	if at <= b.now {
		for _, k := range b.buckets {
			k.settle(at, cost)
		}
		return
	}
	i, _ := slices.BinarySearchFunc(b.endings, at, func(e ending, at int64) int {
		if e.at <= at {
			return -1
		}
		return 1
	})
	b.endings = slices.Insert(b.endings, i, ending{at, cost})
}

// drain moves the buckets on to now.
func (b *Budget) drain() {
	n := 0
	for ; n < len(b.endings) && b.endings[n].at <= b.now; n++ {
		for _, k := range b.buckets {
			k.settle(b.endings[n].at, b.endings[n].cost)
		}
	}
	b.endings = slices.Delete(b.endings, 0, n)
}

// adoptBuckets puts buckets in force. One that drains as before keeps its level; of
// any other nothing is known, so it starts full.
func (b *Budget) adoptBuckets(declared []Bucket) {
	old := b.buckets
	b.buckets = nil
	b.adopted++
	for _, l := range declared {
		k := newBucket(l)
		if same := slices.IndexFunc(old, func(o *bucket) bool { return o.like(l) }); same >= 0 {
			k.drained, k.foreign, k.sharedUntil = old[same].drained, old[same].foreign, old[same].sharedUntil
		} else {
			k.fill(b.now)
		}
		for _, u := range b.open {
			k.open += k.cost(u.cost)
		}
		b.buckets = append(b.buckets, k)
	}
}

// restoreBuckets adds what owners before have left in the buckets. skew is by how
// much their clocks and this one's may differ.
func (b *Budget) restoreBuckets(history History, skew time.Duration, ended func(Past) time.Time) {
	known := make([]bool, len(b.buckets))
	for i, k := range b.buckets {
		for _, level := range history.Levels {
			if k.like(Bucket{Name: level.Name, Refill: level.Refill, Per: level.Per, Weighted: level.Weighted}) {
				k.drained, known[i] = max(k.drained, b.nanos(level.Drained.Add(skew))), true
			}
		}
	}
	for _, p := range history.Permits {
		if !history.drains(p, b.limits.Grace, skew) {
			b.end(b.nanos(ended(p).Add(skew)), p.cost())
		}
	}
	for i, k := range b.buckets {
		if !known[i] {
			// No server lets a bucket hold more, whatever was sent.
			k.drained = -farthest
			k.fill(b.now)
		}
	}
}

// drains reports whether the levels on record hold the permit already.
func (h History) drains(p Past, grace, skew time.Duration) bool {
	if len(h.Levels) == 0 {
		return false
	}
	ended := p.SettledAt
	switch own := p.Holder == h.Writer; {
	case own && ended.IsZero():
		return false // it would have been settled, had its end been known
	case own:
	case ended.IsZero():
		ended = p.Deadline.Add(grace + skew)
	default:
		ended = ended.Add(skew)
	}
	return !slices.ContainsFunc(h.Levels, func(l Level) bool { return ended.After(l.AsOf) })
}

// cost is what the permit counts for; one from before there were costs, one.
func (p Permit) cost() int64 { return max(p.Cost, 1) }
