package throttledispatcher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

// boundTogether is how many deliveries are bound side by side.
const boundTogether = 8

// sendBlock sends what is due, once one block holds all of it.
func (w *worker) sendBlock(ctx context.Context, now time.Time) error {
	most := w.room(now)
	if w.sign.onTrial() {
		most = 1
	}
	header, ok := w.signedIn(ctx, now)
	if !ok {
		return nil
	}
	return w.writeBlock(ctx, w.prepare(ctx, now, header, most, false))
}

// prepare binds no more than most of the deliveries whose turn it is, takes their send times,
// and claims them in the next block; harmless leaves out those that must not be
// repeated.
func (w *worker) prepare(ctx context.Context, now time.Time, header http.Header, most int, harmless bool) []flight {
	bound := w.bindSome(ctx, now, most)
	if harmless && len(bound) > 0 && !bound[0].lookUp && bound[0].job.operation.Effect == connectors.EffectOnce {
		w.queue.Retry(bound[0].job.delivery.GetKey(), time.Time{})
		return nil
	}
	permits := w.reserve(bound)
	if len(bound) > 0 {
		w.grant = max(1, len(permits))
	}
	for _, left := range bound[len(permits):] {
		// Not claimed, so that it binds anew to what is newest when its turn comes.
		w.queue.Retry(left.job.delivery.GetKey(), time.Time{})
	}
	flights := make([]flight, 0, len(permits))
	for i, permit := range permits {
		if f, ok := w.claim(bound[i], permit); ok {
			f.header = header
			flights = append(flights, f)
		}
	}
	return flights
}

// bindSome takes deliveries whose turn it is and binds them to their calls; those
// that end without a call are closed here, and others take their place.
func (w *worker) bindSome(ctx context.Context, now time.Time, most int) []prepared {
	most = w.small(min(most, w.expected(now)))
	var bound []prepared
	for ended := 0; len(bound) < most && ended < maxPerBlock; {
		taken := w.takeTurns(ctx, now, most-len(bound))
		if len(taken) == 0 {
			break
		}
		for _, p := range w.bindAll(ctx, taken, now) {
			if w.keepBound(ctx, p, now) {
				bound = append(bound, p)
			} else {
				ended++
			}
		}
	}
	return bound
}

// small bounds the first blocks after an outage, which nothing is sent before: one of all
// that the horizon has takes some 200 ms to bind where what is read has not been for a
// while, and those send times are lost to the pace. So the first is of what is bound side by
// side, and each has the time of the one before.
func (w *worker) small(most int) int {
	if w.smallest == 0 || w.smallest >= most {
		w.smallest = 0
		return most
	}
	most = w.smallest
	w.smallest *= 2
	return most
}

// expected returns how many send times a block begun now will be given, about.
func (w *worker) expected(now time.Time) int {
	gap := w.budget.Gap()
	at, ok := w.budget.NextFor(now, w.nextCost)
	if gap == 0 || !ok {
		return min(2*w.grant+1, maxPerBlock)
	}
	return min(int(now.Add(w.stalls.horizon()).Sub(at)/gap)+1, maxPerBlock)
}

func (w *worker) takeTurns(ctx context.Context, now time.Time, most int) []*job {
	var taken []*job
	for len(taken) < most {
		item, ok := w.queue.Take(now)
		if !ok {
			break
		}
		w.goes(item.Value)
		if item.Value.moving {
			w.queue.Retry(item.Key, now.Add(movingRetry))
			continue
		}
		if until, barred := w.barriers.until(item.Key); barred && now.Before(until) {
			w.wait(item.Value, until, now)
			continue
		}
		delete(w.aside, item.ID)
		w.startSpan(ctx, item.Value)
		taken = append(taken, item.Value)
	}
	return taken
}

// bindAll binds side by side.
func (w *worker) bindAll(ctx context.Context, taken []*job, now time.Time) []prepared {
	all := make([]prepared, len(taken))
	var group errgroup.Group
	group.SetLimit(boundTogether)
	for i, j := range taken {
		group.Go(func() error {
			all[i] = w.bindOne(ctx, j, now)
			return nil
		})
	}
	w.lookedAt(func() { _ = group.Wait() }) // each binding carries its own error
	return all
}

func (w *worker) bindOne(ctx context.Context, j *job, now time.Time) prepared {
	p := prepared{job: j, claim: j.claim, call: j.call}
	if j.claim == nil {
		bounded, cancel := context.WithTimeout(ctx, bindTimeout)
		p = j.renew(w.binder.bind(bounded, j, now))
		cancel()
	}
	if p.claim == nil {
		return p
	}
	operation, ok := w.system.Operations(&w.spec.Spec)[p.call.Operation]
	if !ok {
		cause := fault.Cause{Code: "operation-unknown", Detail: fmt.Sprintf("connector %s has no operation %q", w.spec.Name, p.call.Operation)}
		result, hold := heldBy(p.claim, cause, j.attempts, j.mayBeThere())
		return prepared{job: j, result: result, hold: hold}
	}
	j.operation = operation
	if resolved, instead := w.resolve(p, now); instead {
		return resolved
	}
	request, err := w.system.Request(&w.spec.Spec, p.call)
	if err == nil {
		// What cannot be written is found before it is claimed.
		_, err = newRequest(ctx, w.spec.Spec.Endpoint, request, nil)
	}
	if err != nil {
		result, hold := heldBy(p.claim, fault.Cause{Code: "request-invalid", Detail: err.Error()}, j.attempts, j.mayBeThere())
		return prepared{job: j, result: result, hold: hold}
	}
	p.request = request
	return w.affordable(w.seal(ctx, p))
}

// keepBound reports whether there is a call to make; what ends without one is
// closed or put back.
func (w *worker) keepBound(ctx context.Context, p prepared, now time.Time) bool {
	j := p.job
	if p.err == nil {
		w.leaveUnbound(j.delivery.GetId(), now)
	}
	if w.await(p, now) {
		return false
	}
	switch {
	case p.err != nil:
		if w.unbound.fails(j.delivery.GetId(), now) {
			w.log.WarnContext(ctx, "deliveries cannot be bound to what is stored; they are tried again", "delivery", j.delivery.GetId(),
				"deliveries", len(w.unbound.since), "error", p.err)
		}
		w.queue.Retry(j.delivery.GetKey(), now.Add(w.backoff(1)))
		return false
	case p.drop:
		w.queue.Done(j.delivery.GetKey())
		w.dropMessage(ctx, j)
	case p.result != nil:
		w.close(j, p.result, p.hold)
		w.queue.Done(j.delivery.GetKey())
	case !p.until.IsZero():
		w.wait(j, p.until, now)
		return false
	}
	return !p.drop && p.result == nil
}

// leaveUnbound takes in that a delivery is none that cannot be bound, or none any more.
func (w *worker) leaveUnbound(id string, now time.Time) {
	if lasted, was := w.unbound.binds(id, now); was {
		w.log.Info("deliveries can be bound again", "after", lasted)
	}
}

// claim records the delivery and its permit in the next block. What does not fit
// waits for the block after it, or for a person where it fits into none.
func (w *worker) claim(p prepared, permit budget.Permit) (flight, bool) {
	j := p.job
	id := j.delivery.GetId()
	record := &ledgerv1.Claim{Delivery: &dispatchv1.Delivery{Id: id}}
	if j.claim == nil {
		p.claim.SentAt = timestamppb.New(permit.SendAt)
		record = proto.CloneOf(p.claim)
	}
	record.Permit, record.Attempt = permit.Number, int32(j.attempts+1) //nolint:gosec // attempts are bounded by spec.retry
	record.ArrivedBy = arrivedBy(j)
	if p.lookUp {
		record = j.over(permit.SendAt)
	}
	// The permit first: a claim without its permit would look in doubt after a
	// crash.
	err := w.ledger.Permit(permit, id)
	if err == nil {
		if err = w.ledger.Claim(record); err != nil {
			w.ledger.Void(permit.Number)
		}
	}
	switch {
	case errors.Is(err, ledger.ErrEntryTooLarge):
		w.budget.Void(permit.Number)
		result, hold := heldBy(p.claim, fault.Cause{Code: "payload-too-large", Detail: err.Error()}, j.attempts, j.mayBeThere())
		w.close(j, result, hold)
		w.queue.Done(j.delivery.GetKey())
		return flight{}, false
	case err != nil:
		w.budget.Void(permit.Number)
		w.queue.Retry(j.delivery.GetKey(), time.Time{})
		return flight{}, false
	}
	j.claim, j.call = p.claim, p.call
	if !p.lookUp {
		j.attempts++
		j.permit = permit.Number
	}
	return flight{permit: permit, job: j, call: p.call, request: p.request, lookUp: p.lookUp}, true
}
