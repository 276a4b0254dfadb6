package throttledispatcher

import (
	"net/http"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// One bad order must stop only itself, and an outage must cost no order. A reply
// that looks like an outage does not say which of the two it is; what becomes of
// the others does. So a delivery that gets one steps aside, and another is asked.
// Where others pass, its attempts count as for any other failure, and the system
// does not count as down because of it; where they do not, everything waits.

// isOutage reports whether the call met what looks like a system that does not
// work as a whole. A server error counts where the system says nothing better of
// it: when it breaks, it breaks for all.
func (o outcome) isOutage(answer connectors.Answer) bool {
	switch o.result.Status {
	case 0, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	if o.result.Status >= http.StatusInternalServerError && (answer.Class == fault.Unknown || answer.Class == fault.Transient) {
		return true
	}
	return answer.Outage
}

// repliesAsDown reports whether a reply came that looks like an outage. Silence does
// as well, but a request may itself be what takes the system too long, so that
// each costs an attempt.
func (o outcome) repliesAsDown(answer connectors.Answer) bool {
	return answer.Outage || o.result.Status != 0 && o.isOutage(answer)
}

// failsAlone reports whether the delivery meets an outage while others pass.
func (w *worker) failsAlone(o outcome, answer connectors.Answer) bool {
	if o.job == nil || !o.isOutage(answer) {
		return false
	}
	kinds := []string{o.call.Operation}
	if o.lookUp {
		kinds = append(kinds, o.kind())
	}
	return o.job.suspect.Alone(&w.works, kinds...)
}

// kind is which calls are a proof for one another. A look-up that passes proves
// nothing for its operation: a system may be down for all but queries.
func (o outcome) kind() string {
	if o.lookUp {
		return "look-up of " + o.call.Operation
	}
	return o.call.Operation
}

// passed takes in that a call was accepted. What met an outage before it was sent
// goes at once: the outage is over, or it was none.
func (w *worker) passed(o outcome, answer connectors.Answer) {
	accepted := answer.Class == fault.OK || answer.Class == fault.AlreadyDone || answer.Class == fault.Conflict
	if o.job == nil || !accepted {
		return
	}
	w.works.Accepted(o.kind(), o.result.FirstByteAt)
	if o.lookUp {
		return
	}
	for _, j := range w.aside {
		if j.delivery.GetOperation() == o.call.Operation && j.suspect.Before(o.result.FirstByteAt) {
			w.queue.Hasten(j.delivery.GetKey())
		}
	}
}

// stepAside puts a delivery back for a reply that looks like an outage, not before
// at.
func (w *worker) stepAside(o outcome, at, now time.Time) {
	j := o.job
	j.asideUntil = latest(at, now.Add(j.suspect.Wait(max(w.budget.Gap(), probeEvery), w.queue.Len())))
	w.putBack(o, j.asideUntil)
	w.aside[j.delivery.GetId()] = j
}

// comeBack lets all that stepped aside go at once, since the outage is over.
func (w *worker) comeBack() {
	for _, j := range w.aside {
		w.queue.Hasten(j.delivery.GetKey())
	}
}

// comeForward lets the one that has stepped aside for the shortest time yet to come
// go at once, where there is no other to ask.
func (w *worker) comeForward(now time.Time) {
	if w.queue.Ready(now) {
		return
	}
	var next *job
	for _, j := range w.aside {
		if next == nil || j.asideUntil.Before(next.asideUntil) {
			next = j
		}
	}
	if next != nil {
		w.queue.Hasten(next.delivery.GetKey())
	}
}

// whileOthersPass says in a cause what its reply alone does not.
func whileOthersPass(cause fault.Cause) fault.Cause {
	cause.Detail = reply.Shorten("the external system answers this one as if it were down, while others pass: " + cause.Detail)
	return cause
}
