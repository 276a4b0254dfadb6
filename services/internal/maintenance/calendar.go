package maintenance

import (
	"slices"
	"time"
)

// Calendar is all windows of one account. Its zero value has none.
type Calendar struct{ windows []Window }

// NewCalendar returns a calendar of windows, each of which must last less than
// its Schedule's Period.
func NewCalendar(windows []Window) Calendar { return Calendar{slices.Clone(windows)} }

const (
	// slack is more than clocks ever change by: what the wall shows and what has
	// passed never differ by more.
	slack = 26 * time.Hour
	// longest is where a span is cut: windows that overlap for longer have no
	// end worth waiting for. What follows begins where it was cut.
	longest = 31 * 24 * time.Hour
)

// Next returns the first span that ends after a moment. Where the moment is inside
// it, Begin is some time before the moment. Windows that overlap or touch are
// one span, with the longest of their ramps. False where there is none, ever.
func (c Calendar) Next(after time.Time) (Span, bool) {
	begins, found := c.firstBegin(after)
	if !found {
		return Span{}, false
	}
	for ahead := 2 * slack; ; ahead *= 2 {
		until := begins.Add(ahead)
		span := union(c.between(after, until))
		// What begins later than looked at could only touch a span that reaches there.
		if span.End.Before(until) {
			return span, true
		}
		if ahead > longest {
			span.End = until
			return span, true
		}
	}
}

// firstBegin returns when the first span that ends after a moment begins, or the
// moment where that is later.
func (c Calendar) firstBegin(after time.Time) (time.Time, bool) {
	var begins time.Time
	for _, w := range c.windows {
		for wall := w.wallBefore(after); ; {
			wall = w.Schedule.next(wall)
			if wall.IsZero() {
				break
			}
			i := slices.IndexFunc(w.spans(wall), func(s Span) bool { return s.End.After(after) })
			if i < 0 {
				continue
			}
			if begin := w.spans(wall)[i].Begin; begins.IsZero() || begin.Before(begins) {
				begins = begin
			}
			break
		}
	}
	if begins.IsZero() {
		return time.Time{}, false
	}
	if begins.Before(after) {
		begins = after
	}
	return begins, true
}

// between returns the spans of all windows that end after a moment and begin until
// another, by their beginnings.
func (c Calendar) between(after, until time.Time) []Span {
	var spans []Span
	for _, w := range c.windows {
		last := wallOf(until, w.Zone).Add(slack)
		for wall := w.Schedule.next(w.wallBefore(after)); !wall.IsZero() && !wall.After(last); wall = w.Schedule.next(wall) {
			for _, span := range w.spans(wall) {
				if span.End.After(after) && !span.Begin.After(until) {
					spans = append(spans, span)
				}
			}
		}
	}
	slices.SortFunc(spans, func(a, b Span) int { return a.Begin.Compare(b.Begin) })
	return spans
}

// union returns the first of the spans with all that overlap or touch it.
func union(spans []Span) Span {
	whole := spans[0]
	for _, span := range spans[1:] {
		if span.Begin.After(whole.End) {
			break
		}
		if span.End.After(whole.End) {
			whole.End = span.End
		}
		whole.RampUp = max(whole.RampUp, span.RampUp)
	}
	return whole
}

// wallBefore returns a wall time before that of every span which ends at or after
// a moment.
func (w Window) wallBefore(moment time.Time) time.Time {
	return wallOf(moment, w.Zone).Add(-w.Duration - slack)
}

// wallOf returns what a clock on the wall shows at a moment, written as if in UTC.
func wallOf(moment time.Time, zone *time.Location) time.Time {
	_, offset := moment.In(zone).Zone()
	return moment.UTC().Add(time.Duration(offset) * time.Second)
}

// Last returns the span that ended last, at or before a moment and no longer ago
// than since; false where there is none.
func (c Calendar) Last(moment time.Time, since time.Duration) (Span, bool) {
	var last Span
	found := false
	for at := moment.Add(-since); ; {
		span, ok := c.Next(at)
		if !ok || span.End.After(moment) {
			return last, found
		}
		last, found, at = span, true, span.End
	}
}

// RampUp returns the longest ramp of all windows.
func (c Calendar) RampUp() time.Duration {
	var most time.Duration
	for _, w := range c.windows {
		most = max(most, w.RampUp)
	}
	return most
}

// Opens reports whether the windows together leave any time to send: whether the
// first span of the time that is examined ends within a month.
func (c Calendar) Opens() bool {
	span, ok := c.Next(examined())
	return !ok || span.End.Sub(span.Begin) < longest
}
