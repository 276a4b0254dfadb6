package throttledispatcher

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/retryafter"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/outage"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

// settle takes an outcome in: first the permit, then the connector's health,
// then the delivery.
func (w *worker) settle(o outcome) {
	w.flying--
	delete(w.unsent, o.permit.Number)
	now := time.Now()
	if o.isVoid() {
		w.budget.Void(o.permit.Number)
		w.ledger.Void(o.permit.Number)
	} else {
		spent := w.spent(o)
		w.budget.SettleFor(o.permit.Number, o.result.SettledAt, spent)
		w.ledger.Settle(w.settlement(o, spent))
		w.parallel.busy += o.result.At.Sub(o.result.FirstByteAt)
		if o.result.Status != 0 {
			w.replied, w.urgent = true, w.urgent || now.Sub(w.repliedAt) > replyOnRecord
			w.silence.heard(o.result.At, o.result.At.Sub(o.result.FirstByteAt))
		}
	}
	if o.job == nil {
		w.answered(o, now)
	}
	switch {
	case o.wasUnused(), o.foundNoConnection() && w.full():
		w.again(o, now)
	case o.isVoid():
		w.fail(o, now)
		w.again(o, now)
	case o.lookUp:
		w.concludeLookUp(o, now)
	default:
		answer := w.system.Read(&w.spec.Spec, o.call, o.result.Reply)
		w.compare(&o, answer)
		w.watchHealth(o, answer, now)
		if o.job != nil {
			w.conclude(o, answer, now)
		}
	}
}

// again puts a delivery back whose request was never written: no attempt is
// spent.
func (w *worker) again(o outcome, now time.Time) {
	if o.job == nil {
		return
	}
	if !o.lookUp {
		o.job.attempts--
	}
	w.putBack(o, now)
}

// watchHealth learns from an answer how the connector as a whole is doing.
func (w *worker) watchHealth(o outcome, answer connectors.Answer, now time.Time) {
	w.heed(o, answer, now)
	switch {
	case answer.Class == fault.Throttled:
		w.throttle(o, answer, now)
	case answer.Class == fault.Auth:
		w.refuse(o.header, answer, now)
	case o.isOutage(answer):
		if !o.alone {
			w.fail(o, now)
		}
		return
	default:
		w.accept(now)
		w.passed(o, answer)
		w.refusals.Passed(o.sentAt())
	}
	w.replies = true
	since := w.breaker.Since()
	if w.breaker.Success() {
		if o.job != nil {
			// A harmless question may be answered while every call fails; then those that
			// failed before must not come before the others again.
			w.comeBack()
		}
		w.maintenance.Recovered(now)
		w.smallest = boundTogether
		w.log.Info("the external system is back; feeding goes on", "after", now.Sub(since).Round(time.Millisecond), "waiting", w.queue.Len())
	}
}

// fail takes in a sign that the external system is down.
func (w *worker) fail(o outcome, now time.Time) {
	if lasts, _ := w.silence.lasts(now); o.job == nil && !w.breaker.Open() && (o.down || lasts < outageAfter) {
		return // it ends after the outage and says nothing of now, or is the first sign of one
	}
	w.replies = o.result.Status != 0
	switch {
	case o.job == nil:
		w.questions.inVain++
		w.works.Down()
	case o.isVoid():
		w.works.Down()
	default:
		w.works.Failed(o.kind())
		o.job.suspect.Met(o.result.At)
	}
	asked, said := retryafter.Asked(o.result.Header, now)
	if said {
		w.breaker.Rest(now, asked)
	}
	if w.breaker.Failure(now) {
		w.questions.begin(now, w.connections)
		w.works.Down()
		w.recall()
		w.log.Warn("the external system is down; everything for it is kept, and it is asked again and again",
			"status", o.result.Status, "error", o.result.Err, "asks_for", asked)
	}
}

// conclude does with the delivery what the answer asks for.
func (w *worker) conclude(o outcome, answer connectors.Answer, now time.Time) {
	j := o.job
	if !o.isOutage(answer) {
		j.suspect = outage.Suspect{}
	}
	answer, at := w.besideOthers(o, answer, now)
	answer = w.perhapsDone(o, answer)
	if w.inDoubt(o, answer, now) {
		w.putBack(o, now)
		return
	}
	age := time.Duration(0)
	if created := j.delivery.GetCreatedAt(); created != nil && !o.alone {
		// What is bad alone may have waited through an outage of days, which is not its
		// fault.
		age = now.Sub(created.AsTime())
	}
	bounds := retryBounds{maxAttempts: int(w.spec.Spec.Retry.MaxAttempts), maxAge: w.spec.Spec.Retry.MaxAge.Duration}
	act, inDoubt := decide(answer, j.operation.Effect, j.attempts, age, bounds)
	if answer.Class == fault.Auth {
		if w.refusedAlone(j, now) {
			act = actionHold
			w.sign.refused.ends(now)
		}
		// Another one is the next trial.
		at = now.Add(time.Duration(min(j.refusals, refusedForGood)) * time.Second)
	}
	switch act {
	case actionDeliver:
		w.end(o, answer, dispatchv1.Outcome_OUTCOME_DELIVERED)
	case actionConflict:
		w.end(o, answer, dispatchv1.Outcome_OUTCOME_CONFLICT)
	case actionHold:
		w.hold(o, answer.Cause, inDoubt || j.mayBeThere())
	case actionWait:
		j.attempts--
		if answer.Outage {
			w.stepAside(o, now, now)
			return
		}
		if answer.Class == fault.Throttled {
			// The pause is on record apart, and a person may end it.
			w.putBackFor(o, at, now)
			return
		}
		w.putBack(o, at)
	case actionRetry:
		asked := max(0, answer.Wait-at.Sub(now)) // what of it is no pause already
		w.retry(o, answer, at.Add(bounds.wait(w.backoffFor(answer.Class, j.attempts), asked, age)), now)
	}
}

// end closes the delivery with its answer.
func (w *worker) end(o outcome, answer connectors.Answer, how dispatchv1.Outcome) {
	j := o.job
	result := newResult(j.delivery, how)
	result.Revision, result.Reference, result.Value = j.claim.GetOrderRevision(), answer.Reference, answer.Value
	result.Attempts = int32(j.attempts) //nolint:gosec // attempts are bounded by spec.retry
	if how == dispatchv1.Outcome_OUTCOME_CONFLICT {
		result.Cause = causeOf(j.delivery, answer.Cause)
	}
	w.stamp(result, o)
	w.close(j, result, nil)
	w.queue.Done(j.delivery.GetKey())
}

// hold closes the delivery into the Error Hold.
func (w *worker) hold(o outcome, cause fault.Cause, inDoubt bool) {
	result, hold := heldBy(o.job.claim, cause, o.job.attempts, inDoubt)
	w.stamp(result, o)
	w.close(o.job, result, hold)
	w.queue.Done(o.job.delivery.GetKey())
}

// putBack lets a claimed delivery go again, not before at, and records that its
// last attempt is over: without that, an owner after a crash would have to take
// it for in doubt.
func (w *worker) putBack(o outcome, at time.Time) { w.putBackFor(o, at, at) }

// putBackFor is putBack where a new owner is to wait for written.
func (w *worker) putBackFor(o outcome, at, written time.Time) {
	j := o.job
	if err := w.ledger.Claim(j.over(written)); err != nil {
		w.log.Debug("a failed attempt is not on record; after a crash it would count as in doubt", "delivery", j.delivery.GetId(), "error", err)
	} else {
		j.unbind()
	}
	w.waitFor(j, at, written, time.Now())
	if expires := j.delivery.GetExpiresAt(); expires != nil {
		w.expiresAt(expires.AsTime())
	}
}

// stamp writes when the call went out and when its reply was in. issued_at is
// the first byte's time: a figure read by this call is as of no earlier moment.
func (w *worker) stamp(result *dispatchv1.Result, o outcome) {
	result.IssuedAt = timestamppb.New(o.result.FirstByteAt)
	result.SettledAt = timestamppb.New(o.result.SettledAt)
}
