package throttledispatcher

import (
	"context"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

// mayAsk reports whether there is a place for a probe. A system that only pauses
// works on the questions that were cut off as well, so in a silence each of those
// keeps its place: the limit holds, and where places are few, the questions end.
func (w *worker) mayAsk() bool {
	return w.questions.room(w.connections) && (w.breaker.Open() || w.underWay()+w.silence.cut < w.connections)
}

func (w *worker) mayProbe(now time.Time) bool {
	at, _ := w.nextProbe(now)
	if !w.breaker.Open() && !w.queue.Ready(now) {
		return false // nothing waits for the answer
	}
	if !w.mayAsk() || w.spec.Spec.Paused || now.Before(w.quiet(now)) || now.Before(at) {
		return false
	}
	free, ok := w.budget.NextFor(now, w.askCost())
	return ok && free.Sub(now) <= w.stalls.lead()
}

// probe asks a system that is down whether it is back: by a harmless question,
// or by a call that may be repeated.
func (w *worker) probe(ctx context.Context, now time.Time) error {
	if w.breaker.Open() {
		w.breaker.Probed(now) // a silence has few, and must not use up those of the outage after it
	}
	w.silence.askAt = now.Add(probeEvery)
	header, ok := w.signedIn(ctx, now)
	if !ok {
		return nil
	}
	question := w.question()
	if question.Path == "" || w.byCall() {
		w.comeForward(now)
		if flights := w.prepare(ctx, now, header, 1, question.Path != ""); len(flights) > 0 || question.Path == "" {
			w.questions.inVain = 0 // not before: where none may go, it is a patient question's turn
			return w.writeBlock(ctx, flights)
		}
	}
	permits := w.budget.ReserveFor(now, w.stalls.horizon(), []int64{w.costOf(question)})
	if len(permits) == 0 {
		return nil
	}
	permit := permits[0]
	wait, patient := quickly, false
	if w.breaker.Open() { // in a silence, the calls under way are the patient ones
		wait, patient = w.questions.wait(now, w.callTimeout)
	}
	if sooner := permit.SendAt.Add(wait); sooner.Before(permit.Deadline) {
		permit.Deadline = sooner
		// One that finds no room must not look as if it had got no reply.
		if last := sooner.Add(-quickly / 8); last.Before(permit.NotAfter) {
			permit.NotAfter = last
		}
	}
	if err := w.ledger.Permit(permit, ""); err != nil {
		w.budget.Void(permit.Number)
		return w.writeBlock(ctx, nil)
	}
	w.asked(now, patient)
	return w.writeBlock(ctx, []flight{{
		permit: permit, down: w.breaker.Open(), patient: patient, call: connectors.Call{Operation: operationProbe}, request: question, header: header,
	}})
}

// askCost is what the next probe counts for in buckets.
func (w *worker) askCost() int64 {
	if question := w.question(); question.Path != "" && !w.byCall() {
		return w.costOf(question)
	}
	return w.nextCost
}

// question is the system's harmless request; without a path where it has none.
func (w *worker) question() connectors.Request { return questionOf(w.system, w.spec) }

func questionOf(system connectors.System, connector *v1alpha1.Connector) connectors.Request {
	if prober, ok := system.(connectors.Prober); ok {
		return prober.Probe(&connector.Spec)
	}
	return connectors.Request{}
}

// byCall reports whether a call is the better question: where the pace leaves
// room for one request in half a second, the first call would come a whole gap
// after the probe that finds the system back. Now and then it is a call in any
// case, since the question may be what never passes: a path that leads to the page
// of a login. Only where the system answers, at once or to a patient question: a call
// may not be cut off as soon as a quick one may.
func (w *worker) byCall() bool {
	q := &w.questions
	answers := w.replies && w.flying == 0 || q.late && w.flying == q.underWay
	return answers && (w.budget.GapAt(1) >= probeEvery || q.inVain >= questionsInVain)
}

// asked takes in that a question is sent.
func (w *worker) asked(now time.Time, patient bool) {
	lasted := time.Duration(0)
	if w.breaker.Open() {
		lasted = now.Sub(w.breaker.Since())
	}
	w.questions.asked(now, patient, lasted, w.callTimeout, w.connections)
}

// answered takes in that a question is over.
func (w *worker) answered(o outcome, now time.Time) {
	q, replied := &w.questions, o.result.Status != 0
	q.underWay--
	q.patient = q.patient && !o.patient
	if o.result.Written && !replied {
		w.silence.cut++
	}
	if o.down && w.breaker.Open() && !o.wasUnused() {
		q.ended(now, o.patient, o.result.Written, replied, w.callTimeout, w.connections)
	}
}
