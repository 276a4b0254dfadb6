package certificate

import (
	"math/bits"
	"slices"
	"sort"
)

// Bucket is how a bucket drains: by Refill in each Per nanoseconds, evenly; zero where
// a limit is none.
type Bucket struct {
	Refill, Per int64
	// Points: each call counts by its cost; else each counts one.
	Points bool
}

// weigh is what a call of that cost counts for.
func (b Bucket) weigh(points int64) int64 {
	if b.Points {
		return points
	}
	return 1
}

// amount is so many whole ones and a part of one, in nanoseconds of Per: draining
// loses nothing by rounding.
type amount struct{ whole, part int64 }

func (a amount) more(whole int64) amount { return amount{a.whole + whole, a.part} }

func (a amount) below(b amount) bool {
	return a.whole < b.whole || a.whole == b.whole && a.part < b.part
}

// up is the least whole number that is not below it.
func (a amount) up() int {
	if a.part > 0 {
		return int(a.whole) + 1
	}
	return int(a.whole)
}

// mostFilled keeps sums of levels far from overflow.
const mostFilled = 1 << 60

// before is what an amount was so many nanoseconds ago, if none was added since.
func (b Bucket) before(a amount, passed int64) amount {
	if passed <= 0 || a == (amount{}) {
		return a
	}
	per := uint64(max(b.Per, 1))
	hi, lo := bits.Mul64(uint64(max(b.Refill, 0)), uint64(passed))
	if hi >= per {
		return amount{whole: mostFilled}
	}
	whole, part := bits.Div64(hi, lo, per)
	then := amount{a.whole + int64(min(whole, mostFilled)), a.part + int64(part)} //nolint:gosec // part is below Per
	if then.part >= int64(per) {                                                  //nolint:gosec // it was Per
		then.whole, then.part = then.whole+1, then.part-int64(per) //nolint:gosec // as above
	}
	return then
}

// drained is what is left of an amount after so many nanoseconds.
func (b Bucket) drained(a amount, passed int64) amount {
	if passed <= 0 {
		return a
	}
	per := uint64(max(b.Per, 1))
	hi, lo := bits.Mul64(uint64(max(b.Refill, 0)), uint64(passed))
	if hi >= per {
		return amount{}
	}
	whole, part := bits.Div64(hi, lo, per)
	if whole > uint64(a.whole) { //nolint:gosec // an amount is never negative
		return amount{}
	}
	left := amount{a.whole - int64(whole), a.part - int64(part)} //nolint:gosec // whole is no larger than a.whole, part below Per
	if left.part < 0 {
		left.whole, left.part = left.whole-1, left.part+b.Per
	}
	if left.whole < 0 {
		return amount{}
	}
	return left
}

// tank is the level of a bucket, by the log.
type tank struct {
	Bucket
	// settled is what calls that had ended by to have left in it at at.
	settled amount
	// at is later than to after a takeover, by the skew and by how far the next owner's
	// clock is behind: one time for both would say of calls of that owner which ended
	// between them that they are in settled, and a reader could not tell.
	to, at int64
	// flying holds the calls that end after to, by their ends, and held what they hold
	// in all.
	flying []filling
	held   int64
	// carried is what calls that had ended by carriedAt had left then, as a block says
	// that was read; carriedAt is 0 where none says more.
	carried   amount
	carriedAt int64
}

// filling is a call in a bucket: it holds some of it until its end, and then what it
// leaves begins to drain.
type filling struct {
	until         int64
	holds, leaves int64
	// ended: its end is on record. past: it is of an owner before, and until is later
	// by the skew.
	ended, past bool
}

// begin fills in a call, and returns the highest level that it can have made.
func (k *tank) begin(s span) amount {
	k.advance(s.began)
	level := k.level()
	f := k.filling(s)
	k.add(f)
	return level.more(f.holds)
}

func (k *tank) filling(s span) filling {
	return filling{until: s.until, holds: k.weigh(max(s.cost, s.spent)), leaves: k.weigh(s.spent), ended: s.ended}
}

func (k *tank) add(f filling) {
	i := sort.Search(len(k.flying), func(i int) bool { return k.flying[i].until > f.until })
	k.flying = slices.Insert(k.flying, i, f)
	k.held += f.holds
}

func (k *tank) level() amount { return k.settled.more(k.held) }

// levelAt is the level at a time that is not passed yet.
func (k *tank) levelAt(t int64) amount {
	then := k.clone()
	then.advance(t)
	return then.level()
}

// advance drains it up to t.
func (k *tank) advance(t int64) {
	ends := 0
	for ; ends < len(k.flying) && k.flying[ends].until <= t; ends++ {
		f := k.flying[ends]
		k.take(f.until - 1) // what ends with it is in what a block says of that time
		k.drain(f.until)
		k.settled = k.settled.more(f.leaves)
		k.held -= f.holds
	}
	k.flying = slices.Delete(k.flying, 0, ends)
	k.take(t)
	k.drain(t)
	k.to = max(k.to, t)
}

func (k *tank) drain(t int64) {
	if t > k.at {
		k.settled, k.at = k.drained(k.settled, t-k.at), t
	}
}

// take takes up what was carried, where that is as of t or before.
func (k *tank) take(t int64) {
	if k.carriedAt != 0 && k.carriedAt <= t {
		k.drain(k.carriedAt)
		k.raise(k.drained(k.carried, k.at-k.carriedAt))
		k.carriedAt = 0
	}
}

func (k *tank) raise(to amount) {
	if k.settled.below(to) {
		k.settled = to
	}
}

// carry takes in what a block says that its writer knew: more than this, if calls
// before the first block that was read are in it.
func (k *tank) carry(settled amount, at int64) {
	if at > k.to {
		k.carried, k.carriedAt = settled, at
		return
	}
	k.raise(k.drained(settled, k.at-at))
}

// forget drops what has settled: a block carries it as well.
func (k *tank) forget() { k.settled, k.at, k.to, k.carriedAt = amount{}, 0, 0, 0 }

// carries is what a block says to carry: what is in it of the calls that had ended by
// to, and that time. It drains to settled at at, and is more in between.
func (k *tank) carries() (amount, int64) { return k.before(k.settled, k.at-k.to), k.to }

// quiet moves it on to when the last call ended: nothing is under way, and what is
// begun later is begun after that. Not on to now, which is read from another clock.
func (k *tank) quiet(now int64) {
	for _, f := range slices.Backward(k.flying) {
		if f.ended || f.until <= now {
			k.advance(f.until)
			return
		}
	}
}

// takeOver makes what is in it that of an owner before, whose clock may be earlier by
// the skew. A call whose end is on record had ended when the next owner began to read.
func (k *tank) takeOver(skew int64) {
	flying := k.flying
	k.flying, k.held = nil, 0
	for _, f := range flying {
		if f.ended {
			f.holds = f.leaves
		}
		if !f.past {
			f.until, f.past = f.until+skew, true
		}
		k.add(f)
	}
	k.at += skew
}

// catchUp moves it on to what was carried, where all is counted: an idle connector's
// block says it, and no call comes to take it up.
func (k *tank) catchUp() {
	if k.carriedAt != 0 {
		k.advance(k.carriedAt)
	}
}

// restart lets calls end from then on: those of the next owner, who began then by a
// clock that may be behind. By no more than the silence: where the first block that was
// read is of an owner of long ago, or does not say since when, it is not its first.
func (k *tank) restart(then int64) {
	if k.to-then < int64(silence) {
		k.to = min(k.to, then)
	}
}

func (k *tank) clone() *tank {
	then := *k
	then.flying = slices.Clone(k.flying)
	return &then
}
