package promise

import (
	"math"
	"sort"
	"time"
)

// Bucket lets go what it has room for, and drains. All of it is the time in which so much
// drains.
type Bucket struct {
	// Room is what there is room for when it is empty.
	Room time.Duration
	// Settled drains from now on, Flying is held by the calls under way.
	Settled, Flying time.Duration
	// Reserved is what a call holds while it is under way, Spent what is left of that
	// afterwards, in the mean.
	Reserved, Spent time.Duration
}

// rate is how many calls a second it lets go over a long time.
func (k Bucket) rate(latency time.Duration) float64 {
	rate := math.Inf(1)
	if k.Spent > 0 {
		rate = 1 / k.Spent.Seconds()
	}
	if k.Reserved > 0 && latency > 0 {
		rate = min(rate, max(1, math.Floor(float64(k.Room)/float64(k.Reserved)))/latency.Seconds())
	}
	return rate
}

// fits returns when the n-th call from now on finds room in the bucket.
func (s State) fits(k Bucket, n int) time.Time {
	if k.Reserved > k.Spent && s.Latency > 0 {
		return s.Now.Add(s.givenBack(k, n))
	}
	excess := k.Settled + k.Flying + time.Duration(n)*k.Spent - k.Room
	if excess <= 0 {
		return s.Now
	}
	if excess > k.Settled {
		// What is under way does not drain: the rest does from the first reply on.
		first := s.Latency
		if s.Flying > 0 {
			first /= time.Duration(s.Flying + 1)
		}
		excess += max(0, first-k.Settled)
	}
	return s.Now.Add(excess)
}

// refills returns when the n-th call finds room where the pace grows beyond what the bucket
// refills: below that it stays empty, so that what drains then is of no use later.
func (s State) refills(k Bucket, n int) time.Time {
	if len(s.rising(s.start())) == 0 {
		return time.Time{}
	}
	// As in slowly, from one call on that found it empty.
	after := func(from int) time.Time {
		return s.paced(from).Add(span(float64(n-from)*float64(k.Spent)) - k.Room)
	}
	return after(1 + sort.Search(n-1, func(i int) bool { return !after(i + 2).After(after(i + 1)) }))
}

// givenBack returns how long it takes until the n-th call has begun where calls are given
// back a part of what they hold. As many run as there is room for beside what has settled,
// d: (room - d)/reserved of them, so that d grows by spent*(room - d)/(reserved*latency) a
// second less the one that drains. It comes near to a d at which both are the same, or to
// none at all.
func (s State) givenBack(k Bucket, n int) time.Duration {
	room, before, latency := k.Room.Seconds(), k.Settled.Seconds(), s.Latency.Seconds()
	reserved := k.Reserved.Seconds()
	spent := max(k.Spent.Seconds(), reserved/1000)
	// At least one runs, however little is free.
	running := func(d float64) float64 { return max(1, math.Floor((room-d)/reserved)) }
	pace := spent / (reserved * latency)
	end := room - 1/pace
	empty := math.Inf(1)
	if end < 0 {
		empty = math.Log((before-end)/-end) / pace
	}
	began := func(t float64) float64 {
		d := end + (before-end)*math.Exp(-pace*min(t, empty))
		calls := (min(t, empty)+d-before)/spent + running(d)
		if t > empty {
			calls += (t - empty) * running(0) / latency
		}
		return calls - float64(s.Flying)
	}
	lo, hi := 0.0, before+float64(n+s.Flying)*(spent+latency)+reserved
	if began(lo) >= float64(n) {
		return 0
	}
	for range 48 {
		if mid := (lo + hi) / 2; began(mid) < float64(n) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return time.Duration(hi * float64(time.Second))
}
