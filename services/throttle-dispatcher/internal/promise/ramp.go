package promise

import (
	"math"
	"time"
)

// Ramp is a part of the pace that grows in a straight line from Part at From, where
// it is until then, to the whole at Whole. Its zero value is over.
type Ramp struct {
	From  time.Time
	Part  float64
	Whole time.Time
}

// line is a ramp by the seconds since a start.
type line struct {
	from, part, whole, grows float64
}

func (l line) at(t float64) float64 { return l.part + l.slope(t)*max(0, t-l.from) }

func (l line) slope(t float64) float64 {
	if t < l.from {
		return 0
	}
	return l.grows
}

// rising returns the ramps that are not over at start.
func (s State) rising(start time.Time) []line {
	var lines []line
	for _, r := range append([]Ramp{s.Reopened}, s.Ramps...) {
		if r.Part < 1 && r.Whole.After(start) && r.Whole.After(r.From) {
			l := line{from: r.From.Sub(start).Seconds(), part: r.Part, whole: r.Whole.Sub(start).Seconds()}
			l.grows = (1 - l.part) / (l.whole - l.from)
			lines = append(lines, l)
		}
	}
	return lines
}

// sent returns when so many calls after the first one have gone: one in gap at the
// most, and while the pace grows one in slowed, of which each ramp allows a part.
// The least counts.
func (s State) sent(calls float64, gap, slowed time.Duration) time.Time {
	return s.sentBy(s.rising(s.start()), calls, gap, slowed)
}

// sentBy is sent with the ramps that are not over.
func (s State) sentBy(lines []line, calls float64, gap, slowed time.Duration) time.Time {
	start := s.start()
	if slowed <= 0 || len(lines) == 0 || calls <= 0 {
		return start.Add(span(calls * float64(gap)))
	}
	// An area under the parts, in which gap is one more line, is what is sent: a
	// part of 1 for slowed is a call.
	most := math.Inf(1)
	if gap > 0 {
		most = float64(slowed) / float64(gap)
	}
	left, t := calls*slowed.Seconds(), 0.0
	for len(lines) > 0 {
		lowest, until := lowest(lines, most, t)
		part, slope := lowest.at(t), lowest.slope(t)
		lasts := until - t
		if area := (part + slope*lasts/2) * lasts; area < left {
			left, t = left-area, until
			lines = remaining(lines, t)
			continue
		}
		return start.Add(span((t + 2*left/(part+math.Sqrt(part*part+2*slope*left))) * float64(time.Second)))
	}
	return start.Add(span((t + left/most) * float64(time.Second)))
}

// lowest returns the line that is lowest from t on, most among them, and until when it is
// certain to be.
func lowest(lines []line, most, t float64) (low line, until float64) {
	// No line is followed for less than that: where two cross, both are right.
	const least = 1e-6
	low = line{part: most}
	for _, l := range lines {
		if here, there := l.at(t), low.at(t); here < there || here == there && l.slope(t) < low.slope(t) {
			low = l
		}
	}
	until = math.Inf(1)
	sooner := func(at float64) { until = min(until, max(at, t+least)) }
	for _, l := range append([]line{{part: most}}, lines...) {
		if l.from > t && l.whole > t {
			sooner(l.from)
		}
		if l.whole > t {
			sooner(l.whole)
		}
		if steeper := low.slope(t) - l.slope(t); steeper > 0 {
			if at := t + (l.at(t)-low.at(t))/steeper; at > t {
				sooner(at)
			}
		}
	}
	return low, until
}

// remaining returns the lines that are not over at t.
func remaining(lines []line, t float64) []line {
	left := lines[:0]
	for _, l := range lines {
		if l.whole > t {
			left = append(left, l)
		}
	}
	return left
}

// span is a duration of so many nanoseconds, as far as it can be told.
func span(nanoseconds float64) time.Duration {
	return time.Duration(min(nanoseconds, float64(farthest)))
}
