package throttledispatcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

// sendBlock binds at most most deliveries whose turn it is, takes their send
// times, and writes both in one block before any of them is sent.
func (w *worker) sendBlock(ctx context.Context, now time.Time, most int) error {
	bound := w.bindSome(ctx, now, most)
	permits := w.budget.Reserve(time.Now(), blockHorizon, len(bound))
	w.grant = max(1, len(permits))
	for _, left := range bound[len(permits):] {
		// Not claimed, so that it binds anew to what is newest when its turn comes.
		w.queue.Retry(left.job.delivery.GetKey(), time.Time{})
	}
	flights := make([]flight, 0, len(permits))
	for i, permit := range permits {
		if f, ok := w.claim(bound[i], permit); ok {
			flights = append(flights, f)
		}
	}
	if len(flights) == 0 && !w.ledger.Pending() {
		return nil
	}
	return w.writeBlock(ctx, flights)
}

// bindSome takes deliveries whose turn it is and binds them to their calls,
// side by side; those that end without a call are closed here.
func (w *worker) bindSome(ctx context.Context, now time.Time, most int) []prepared {
	// A little more than the last block was given, so that the number follows
	// the pace without binding the whole backlog each time.
	most = min(most, 2*w.grant+1, maxPerBlock)
	var taken []*job
	for len(taken) < most {
		item, ok := w.queue.Take(now)
		if !ok {
			break
		}
		taken = append(taken, item.Value)
	}
	all := make([]prepared, len(taken))
	var group errgroup.Group
	group.SetLimit(8)
	for i, j := range taken {
		group.Go(func() error {
			all[i] = w.bindOne(ctx, j, now)
			return nil
		})
	}
	_ = group.Wait() // each binding carries its own error
	bound := all[:0]
	for _, p := range all {
		if w.keepBound(p, now) {
			bound = append(bound, p)
		}
	}
	return bound
}

func (w *worker) bindOne(ctx context.Context, j *job, now time.Time) prepared {
	p := prepared{job: j, claim: j.claim, call: j.call}
	if j.claim == nil {
		p = w.binder.bind(ctx, j, now)
	}
	if p.claim == nil {
		return p
	}
	operation, ok := w.system.Operations(&w.spec.Spec)[p.call.Operation]
	if !ok {
		return holdWithoutCall(j, nil, fault.Cause{Code: "operation-unknown", Detail: fmt.Sprintf("connector %s has no operation %q", w.spec.Name, p.call.Operation)})
	}
	j.operation = operation
	if j.resend && operation.Effect == connectors.EffectOnce {
		result, hold := heldBy(p.claim, fault.Cause{
			Code:   "outcome-unknown",
			Detail: "the dispatcher stopped while this call was under way; look at the other side whether it arrived, since a repetition could double it",
		}, j.attempts, true)
		return prepared{job: j, result: result, hold: hold}
	}
	request, err := w.system.Request(&w.spec.Spec, p.call)
	if err != nil {
		result, hold := heldBy(p.claim, fault.Cause{Code: "request-invalid", Detail: err.Error()}, j.attempts, false)
		return prepared{job: j, result: result, hold: hold}
	}
	p.request = request
	return p
}

// keepBound reports whether there is a call to make; what ends without one is
// closed or put back.
func (w *worker) keepBound(p prepared, now time.Time) bool {
	j := p.job
	switch {
	case p.err != nil:
		w.log.Warn("a delivery could not be bound; it is tried again", "delivery", j.delivery.GetId(), "error", p.err)
		w.queue.Retry(j.delivery.GetKey(), now.Add(w.backoff(1)))
	case p.drop:
		w.queue.Done(j.delivery.GetKey())
		w.dropMessage(j)
	case p.result != nil:
		w.close(j, p.result, p.hold)
	default:
		return true
	}
	return false
}

// claim records the delivery and its permit in the next block. What does not fit
// waits for the block after it, or for a person where it fits into none.
func (w *worker) claim(p prepared, permit budget.Permit) (flight, bool) {
	j := p.job
	id := j.delivery.GetId()
	record := &ledgerv1.Claim{Delivery: &dispatchv1.Delivery{Id: id}}
	if j.claim == nil {
		record = proto.CloneOf(p.claim)
	}
	record.Permit, record.Attempt = permit.Number, int32(j.attempts+1) //nolint:gosec // attempts are bounded by spec.retry
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
		result, hold := heldBy(p.claim, fault.Cause{Code: "payload-too-large", Detail: err.Error()}, j.attempts, false)
		w.close(j, result, hold)
		return flight{}, false
	case err != nil:
		w.budget.Void(permit.Number)
		w.queue.Retry(j.delivery.GetKey(), time.Time{})
		return flight{}, false
	}
	j.claim, j.call = p.claim, p.call
	j.attempts++
	return flight{permit: permit, job: j, call: p.call, request: p.request}, true
}

// writeBlock makes everything known so far durable, and only then starts the
// flights and tells requesters about the closes. An error means that it is not
// known whether the block is there: the worker must start again from the
// ledger, with none of the flights sent.
func (w *worker) writeBlock(ctx context.Context, flights []flight) error {
	now := time.Now()
	block := w.ledger.Build(now, w.budget)
	data, err := proto.Marshal(block)
	if err != nil {
		return fmt.Errorf("connector %s: encoding a ledger block: %w", w.spec.Name, err)
	}
	bounded, cancel := context.WithTimeout(ctx, blockTimeout)
	defer cancel()
	last := w.ledger.LastSequence()
	ack, err := w.config.Bus.Publish(bounded, bus.Message{Subject: bus.LedgerSubject(w.spec.Name), Data: data, ExpectLast: &last})
	if bus.IsConflict(err) {
		return fmt.Errorf("connector %s: another dispatcher wrote its ledger; starting again from what it wrote: %w", w.spec.Name, err)
	}
	if err != nil {
		return fmt.Errorf("connector %s: writing a ledger block: %w", w.spec.Name, err)
	}
	w.ledger.Committed(ack.Sequence)
	w.lastBlock = time.Now()
	for _, f := range flights {
		w.launch(ctx, f)
	}
	for _, closing := range block.GetCloses() {
		w.publishClose(ctx, closing)
	}
	return nil
}
