package maintenance

import (
	"iter"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/internal/maintenance"
)

// Closing is a stretch of time in which nothing is handed out, from From until
// before Until.
type Closing struct {
	From, Until time.Time
	// Ramp begins at Until.
	Ramp Ramp
}

// Outlook tells which windows come. Other than a Watch it is safe for concurrent use.
//
// It remembers what it found: where windows are minutes apart, to find the next one
// takes a millisecond, and whoever asks when a backlog will have arrived asks for
// hundreds of them, again and again.
type Outlook struct {
	calendar Calendar
	lead     time.Duration

	mu sync.Mutex
	// known are all spans that end after from, up to the last of them.
	known []maintenance.Span
	from  time.Time
}

// After returns the closings that are not over at a moment, in their order, which
// may have no end. One that begins before the one before it is over belongs to it.
func (o *Outlook) After(now time.Time) iter.Seq[Closing] {
	return func(yield func(Closing) bool) {
		o.forget(now)
		for after := now; ; {
			span, ok := o.next(after)
			if !ok || !yield(Closing{span.Begin.Add(-o.lead), span.End, Ramp{span.End, span.RampUp}}) {
				return
			}
			after = span.End
		}
	}
}

// forget gives up what is over.
func (o *Outlook) forget(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if over := o.ended(now); over > 0 {
		o.from = o.known[over-1].End
		o.known = slices.Delete(o.known, 0, over)
	}
}

// ended returns how many of the known spans are over at a moment.
func (o *Outlook) ended(moment time.Time) int {
	return sort.Search(len(o.known), func(i int) bool { return o.known[i].End.After(moment) })
}

// next is the calendar's Next.
func (o *Outlook) next(after time.Time) (maintenance.Span, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if after.Before(o.from) {
		return o.calendar.Next(after) // a question that began before another
	}
	if i := o.ended(after); i < len(o.known) {
		return o.known[i], true
	}
	if n := len(o.known); n == 0 || after.After(o.known[n-1].End) {
		o.known, o.from = nil, after // what is between is not known
	}
	span, ok := o.calendar.Next(after)
	if ok {
		o.known = append(o.known, span)
	}
	return span, ok
}
