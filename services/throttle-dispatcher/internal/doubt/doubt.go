// Package doubt decides what to do about a call whose outcome is unknown: its
// request was written, and no reply says what became of it. It may be sent again,
// looked up, waited for, or left to a person. It is pure: time comes in as an
// argument. Not safe for concurrent use.
//
// Two times carry it. By arrivedBy the requests of all attempts in doubt have
// arrived, if they arrive at all; a horizon after that the external system has
// committed what it will ever commit. So a look-up that was sent after both and
// finds nothing proves that nothing happened, and one that was sent before does
// not: the effect may be on its way still. The opposite needs no such care: what
// is found is there.
package doubt

import (
	"time"

	"github.com/peppasync/peppasync/services/connectors"
)

// Facts are what is known of the operation.
type Facts struct {
	Effect connectors.Effect
	// Findable: the effect can be looked up.
	Findable bool
	// Horizon is how long after its last possible arrival a call may take effect.
	Horizon time.Duration
	// Overwrites: a call that takes effect late undoes what follows in its key.
	Overwrites bool
	// MostUnanswered is after how many look-ups in a row that gave no answer a
	// person has to look.
	MostUnanswered int
}

// Action is what to do with a delivery now.
type Action int

// The actions.
const (
	// Send: nothing is in doubt, or a repetition has no second effect.
	Send Action = iota
	// LookUp: ask whether the effect is there.
	LookUp
	// Wait: until the time that comes with it.
	Wait
	// Park: nobody but a person can tell.
	Park
	// Deliver: the effect is there.
	Deliver
)

// The first look-up goes at once, since mostly the effect is there; after that
// they cost more than they tell.
const (
	firstWait = time.Second
	longest   = time.Minute
)

// Doubt is what is unknown about one delivery. Its zero value is no doubt.
type Doubt struct {
	open bool
	// claimed: the system says itself that the effect is there, which is looked up
	// before it is believed.
	claimed    bool
	arrivedBy  time.Time
	lookUps    int
	unanswered int
	next       time.Time
}

// Arises takes in that the outcome of an attempt is unknown whose request has
// arrived by then, if it arrives at all.
func (d *Doubt) Arises(arrivedBy time.Time) {
	*d = Doubt{open: true, arrivedBy: later(d.arrivedBy, arrivedBy)}
}

// Claimed takes in that the system says that the effect is there already.
func (d *Doubt) Claimed(at time.Time) {
	d.Arises(at)
	d.claimed = true
}

// Remains takes in what an earlier owner left: attempts whose outcome was unknown,
// and a newest one that is over. Where the operation must not be repeated they
// are in doubt still; otherwise they only hold the key.
func (d *Doubt) Remains(arrivedBy time.Time) {
	if !arrivedBy.IsZero() {
		d.Arises(arrivedBy)
	}
}

// Known takes in that the outcome of the newest attempt is known. Those of earlier
// ones are not, where they were repeated without a look-up.
func (d *Doubt) Known() { *d = Doubt{arrivedBy: d.arrivedBy} }

// Open reports whether the outcome of the newest attempt is unknown.
func (d *Doubt) Open() bool { return d.open }

// ArrivedBy returns by when all requests in doubt have arrived, if they arrive at
// all; zero where none is.
func (d *Doubt) ArrivedBy() time.Time { return d.arrivedBy }

// Next returns what to do at now; the time is Wait's. It never returns Deliver.
func (d *Doubt) Next(now time.Time, facts Facts) (Action, time.Time) {
	switch {
	case !d.open, !d.claimed && facts.Effect != connectors.EffectOnce:
		return Send, time.Time{}
	case !facts.Findable, d.unanswered >= facts.MostUnanswered:
		return Park, time.Time{}
	case now.Before(d.next):
		return Wait, d.next
	}
	return LookUp, time.Time{}
}

// Answered takes in what a look-up found whose request was written no earlier than
// at issued, and returns Deliver, Send or Wait. After Send nothing is in doubt:
// the effect is not there and cannot come any more.
func (d *Doubt) Answered(presence connectors.Presence, issued, now time.Time, facts Facts) (Action, time.Time) {
	d.lookUps++
	d.unanswered = 0
	certain := d.arrivedBy.Add(facts.Horizon)
	switch {
	case presence == connectors.Present:
		return Deliver, time.Time{}
	case presence == connectors.Absent && !issued.Before(certain):
		*d = Doubt{}
		return Send, time.Time{}
	}
	d.next = now.Add(d.wait())
	if presence == connectors.Absent && certain.Before(d.next) {
		d.next = certain
	}
	return Wait, d.next
}

// Unanswered takes in that a look-up gave no answer and returns when the next one
// may go. excused says that the reason lies with the system as a whole, which
// passes by itself and does not make a person look.
func (d *Doubt) Unanswered(now time.Time, excused bool) time.Time {
	if !excused {
		d.lookUps++
		d.unanswered++
	}
	d.next = now.Add(d.wait())
	return d.next
}

// wait doubles with each look-up.
func (d *Doubt) wait() time.Duration {
	return min(longest, firstWait<<min(max(0, d.lookUps-1), 10))
}

// KeyFreeAt returns until when what follows in the key has to wait, since an
// attempt whose outcome stayed unknown could undo it; zero where nothing can.
func (d *Doubt) KeyFreeAt(facts Facts) time.Time {
	if !facts.Overwrites || d.arrivedBy.IsZero() {
		return time.Time{}
	}
	return d.arrivedBy.Add(facts.Horizon)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
