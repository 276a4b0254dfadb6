package throttledispatcher

import (
	"time"

	"github.com/peppasync/peppasync/services/connectors"
)

// throttledToldEvery is how often at most the log hears of calls that were throttled for
// no time.
const throttledToldEvery = time.Minute

// throttle closes the connector for as long as the external system asked, longer and
// longer while it refuses everything and asks for nothing, and lowers its pace. A refusal
// that is the delivery's own trouble does nothing of that.
func (w *worker) throttle(o outcome, answer connectors.Answer, now time.Time) {
	if o.job == nil {
		w.passing.Throttled(o.result.At)
	}
	if o.ownTrouble {
		return
	}
	wait := w.refusals.Pause(o.sentAt(), o.result.At, now, answer.Wait, answer.WaitSaid, w.random)
	w.pace.Throttled(o.sentAt(), now, now.Add(wait), w.others.Part(now))
	// Calls that were under way together are refused together.
	if !now.Before(w.budget.ClosedUntil()) {
		w.tellThrottled(wait, answer.Cause.Detail, now)
	}
	w.pauseUntil(now.Add(wait), throttledBecause(answer, wait))
}

// tellThrottled tells the log of a throttled reply: each pause, and now and then those
// that ask for none, of which a second may hold many.
func (w *worker) tellThrottled(wait time.Duration, detail string, now time.Time) {
	if wait > 0 {
		w.log.Warn("the external system throttled a call; the connector pauses and then goes on at a part of its pace",
			"wait", wait, "until", now.Add(wait), "part", w.part(now), "detail", detail, "end_it_with", w.howToReopen())
		return
	}
	if w.toldThrottled.IsZero() || now.Sub(w.toldThrottled) >= throttledToldEvery {
		w.toldThrottled = now
		w.log.Warn("the external system throttled a call and asks for no wait; the connector goes on, at a part of its pace",
			"part", w.part(now), "detail", detail)
	}
}

// compareRefusal takes in a throttled reply to a delivery, whose own trouble it may be.
// A wait that the system names is heeded for longer than the one that is taken where it
// names none.
func (w *worker) compareRefusal(o *outcome, answer connectors.Answer, kinds []string) {
	j := o.job
	o.refusal = w.passing.Refused(&j.refused, o.result.At, kinds...)
	o.alone = o.refusal.Alone
	o.ownTrouble = o.alone && (answer.Wait <= 0 || o.refusal.Surely)
	// After the first it only lets another go before it; from the second on it stands
	// behind all: the oldest would be the first after each pause, and more than one of
	// them would leave no turn to others.
	j.behind = j.behind || o.refusal.Times > 1
}

// afterThrottle returns when a delivery that was throttled may go again: so long after
// the pause that another goes before it, if one waits. What is alone with it, while
// none passes, does so ever later.
func (w *worker) afterThrottle(o outcome, now time.Time) time.Time {
	resumes := latest(now, w.budget.ClosedUntil())
	switch {
	case o.refusal.Alone && !o.refusal.Passed:
		return resumes.Add(w.backoff(o.refusal.Times))
	case o.refusal.Alone || w.queue.Len() < 2:
		return resumes
	}
	return resumes.Add(max(w.budget.Gap(), probeEvery))
}
