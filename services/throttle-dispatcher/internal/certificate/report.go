package certificate

import "time"

// Report is the certificate as of one moment.
type Report struct {
	// Through is up to when all that was begun has ended, so that the figures cover
	// it.
	Through time.Time
	Limits  []Standing
	// Calls is how many requests were counted since the auditor began to read.
	Calls int64
	// Pace is how many calls a minute followed each other while others waited, over
	// the last minute, or the shortest window where that is longer; 0 where none
	// waited.
	Pace float64
	// Latency is the mean of the latest reply times; 0 before the first.
	Latency time.Duration
	// CallsPerDelivery is how many calls it took to end a delivery, over the same
	// time as Pace; 0 where too few ended.
	CallsPerDelivery float64
	// CostPerCall is what a call was reserved for in the mean, SpentPerCall what it did
	// cost, over the same time, or when there were calls last; 0 before the first.
	CostPerCall, SpentPerCall float64
}

// Standing is what the log says about one limit.
type Standing struct {
	Limit
	// Largest is the most calls that can have arrived in one closed window (or run
	// at the same time, or the highest level of a bucket, rounded up), LargestSent the most first bytes in one.
	Largest, LargestSent int
	// Last is how many can have arrived in the window that ends at Through (or run
	// at the moment of the report, or the level then).
	Last int
	// Since is from when calls are counted, ReachedAt when the last call of the
	// largest window began; zero where there is none.
	Since, ReachedAt time.Time
}

// Release is when so many calls cease to count in a window.
type Release struct {
	At    time.Time
	Calls int
}

// Report returns the certificate as of now.
func (a *Auditor) Report(now time.Time) Report {
	t := now.UnixNano()
	a.count(t - int64(silence))
	through, running := t, 0
	for i, c := range a.tail[a.head:] {
		if i == 0 {
			through = min(t, c.sent)
		}
		if c.state == open && c.sent <= t {
			running++
		}
	}
	lately := a.pace.last(t)
	r := Report{Through: moment(through), Calls: a.total, Latency: time.Duration(a.pace.latency)}
	if lately.length > 0 {
		r.Pace = float64(lately.gaps) / time.Duration(lately.length).Minutes()
	}
	if lately.closes >= minCloses {
		r.CallsPerDelivery = float64(lately.calls) / float64(lately.closes)
	}
	if n := float64(lately.counted); n > 0 {
		a.pace.cost, a.pace.spent = float64(lately.cost)/n, float64(lately.spent)/n
	}
	r.CostPerCall, r.SpentPerCall = a.pace.cost, a.pace.spent
	for _, j := range a.judges {
		j.countTo(through)
		s := Standing{Limit: j.limit, Largest: j.largest, LargestSent: j.sent, Last: running, Since: j.since}
		switch {
		case j.limit.Per > 0:
			s.Last = j.last(through)
		case j.tank != nil:
			s.Last = j.tank.levelAt(through).up()
		}
		if j.reachedAt != 0 {
			s.ReachedAt = moment(j.reachedAt)
		}
		r.Limits = append(r.Limits, s)
	}
	return r
}

// Releases returns when the calls that count in the n-th limit's window now cease
// to, in at most 64 steps, each no earlier than its calls; calls under way are
// not among them. It is in no order.
func (a *Auditor) Releases(n int, now time.Time) []Release {
	const steps = 32
	var releases []Release
	t := now.UnixNano()
	for _, b := range []*bag{&a.judges[n].own, &a.judges[n].past} {
		live := b.live()
		live = live[len(live)-b.atLeast(t):]
		for i := range steps {
			from, to := i*len(live)/steps, (i+1)*len(live)/steps
			if to > from {
				releases = append(releases, Release{At: moment(live[to-1]), Calls: to - from})
			}
		}
	}
	return releases
}
