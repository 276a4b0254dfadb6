package throttledispatcher

import (
	"context"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
)

const (
	// probeTimeout bounds a probe's reply, so that a system that comes back is
	// noticed within about a second even if it swallowed the probe before and takes
	// one call at a time.
	probeTimeout = 900 * time.Millisecond
	probeEvery   = 500 * time.Millisecond
	// questionsInVain is how many harmless questions in a row may fail before a call is
	// tried in the place of one.
	questionsInVain = 3
)

// probesAtOnce returns how many probes may be under way at a time. One that is
// swallowed must not hold up the next, which would find the system back. With the
// grace for its bytes it takes up a place for 1.9 s, so that where there are few
// places, more at a time would leave none.
func (w *worker) probesAtOnce() int {
	if w.connections < 8 {
		return 1
	}
	return 2
}

// mayAsk reports whether there is a place for a probe. A system that only pauses
// works on the questions that were cut off as well, so in a silence each of those
// keeps its place: the limit holds, and where places are few, the questions end.
func (w *worker) mayAsk() bool {
	return w.probes < w.probesAtOnce() && (w.breaker.Open() || w.underWay()+w.silence.cut < w.connections)
}

func (w *worker) mayProbe(now time.Time) bool {
	at, _ := w.nextProbe(now)
	if !w.breaker.Open() && !w.queue.Ready(now) {
		return false // nothing waits for the answer
	}
	if !w.mayAsk() || w.spec.Spec.Paused || now.Before(w.quiet(now)) || now.Before(at) {
		return false
	}
	free, ok := w.budget.Next(now)
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
		w.unanswered = 0
		w.comeForward(now)
		if flights := w.prepare(ctx, now, header, 1, question.Path != ""); len(flights) > 0 || question.Path == "" {
			return w.writeBlock(ctx, flights)
		}
	}
	permits := w.budget.ReserveFor(now, w.stalls.horizon(), []int64{w.costOf(question)})
	if len(permits) == 0 {
		return nil
	}
	permit := permits[0]
	if sooner := permit.SendAt.Add(probeTimeout); sooner.Before(permit.Deadline) {
		permit.Deadline = sooner
		// One that finds no room must not look as if it had got no reply.
		if last := sooner.Add(-probeTimeout / 8); last.Before(permit.NotAfter) {
			permit.NotAfter = last
		}
	}
	if err := w.ledger.Permit(permit, ""); err != nil {
		w.budget.Void(permit.Number)
		return w.writeBlock(ctx, nil)
	}
	w.probes++
	return w.writeBlock(ctx, []flight{{
		permit: permit, down: w.breaker.Open(), call: connectors.Call{Operation: operationProbe}, request: question, header: header,
	}})
}

// question is the system's harmless request; without a path where it has none.
func (w *worker) question() connectors.Request {
	if prober, ok := w.system.(connectors.Prober); ok {
		return prober.Probe(&w.spec.Spec)
	}
	return connectors.Request{}
}

// byCall reports whether a call is the better question: where the pace leaves
// room for one request in half a second, the first call would come a whole gap
// after the probe that finds the system back. Now and then it is a call in any
// case, since the question may be what never passes: a path that leads to the page
// of a login. Only where the system answers at once: a call may not be cut off as
// soon as a probe may.
func (w *worker) byCall() bool {
	return w.replies && w.flying == 0 && (w.budget.GapAt(1) >= probeEvery || w.unanswered >= questionsInVain)
}
