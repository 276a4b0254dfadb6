package throttledispatcher

import (
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/doubt"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

// takeUp goes on with a claim that an earlier owner left, and returns when it may
// go. Without a next attempt on record its call may have been under way.
func (j *job) takeUp(claim *ledgerv1.Claim) (notBefore time.Time) {
	j.claim, j.call, j.attempts, j.permit = claim, recalled(claim), int(claim.GetAttempt()), claim.GetPermit()
	if by := claim.GetArrivedBy(); by != nil {
		j.doubt.Remains(by.AsTime())
	}
	next := claim.GetNextAttemptAt()
	if next == nil {
		return time.Time{}
	}
	j.unbind()
	return next.AsTime()
}

// over is the record of a claim whose newest attempt is over, and that goes on at
// that time.
func (j *job) over(next time.Time) *ledgerv1.Claim {
	return &ledgerv1.Claim{
		Delivery: &dispatchv1.Delivery{Id: j.delivery.GetId()},
		Permit:   j.permit, Attempt: int32(j.attempts), //nolint:gosec // attempts are bounded by spec.retry
		NextAttemptAt: timestamppb.New(next), ArrivedBy: arrivedBy(j),
	}
}

func arrivedBy(j *job) *timestamppb.Timestamp { return timestampOf(j.doubt.ArrivedBy()) }

// lookup is the question what became of the delivery's call.
func (j *job) lookup() connectors.Lookup {
	since := j.claim.GetSentAt()
	if since == nil {
		since = j.delivery.GetCreatedAt()
	}
	if since == nil {
		return connectors.Lookup{Call: j.call}
	}
	return connectors.Lookup{Call: j.call, Since: since.AsTime()}
}

// factsOf returns what decides about a delivery in doubt.
func (w *worker) factsOf(j *job) doubt.Facts {
	facts := doubt.Facts{
		Effect: j.operation.Effect, Horizon: j.operation.CommitHorizon, Overwrites: j.operation.Overwrites,
		MostUnanswered: int(w.spec.Spec.Retry.MaxAttempts),
	}
	if j.doubt.Open() {
		facts.Findable = w.canFind(j)
	}
	return facts
}

// find returns the request that looks the delivery's effect up.
func (w *worker) find(j *job) (connectors.Request, bool) {
	finder, ok := w.system.(connectors.Finder)
	if !ok {
		return connectors.Request{}, false
	}
	return finder.Find(&w.spec.Spec, j.lookup())
}

func (w *worker) canFind(j *job) bool {
	_, ok := w.find(j)
	return ok
}

// inDoubt takes in what an answer says about the doubt over a delivery. It returns
// true where its effect is looked up next.
func (w *worker) inDoubt(o outcome, answer connectors.Answer, now time.Time) bool {
	j := o.job
	switch {
	case answer.Class == fault.Unknown && j.operation.Effect != connectors.EffectNone:
		j.doubt.Arises(o.result.SettledAt)
	case answer.Class == fault.AlreadyDone && w.canFind(j):
		j.doubt.Claimed(o.result.SettledAt)
	default:
		j.doubt.Known()
	}
	action, _ := j.doubt.Next(now, w.factsOf(j))
	if action != doubt.LookUp {
		return false
	}
	w.log.Warn("a call may have had its effect; it is looked up before anything is sent for it again, and what follows in its key waits",
		"delivery", j.delivery.GetId(), "operation", j.delivery.GetOperation(), "cause", answer.Cause.Code, "detail", answer.Cause.Detail)
	return true
}

// mayBeThere reports whether an earlier attempt may have had its effect, whatever
// became of the newest: a person who only sees that one refused would send it
// again.
func (j *job) mayBeThere() bool {
	return j.operation.Effect != connectors.EffectNone && !j.doubt.ArrivedBy().IsZero()
}

// perhapsDone reads a conflict (409) that a repetition meets anew: after an attempt
// whose outcome is unknown it may be that attempt which is in the way, still under
// way or done, and so it refuses nothing. It is not looked up: that a record is there
// does not say which edit of it.
func (w *worker) perhapsDone(o outcome, answer connectors.Answer) connectors.Answer {
	j := o.job
	if o.result.Status != http.StatusConflict || answer.Class != fault.Permanent || j.operation.Effect != connectors.EffectIdempotent || !j.mayBeThere() {
		return answer
	}
	answer.Class = fault.Unknown
	return answer
}

// resolve says what to do instead of sending, for a delivery that is in doubt.
func (w *worker) resolve(p prepared, now time.Time) (instead prepared, ok bool) {
	j := p.job
	action, until := j.doubt.Next(now, w.factsOf(j))
	switch action {
	case doubt.Send:
		return p, false
	case doubt.Wait:
		p.until = until
		return p, true
	case doubt.LookUp, doubt.Park, doubt.Deliver:
	}
	why := "there is no way to look it up"
	if request, ok := w.find(j); ok {
		if action == doubt.LookUp {
			p.request, p.lookUp = request, true
			return p, true
		}
		why = "look-ups give no answer"
	}
	result, hold := heldBy(p.claim, fault.Cause{
		Code:   "outcome-unknown",
		Detail: "this call may have arrived, and " + why + "; look at the other side whether it did, since a repetition could double it",
	}, j.attempts, true)
	return prepared{job: j, result: result, hold: hold}, true
}

// concludeLookUp does with a delivery what its look-up found.
func (w *worker) concludeLookUp(o outcome, now time.Time) {
	j := o.job
	finder, ok := w.system.(connectors.Finder)
	if !ok { // it was one when it asked
		w.putBack(o, j.doubt.Unanswered(now, false))
		return
	}
	finding := finder.ReadFound(&w.spec.Spec, j.lookup(), o.result.Reply)
	w.compare(&o, finding.Answer)
	w.watchHealth(o, finding.Answer, now)
	switch {
	case finding.Class == fault.Auth && w.refusedAlone(j, now):
		// The credentials may send and may not look: it would pause the connector
		// again and again.
		w.sign.refused.ends(now)
		w.hold(o, fault.Cause{
			Code: "outcome-unknown", Status: finding.Cause.Status,
			Detail: "this call may have arrived, and the credentials may not look it up; look at the other side whether it did, " +
				"since a repetition could double it",
		}, true)
		return
	case finding.Class != fault.OK:
		down := o.repliesAsDown(finding.Answer) && !o.alone
		excused := finding.Class == fault.Throttled && !o.refusal.Passed || finding.Class == fault.Auth || down || w.breaker.Open()
		next := j.doubt.Unanswered(now, excused)
		if down {
			w.stepAside(o, next, now)
			return
		}
		if finding.Class == fault.Throttled {
			w.putBackFor(o, latest(next, w.afterThrottle(o, now)), next)
			return
		}
		w.putBack(o, next)
		return
	}
	action, until := j.doubt.Answered(finding.Presence, o.result.FirstByteAt, now, w.factsOf(j))
	id := j.delivery.GetId()
	switch action {
	case doubt.Deliver:
		w.log.Info("a call whose outcome was unknown is found to have arrived", "delivery", id, "reference", finding.Reference)
		w.end(o, finding.Answer, dispatchv1.Outcome_OUTCOME_DELIVERED)
	case doubt.Send:
		if j.attempts >= int(w.spec.Spec.Retry.MaxAttempts) {
			w.hold(o, fault.Cause{Code: "never-arrived", Detail: "its outcome was unknown time and again, and it is not there for certain"}, false)
			return
		}
		w.log.Info("a call whose outcome was unknown is not there and cannot come any more; it is sent again", "delivery", id)
		w.putBack(o, now)
	case doubt.Wait, doubt.LookUp, doubt.Park:
		w.putBack(o, until)
	}
}
