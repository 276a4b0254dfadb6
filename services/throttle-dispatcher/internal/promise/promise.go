// Package promise tells when what waits at a connector will have arrived: from
// what waits in each lane, what the limits allow, and how long calls take. It is
// pure, and as right as its input: it takes for granted that nothing joins the
// queue, that calls take as long as the latest ones, and that nothing fails.
package promise

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// State is a connector at one moment.
type State struct {
	Now time.Time
	// NotBefore is when the next call may go at the earliest: pace, a pause that
	// the other side asked for, a sign-in. Zero for at once.
	NotBefore time.Time
	// Gap is the least time from one call to the next; 0 for none.
	Gap time.Duration
	// Part is what part of that pace is used when the next call goes; it grows in a
	// straight line to the whole at Whole. 0 for the whole.
	Part    float64
	Whole   time.Time
	Windows []Window
	Buckets []Bucket
	// Parallel is how many calls may run at the same time; 0 for any number.
	Parallel int
	// Flying is how many do.
	Flying int
	// Latency is how long a call takes.
	Latency time.Duration
	// CallsPerDelivery is how many calls end a delivery in the mean; 0 for one.
	CallsPerDelivery float64
	Lanes            []Lane
}

// Window allows Calls in any span of Per.
type Window struct {
	Calls int
	Per   time.Duration
	// Within is how long a call may count before its span begins: the time to its
	// reply, or the declared bound on its way.
	Within time.Duration
	// Taken says when the calls that count now cease to, in any order. Those under
	// way are not among them.
	Taken []Release
}

// Release is when so many calls cease to count.
type Release struct {
	At    time.Time
	Calls int
}

// Lane is a queue of its own. While several have deliveries, each gets its
// weight's share of the calls.
type Lane struct {
	Name    string
	Weight  int64
	Waiting int
}

// Waiting returns how many deliveries wait, in all lanes.
func (s State) Waiting() int {
	n := 0
	for _, l := range s.Lanes {
		n += l.Waiting
	}
	return n
}

// Drained returns when the last of what waits, or is under way, will have
// arrived; false where there is nothing.
func (s State) Drained() (time.Time, bool) {
	n := s.Waiting()
	if n == 0 && s.Flying == 0 {
		return time.Time{}, false
	}
	return s.Arrival(n), true
}

// Arrival returns when the n-th delivery from now on will have arrived; for 0, what
// is under way.
func (s State) Arrival(n int) time.Time {
	if n == 0 {
		return s.Now.Add(s.Latency)
	}
	perDelivery := cmp.Or(s.CallsPerDelivery, 1)
	return s.call(max(1, int(math.Ceil(float64(n)*perDelivery)))).Add(s.Latency)
}

// Turn returns which delivery from now on is the one that has so many of its lane
// ahead of it: what its own lane and the others send until then.
func (s State) Turn(lane string, ahead int) int {
	weight := int64(1)
	for _, l := range s.Lanes {
		if l.Name == lane {
			weight = max(1, l.Weight)
		}
	}
	// While a lane sends its weight, each other one that has deliveries sends its
	// own, evenly mixed: this one comes in the middle of its share.
	rounds := (float64(ahead) + 0.5) / float64(weight)
	turn := ahead + 1
	for _, l := range s.Lanes {
		if l.Name != lane {
			turn += min(l.Waiting, int(math.Round(rounds*float64(max(1, l.Weight)))))
		}
	}
	return turn
}

// PerMinute returns how many calls a minute the limits allow over a long time; 0
// where nothing bounds them.
func (s State) PerMinute() float64 {
	rate := math.Inf(1) // calls a second
	if s.Gap > 0 {
		rate = 1 / s.Gap.Seconds()
	}
	for _, w := range s.Windows {
		rate = min(rate, float64(w.Calls)/(w.Per+w.Within).Seconds())
	}
	for _, k := range s.Buckets {
		rate = min(rate, k.rate(s.Latency))
	}
	if s.Parallel > 0 && s.Latency > 0 {
		rate = min(rate, float64(s.Parallel)/s.Latency.Seconds())
	}
	if math.IsInf(rate, 1) {
		return 0
	}
	return 60 * rate
}

// call returns when the n-th call from now on is sent. Each limit is taken by
// itself, and the latest time counts.
func (s State) call(n int) time.Time {
	at := s.paced(n)
	for _, w := range s.Windows {
		if t := s.within(w, n); t.After(at) {
			at = t
		}
	}
	for _, k := range s.Buckets {
		if t := s.fits(k, n); t.After(at) {
			at = t
		}
	}
	if s.Parallel > 0 {
		if t := s.placed(s.Parallel, n); t.After(at) {
			at = t
		}
	}
	return at
}

// placed returns when the n-th call finds one of so many places: they are free as calls
// end, which they do evenly.
func (s State) placed(places, n int) time.Time {
	queued := max(0, n+s.Flying-places)
	return s.start().Add(time.Duration(float64(queued) / float64(places) * float64(s.Latency)))
}

func (s State) start() time.Time {
	if s.NotBefore.After(s.Now) {
		return s.NotBefore
	}
	return s.Now
}

func (s State) paced(n int) time.Time {
	return s.start().Add(s.growing(time.Duration(n-1) * s.Gap))
}

// growing returns how long it takes, while the pace grows, to send what the whole
// pace sends in that time. The part is an area under its line: after t it is
// Part*t + (1-Part)*t*t/(2*grows).
func (s State) growing(whole time.Duration) time.Duration {
	grows := s.Whole.Sub(s.start()).Seconds()
	if s.Part <= 0 || s.Part >= 1 || grows <= 0 {
		return whole
	}
	area := whole.Seconds()
	if all := (1 + s.Part) / 2 * grows; area > all {
		return whole + time.Duration((grows-all)*float64(time.Second))
	}
	root := math.Sqrt(s.Part*s.Part + 2*(1-s.Part)/grows*area)
	return time.Duration(2 * area / (s.Part + root) * float64(time.Second))
}

// within returns when a window lets the n-th call go. The first Calls of them
// wait for those that count now; from then on each waits for the one that went
// Calls before it.
func (s State) within(w Window, n int) time.Time {
	cycle, first := (n-1)/w.Calls, (n-1)%w.Calls+1
	at := s.paced(first)
	taken := w.Taken
	if s.Flying > 0 {
		taken = append(slices.Clone(taken), Release{At: s.Now.Add(w.Within + w.Per), Calls: s.Flying})
	}
	free := w.Calls
	for _, r := range taken {
		free -= r.Calls
	}
	if wait := first - free; wait > 0 {
		if t := released(taken, wait); t.After(at) {
			at = t
		}
	}
	return at.Add(time.Duration(cycle) * (w.Per + w.Within))
}

// released returns when n of the calls have ceased to count.
func released(taken []Release, n int) time.Time {
	sorted := slices.SortedFunc(slices.Values(taken), func(x, y Release) int { return x.At.Compare(y.At) })
	var before time.Time
	for _, r := range sorted {
		if n <= r.Calls {
			if before.IsZero() || r.Calls == 1 {
				return r.At
			}
			// They cease one after the other since the step before.
			return before.Add(time.Duration(float64(r.At.Sub(before)) * float64(n) / float64(r.Calls)))
		}
		n -= r.Calls
		before = r.At
	}
	return before
}
