// Package maintenance follows the maintenance windows of one connector: whether it
// may be called now, and at what part of its pace after a window or an outage. It
// is pure: time comes in as an argument. Not safe for concurrent use.
package maintenance

import (
	"time"

	"github.com/peppasync/peppasync/services/internal/maintenance"
)

// Calendar finds windows, safe for concurrent use. maintenance.Calendar is one.
type Calendar interface {
	// Next returns the first span that ends after a moment, false where there is
	// none.
	Next(after time.Time) (maintenance.Span, bool)
	// Last returns the span that ended last, at or before a moment and no longer ago
	// than since.
	Last(moment time.Time, since time.Duration) (maintenance.Span, bool)
	// RampUp returns the longest ramp of all.
	RampUp() time.Duration
}

// Settings of a Watch.
type Settings struct {
	Calendar Calendar
	// Lead is how long before a window calling ends: as long as a call that is
	// handed out may take until its reply is in or its connection dead.
	Lead time.Duration
	// OutageRampUp is how long the pace grows after an outage.
	OutageRampUp time.Duration
}

// Watch follows the windows as time goes on.
type Watch struct {
	settings Settings
	next     maintenance.Span
	some     bool
	// window and outage are the ramps that were begun last.
	window, outage Ramp
	outlook        *Outlook
}

// NewWatch returns a watch that starts at a moment. A ramp that a window before
// that has begun goes on; one after an outage is not known any more.
func NewWatch(now time.Time, settings Settings) *Watch {
	w := &Watch{}
	w.Set(now, settings)
	return w
}

// Set replaces the settings.
func (w *Watch) Set(now time.Time, settings Settings) {
	w.settings, w.window = settings, Ramp{}
	if longest := settings.Calendar.RampUp(); longest > 0 {
		if last, ok := settings.Calendar.Last(now, longest); ok {
			w.window = Ramp{last.End, last.RampUp}
		}
	}
	w.next, w.some = settings.Calendar.Next(now)
	w.outlook = &Outlook{calendar: settings.Calendar, lead: settings.Lead, from: now}
}

// Closed reports whether nothing may be handed out at now, and until when. It is
// to be asked with times that do not go back.
func (w *Watch) Closed(now time.Time) (until time.Time, closed bool) {
	for w.some && !now.Before(w.next.End) {
		w.window = Ramp{w.next.End, w.next.RampUp}
		w.next, w.some = w.settings.Calendar.Next(w.next.End)
	}
	if !w.some || now.Before(w.next.Begin.Add(-w.settings.Lead)) {
		return time.Time{}, false
	}
	return w.next.End, true
}

// Recovered begins the ramp after an outage.
func (w *Watch) Recovered(now time.Time) { w.outage = Ramp{now, w.settings.OutageRampUp} }

// Part returns what part of the pace is allowed at now, from First to 1.
func (w *Watch) Part(now time.Time) float64 { return min(w.window.part(now), w.outage.part(now)) }

// First is the part of the pace that a ramp begins with.
const First = 0.1

// Ramps returns the ramps that were begun last, after a window and after an outage.
// It is to be asked like Closed.
func (w *Watch) Ramps(now time.Time) (window, outage Ramp) {
	w.Closed(now)
	return w.window, w.outage
}

// OutageRamp returns the ramp that an outage would begin which ends at a moment.
func (w *Watch) OutageRamp(ends time.Time) Ramp { return Ramp{ends, w.settings.OutageRampUp} }

// Outlook tells which windows come by the settings of now.
func (w *Watch) Outlook() *Outlook { return w.outlook }

// Ramp lets the pace grow in a straight line from First to the whole. Its zero
// value is over.
type Ramp struct {
	From  time.Time
	Lasts time.Duration
}

func (r Ramp) part(now time.Time) float64 {
	if r.Lasts <= 0 || now.Sub(r.From) >= r.Lasts {
		return 1
	}
	return First + (1-First)*max(0, float64(now.Sub(r.From))/float64(r.Lasts))
}
