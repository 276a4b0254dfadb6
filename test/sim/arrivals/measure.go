package arrivals

import (
	"math"
	"slices"
	"time"
)

// LargestWindow returns the largest number of arrivals in any closed rolling window of the given length: the most
// arrivals i..j with at[j]-at[i] <= length. The times must be ordered. A window that holds a maximum can always be moved
// so that it ends at an arrival, so it is enough to look at the windows that end at one.
func LargestWindow(at []time.Duration, length time.Duration) int {
	largest, head := 0, 0
	for tail, t := range at {
		for t-at[head] > length {
			head++
		}
		largest = max(largest, tail-head+1)
	}
	return largest
}

// Pause is a span of time in which nothing is expected to arrive.
type Pause struct{ From, To time.Duration }

// Rate returns arrivals a second in (from, to], leaving out the pauses: neither their time nor what arrived in them
// counts. The first end is open so that n evenly spaced arrivals measured from the first to the last give n-1 gaps, the
// true rate. It returns 0 when no time is left.
func Rate(at []time.Duration, from, to time.Duration, pauses []Pause) float64 {
	pauses = union(pauses, from, to)
	left := to - from
	for _, p := range pauses {
		left -= p.To - p.From
	}
	if left <= 0 {
		return 0
	}
	count := 0
	for _, t := range at {
		if t > from && t <= to && !inside(pauses, t) {
			count++
		}
	}
	return float64(count) / left.Seconds()
}

// inside treats a pause as half open, [From, To): the arrival at the moment a pause ends is the first after it.
func inside(pauses []Pause, t time.Duration) bool {
	return slices.ContainsFunc(pauses, func(p Pause) bool { return t >= p.From && t < p.To })
}

// union clips the pauses to [from, to] and joins those that overlap.
func union(pauses []Pause, from, to time.Duration) []Pause {
	var clipped []Pause
	for _, p := range pauses {
		if p.From, p.To = max(p.From, from), min(p.To, to); p.From < p.To {
			clipped = append(clipped, p)
		}
	}
	slices.SortFunc(clipped, func(a, b Pause) int { return int(min(max(a.From-b.From, -1), 1)) })
	var joined []Pause
	for _, p := range clipped {
		if n := len(joined); n > 0 && p.From <= joined[n-1].To {
			joined[n-1].To = max(joined[n-1].To, p.To)
			continue
		}
		joined = append(joined, p)
	}
	return joined
}

// Percentile returns the smallest value that is at least as large as the share p (0 < p <= 1) of all values, the
// nearest-rank definition, so it is always a value that occurred. It returns 0 for no values.
func Percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
