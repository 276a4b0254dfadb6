package promise

import (
	"slices"
	"sort"
	"time"
)

const (
	// mostClosings is how many closings are looked at: half a year of nights, a week
	// of hours. What waits for longer goes on as until then, in the mean.
	mostClosings = 200
	// farthest is for how long it is looked at what comes; and no time is promised
	// that is much later.
	farthest = 10 * 365 * 24 * time.Hour
	// chunks is in how many steps calls that were sent before a closing cease to
	// count, mostReleases how many are remembered.
	chunks, mostReleases = 16, 128
)

// Closing is a stretch of time in which no call goes, from From until before Until.
// A call that was sent before it has ended by then.
type Closing struct {
	From, Until time.Time
	// Ramp is how the pace grows after it.
	Ramp Ramp
}

// call returns when the n-th call from now on is sent: from each closing to the next,
// as many as the limits allow.
func (s State) call(n int) time.Time {
	if s.Closings == nil {
		return s.open(n)
	}
	began, before, seen := s.start(), 0, 0
	since := s // the latest closing
	for c := range s.Closings {
		at := since.open(n - before)
		if at.Before(c.From) {
			return at
		}
		fit := since.fit(n-before, c.From)
		since = since.reopen(c, fit)
		before += fit
		if seen++; seen == mostClosings || c.Until.Sub(began) > farthest {
			if before == 0 {
				return since.start()
			}
			return began.Add(span(float64(since.start().Sub(began)) * float64(n) / float64(before)))
		}
	}
	return since.open(n - before)
}

// Opens returns the first time from a moment on at which a call may go.
func (s State) Opens(at time.Time) time.Time {
	if at.Before(s.start()) {
		at = s.start()
	}
	if s.Closings == nil {
		return at
	}
	for c := range s.Closings {
		if at.Before(c.From) {
			break
		}
		if at.Before(c.Until) {
			at = c.Until
		}
		if at.Sub(s.Now) > farthest {
			break
		}
	}
	return at
}

// fit returns how many of n calls are sent before until, if there is no closing before.
func (s State) fit(n int, until time.Time) int {
	return sort.Search(n, func(i int) bool { return !s.open(i + 1).Before(until) })
}

// reopen returns the state at the end of a closing before which so many calls were
// sent: none is under way, and some of them count in windows that are longer.
func (s State) reopen(c Closing, sent int) State {
	next := s
	next.Now, next.Flying, next.Reopened = c.Until, 0, c.Ramp
	next.Windows = make([]Window, len(s.Windows))
	for i, w := range s.Windows {
		next.Windows[i] = w
		next.Windows[i].Taken = s.carry(w, c.Until, sent)
	}
	next.Buckets = make([]Bucket, len(s.Buckets))
	for i, k := range s.Buckets {
		next.Buckets[i] = k
		level := k.Settled + k.Flying + span(float64(sent)*float64(k.Spent)) - max(0, c.From.Sub(s.Now))
		next.Buckets[i].Settled, next.Buckets[i].Flying = max(0, min(max(0, level), k.Room)-c.Until.Sub(latest(c.From, s.Now))), 0
	}
	return next
}

// carry returns what counts in a window at a time by which so many calls were sent.
func (s State) carry(w Window, at time.Time, sent int) []Release {
	var taken []Release
	add := func(r Release) {
		if r.Calls > 0 && r.At.After(at) {
			taken = append(taken, r)
		}
	}
	counts := w.Per + w.Within
	for _, r := range w.Taken {
		add(r)
	}
	add(Release{s.Now.Add(counts), s.Flying})
	gone := s.fit(sent, at.Add(-counts))
	for i := range chunks {
		from, to := gone+i*(sent-gone)/chunks, gone+(i+1)*(sent-gone)/chunks
		if to > from {
			add(Release{s.open(to).Add(counts), to - from})
		}
	}
	return fewer(taken)
}

// fewer puts releases together, two by two, until they are not too many.
func fewer(releases []Release) []Release {
	slices.SortFunc(releases, func(a, b Release) int { return a.At.Compare(b.At) })
	for len(releases) > mostReleases {
		half := releases[:0]
		for pair := range slices.Chunk(releases, 2) {
			last := pair[len(pair)-1]
			if len(pair) == 2 {
				last.Calls += pair[0].Calls
			}
			half = append(half, last)
		}
		releases = half
	}
	return releases
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
