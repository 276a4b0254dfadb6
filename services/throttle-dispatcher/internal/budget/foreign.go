package budget

import "time"

// What a server says of a bucket is of a moment between the call and its reply. So it
// proves that others use the account only where it is more than our own calls can have
// made it then, all of them that could have arrived by then included. Once that is so,
// the level follows, with every call on top that may have arrived since; it is never
// lowered by what a server says. While nothing is proven nothing is on top: it would
// count our own calls twice, and take away the burst.

const (
	// slack is the share of a bucket, as one of so many parts, below which what others
	// put into it is not spoken of.
	slack = 50
	// shortestShare is for how long at least others are taken to use the bucket.
	shortestShare = 5 * time.Second
)

// Mark is what our calls may have in the buckets when one of them is made.
type Mark struct {
	of      []mark
	adopted int
}

// mark is in nanoseconds of draining. flying is of level what is in flight.
type mark struct{ level, flying, handed, raised int64 }

// Mark is to be taken when a call is made, for Heed.
func (b *Budget) Mark(now time.Time) Mark {
	if len(b.buckets) == 0 {
		return Mark{}
	}
	b.advance(now)
	m := Mark{adopted: b.adopted}
	for _, k := range b.buckets {
		flying := k.flying(b.endings)
		m.of = append(m.of, mark{max(0, k.drained-b.now) + flying, flying, k.handed, k.raised})
	}
	return m
}

// flying is what calls in flight hold.
func (k *bucket) flying(endings []ending) int64 {
	flying := k.open
	for _, e := range endings {
		flying += k.cost(e.cost)
	}
	return flying
}

// Said is what the reply to a call says of a bucket.
type Said struct {
	Bucket string
	// Available is what there was room for, in points, or in calls.
	Available int64
	// Mark is that of the call, Cost its permit's, Spent what it was settled for.
	Mark        Mark
	Cost, Spent int64
	// Refused: the server did not count the call.
	Refused bool
	// At is when the reply was in.
	At time.Time
}

// Heed lets the level of a bucket follow what a server says, after the call is settled,
// and reports whether that shows others beyond doubt.
func (b *Budget) Heed(now time.Time, said Said) bool {
	b.advance(now)
	if said.Mark.adopted != b.adopted {
		return false
	}
	for i, k := range b.buckets {
		if k.Name == said.Bucket && i < len(said.Mark.of) {
			return b.heed(k, said.Mark.of[i], said)
		}
	}
	return false
}

func (b *Budget) heed(k *bucket, m mark, said Said) bool {
	cost, counted := k.cost(max(said.Cost, 1)), k.cost(said.Spent)
	if said.Refused {
		counted = 0
	}
	since := k.handed - m.handed
	own := m.level + since + k.raised - m.raised - cost + counted
	at := b.nanos(said.At)
	for _, u := range b.open {
		if u.sendAt > at {
			own -= k.cost(u.cost) // it had not left
		}
	}
	full := k.drain(k.Capacity, true)
	there := k.drain(k.Capacity-said.Available, true)
	proven := there-own > k.drain(max(1, k.Capacity/slack), true)
	if proven {
		k.foreign = min(max(k.foreign, b.now)+there-own, b.now+full)
		k.sharedUntil = b.now + max(full, int64(shortestShare))
	}
	if b.now >= k.sharedUntil {
		return false
	}
	if more := there + m.flying - cost + since - k.flying(b.endings) - max(0, k.drained-b.now); more > 0 {
		// No server lets a bucket hold more.
		before := max(k.drained, b.now)
		k.drained = max(before, min(before+more, b.now+full))
		k.raised += k.drained - before
	}
	return proven
}

// Foreign returns, by name, how much of what is in a bucket others put there, as far as
// servers' words prove it and it has not drained; nil for nothing worth a word.
func (b *Budget) Foreign(now time.Time) map[string]int64 {
	b.advance(now)
	var all map[string]int64
	for _, k := range b.buckets {
		if left := k.foreign - b.now; left > k.drain(max(1, k.Capacity/slack), true) {
			if all == nil {
				all = map[string]int64{}
			}
			all[k.Name] = k.filled(left)
		}
	}
	return all
}
