package throttledispatcher

import (
	"net/http"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
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

// compare takes in whether others pass where the delivery meets an outage or is
// throttled.
func (w *worker) compare(o *outcome, answer connectors.Answer) {
	if o.job == nil {
		return
	}
	kinds := []string{o.kind()}
	if o.lookUp {
		kinds = append(kinds, o.call.Operation)
	}
	switch {
	case answer.Class == fault.Throttled:
		w.compareRefusal(o, answer, kinds)
		return
	case o.isOutage(answer):
		o.alone = o.job.suspect.Alone(&w.works, kinds...)
		return
	}
	o.job.refused = feedback.OwnRefusals{}
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
	w.passing.Passed(o.kind(), o.result.FirstByteAt)
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

// besideOthers returns what an answer means beside those that others get, and from when
// on the delivery may go again.
func (w *worker) besideOthers(o outcome, answer connectors.Answer, now time.Time) (connectors.Answer, time.Time) {
	answer.Outage = o.repliesAsDown(answer) && !o.alone && answer.Class != fault.Throttled
	at, own, as := now, o.alone, "answers this one as if it were down"
	if answer.Class == fault.Throttled {
		at, own, as = w.afterThrottle(o, now), o.refusal.Passed, "throttles this one"
	}
	if !own {
		return answer, at
	}
	w.log.Warn("the external system does not take a delivery, while others pass; its attempts count",
		"delivery", o.job.delivery.GetId(), "attempt", o.job.attempts, "status", answer.Cause.Status, "cause", answer.Cause.Code)
	answer.Cause.Detail = reply.Shorten("the external system " + as + ", while others pass: " + answer.Cause.Detail)
	if answer.Class == fault.Throttled {
		answer.Class = fault.Transient // refused for certain
	}
	return answer, at
}
