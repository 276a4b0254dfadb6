// Package promise tells when what waits at a connector will have arrived: from
// what waits in each lane, what the limits allow, and how long calls take. It is
// pure, and as right as its input: it takes for granted that nothing joins the
// queue, that calls take as long as the latest ones, and that nothing fails.
package promise

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sort"
	"time"
)

// State is a connector at one moment.
type State struct {
	Now time.Time
	// NotBefore is when the next call may go at the earliest: pace, a pause that
	// the other side asked for, a sign-in. Zero for at once.
	NotBefore time.Time
	// Gap is the least time from one call to the next; 0 for none. While the pace
	// grows it is Slowed, of which the ramps allow a part; where that is 0 they allow a
	// part of Parallel.
	Gap, Slowed time.Duration
	// Reopened is the ramp after the latest closing, Ramps are those for other
	// reasons. The least of their parts counts.
	Reopened Ramp
	Ramps    []Ramp
	// Closings are those that are not over, in their order; nil for none. It is asked
	// for as many as what waits will meet.
	Closings iter.Seq[Closing]
	Windows  []Window
	Buckets  []Bucket
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

// Ends returns by lane when the last of what waits in it will have arrived.
func (s State) Ends() map[string]time.Time {
	ends := make(map[string]time.Time, len(s.Lanes))
	for _, l := range s.Lanes {
		if l.Waiting > 0 {
			ends[l.Name] = s.Arrival(s.Turn(l.Name, l.Waiting-1))
		}
	}
	return ends
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

// open returns when the n-th call from now on is sent if there is no closing. Each
// limit is taken by itself, and the latest time counts.
func (s State) open(n int) time.Time {
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
		if t := s.refills(k, n); t.After(at) {
			at = t
		}
	}
	if s.Parallel > 0 {
		if t := s.placed(n); t.After(at) {
			at = t
		}
	}
	return at
}

// placed returns when there is a place for the n-th call. Places become free as calls
// end, which they do evenly.
func (s State) placed(n int) time.Time {
	gap, slowed := time.Duration(float64(s.Latency)/float64(s.Parallel)), s.Slowed
	lines := s.rising(s.start())
	places := float64(s.Parallel)
	if slowed == 0 {
		slowed = gap
		for i := range lines {
			lines[i].part += 0.5 / float64(s.Parallel) // a part of the places is rounded up
			places = min(places, lines[i].at(0)*float64(s.Parallel))
		}
	}
	return s.sentBy(lines, float64(n+s.Flying)-places, gap, slowed)
}

func (s State) start() time.Time {
	if s.NotBefore.After(s.Now) {
		return s.NotBefore
	}
	return s.Now
}

func (s State) paced(n int) time.Time { return s.sent(float64(n-1), s.Gap, s.Slowed) }

// within returns when a window lets the n-th call go. The first Calls of them
// wait for those that count now; from then on each waits for the one that went
// Calls before it, or as many times Calls as make the latest time.
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
	at = at.Add(time.Duration(cycle) * (w.Per + w.Within))
	if cycle > 1 {
		if t := s.slowly(w, n, cycle); t.After(at) {
			at = t
		}
	}
	return at
}

// slowly returns when a window lets the n-th call go whose pace grows beyond what the window
// allows: for some time calls go by the ramp, and then each waits for another.
func (s State) slowly(w Window, n, cycles int) time.Time {
	if len(s.rising(s.start())) == 0 {
		return time.Time{}
	}
	// The more wait, the earlier in the ramp the first of them goes: the time grows with
	// their number as long as the pace is above that of the window then, and falls from
	// there on.
	after := func(waits int) time.Time {
		return s.paced(n - waits*w.Calls).Add(time.Duration(waits) * (w.Per + w.Within))
	}
	return after(sort.Search(cycles, func(i int) bool { return !after(i + 1).After(after(i)) }))
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
