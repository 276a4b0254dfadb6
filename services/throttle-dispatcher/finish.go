package throttledispatcher

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

const (
	// finishRetry is the pause between attempts to publish a result while the bus
	// is away.
	finishRetry = 500 * time.Millisecond
	ackTimeout  = 2 * time.Second
)

// close ends a delivery: the next block makes it durable, and then its result
// is published and its message acknowledged. The caller takes it out of the
// queue; the next delivery of its key may be claimed in the same block already.
func (w *worker) close(j *job, result *dispatchv1.Result, hold *dispatchv1.Hold) {
	id := j.delivery.GetId()
	w.goes(j)
	w.leaveUnbound(id, time.Now())
	if hold != nil {
		hold.HeldAt = timestamppb.Now()
		w.log.Warn("a delivery goes to the Error Hold; all others go on", "delivery", id, "order", hold.GetOrderName(),
			"operation", j.delivery.GetOperation(), "cause", hold.GetCause().GetCode(), "detail", hold.GetCause().GetDetail(), "in_doubt", hold.GetInDoubt())
	}
	closing := &ledgerv1.Close{Result: result, Hold: hold, KeyFreeAt: w.bar(j)}
	err := ledger.Fits(closing)
	if err == nil {
		err = w.ledger.Close(onRecord(closing, j.operation.Effect))
	}
	if err != nil {
		// Only a query's value grows that large; its requester has to ask for less.
		w.log.Error("the answer to a query is larger than a ledger entry may be; its requester gets none", "delivery", id, "error", err)
		result.Value, result.Outcome = nil, dispatchv1.Outcome_OUTCOME_HELD
		result.Cause = &dispatchv1.Cause{Code: "result-too-large", Detail: err.Error()}
		if err := w.ledger.Close(closing); err != nil {
			w.log.Error("a delivery could not be closed; it comes again after the next start", "delivery", id, "error", err)
		}
	}
	w.closed[id] = closing
	// It may wait for the store for seconds, beside thousands of others.
	j.claim, j.givenUp, j.call = nil, nil, connectors.Call{}
	delete(w.open, id)
	delete(w.aside, id)
}

// onRecord is what the ledger is to know of a close: an answer that its requester needs for
// minutes would be there for a month, and a poll's pages were most of the ledger. Who asks
// again for a query that has lost its answer does no harm; other values stay.
func onRecord(closing *ledgerv1.Close, effect connectors.Effect) *ledgerv1.Close {
	result := closing.GetResult()
	if result.GetTtl() == nil || result.GetValue() == nil || effect != connectors.EffectNone {
		return closing
	}
	record := &ledgerv1.Close{Result: proto.CloneOf(result), Hold: closing.GetHold(), KeyFreeAt: closing.GetKeyFreeAt(), ValueLeftOut: true}
	record.Result.Value = nil
	return record
}

// lostAnswer is the result of a query whose owner died between the ledger, which has no
// value, and RESULT: it is asked again by whoever still wants to know.
func lostAnswer(result *dispatchv1.Result) *dispatchv1.Result {
	lost := proto.CloneOf(result)
	lost.Outcome = dispatchv1.Outcome_OUTCOME_EXPIRED
	lost.Cause = &dispatchv1.Cause{Code: "answer-lost", Detail: "the throttle-dispatcher ended before it could pass the answer on; ask again"}
	return lost
}

// publishClose tells the requester, and the Error Hold, what became of a closed
// delivery, and then acknowledges its message. It goes on until the bus has
// taken it or the worker ends; then the ledger brings it back.
func (w *worker) publishClose(ctx context.Context, closing *ledgerv1.Close) {
	id := closing.GetResult().GetDeliveryId()
	j := w.jobs[id]
	if j == nil {
		// Closed by an earlier owner: its message has not come again yet.
		return
	}
	w.tellers.do(&w.finishers, func() { w.finish(ctx, j, closing) })
}

func (w *worker) finish(ctx context.Context, j *job, closing *ledgerv1.Close) {
	id := closing.GetResult().GetDeliveryId()
	if j.span != nil {
		ctx = trace.ContextWithSpan(ctx, j.span)
		defer j.span.End()
	}
	publish := w.publishOnce
	if j.restored {
		publish = w.publishUnlessThere
	}
	published := false
	if !w.insist(ctx, id, func() error {
		if !published {
			if err := publish(ctx, closing); err != nil {
				return err
			}
			published = true
		}
		w.finishing <- struct{}{}
		defer func() { <-w.finishing }()
		return w.acknowledge(ctx, j)
	}) {
		return
	}
	select {
	case w.finished <- id:
	case <-ctx.Done():
	}
}

// insist repeats what fails because the bus is away; false where the worker ended
// before it was done.
func (w *worker) insist(ctx context.Context, id string, do func() error) bool {
	for {
		err := do()
		if err == nil {
			break
		}
		if ctx.Err() == nil && w.unpublished.CompareAndSwap(false, true) {
			w.log.WarnContext(ctx, "results cannot be published; they are tried again until they can", "delivery", id, "error", err)
		}
		select {
		case <-time.After(finishRetry):
		case <-ctx.Done():
			return false
		}
	}
	if w.unpublished.CompareAndSwap(true, false) {
		w.log.InfoContext(ctx, "results can be published again", "delivery", id)
	}
	return true
}

// acknowledge takes the delivery out of its place. An acknowledgment of a message
// that comes again meanwhile is not answered; the newest one's is.
func (w *worker) acknowledge(ctx context.Context, j *job) error {
	if j.message.Load() != nil {
		return w.acknowledgeMessage(ctx, j)
	}
	return w.records.Remove(ctx, bus.StreamWaiting, bus.WaitingSubject(w.name, j.delivery.GetKey(), j.delivery.GetId()))
}

// acknowledgeMessage takes the delivery out of its lane, where it is in one.
func (w *worker) acknowledgeMessage(ctx context.Context, j *job) error {
	m := j.message.Load()
	if m == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	return w.records.Ack(ctx, m)
}

func (w *worker) publishOnce(ctx context.Context, closing *ledgerv1.Close) error {
	result := closing.GetResult()
	if hold := closing.GetHold(); hold != nil {
		if err := w.publishHold(ctx, hold, result); err != nil {
			return err
		}
	}
	return w.publishResult(ctx, result)
}

func (w *worker) publishHold(ctx context.Context, hold *dispatchv1.Hold, result *dispatchv1.Result) error {
	w.finishing <- struct{}{}
	defer func() { <-w.finishing }()
	return w.publishNew(ctx, bus.StreamErrorHold, bus.HoldSubject(result.GetConnector(), result.GetKey(), result.GetDeliveryId()), hold)
}

// publishUnlessThere is for what an earlier owner closed and may have published:
// its hold may have been released since, and must not come back.
func (w *worker) publishUnlessThere(ctx context.Context, closing *ledgerv1.Close) error {
	result := closing.GetResult()
	w.finishing <- struct{}{} // after a restart there may be thousands
	_, err := w.records.Last(ctx, bus.StreamResult, bus.ResultSubject(result.GetRequester(), result.GetDeliveryId()))
	<-w.finishing
	switch {
	case errors.Is(err, bus.ErrNotFound) && closing.GetValueLeftOut():
		return w.publishResult(ctx, lostAnswer(result))
	case errors.Is(err, bus.ErrNotFound):
		return w.publishOnce(ctx, closing)
	}
	return err
}

// publishResult publishes a result, together with others.
func (w *worker) publishResult(ctx context.Context, result *dispatchv1.Result) error {
	m, err := unique(ctx, bus.ResultSubject(result.GetRequester(), result.GetDeliveryId()), result)
	if err != nil {
		return err
	}
	m.TTL = max(0, result.GetTtl().AsDuration())
	if m.TTL < time.Second {
		m.TTL = 0 // less is no time that the bus knows
	}
	if err = w.results.publish(ctx, m); bus.IsConflict(err) {
		// A whole batch asks, if its answer was lost.
		w.finishing <- struct{}{}
		defer func() { <-w.finishing }()
		_, err = bus.Instead(ctx, w.records, bus.StreamResult, m, err)
	}
	return err
}

// publishNew publishes what must be there once; that it is there already is
// success.
func (w *worker) publishNew(ctx context.Context, stream, subject string, message proto.Message) error {
	m, err := unique(ctx, subject, message)
	if err != nil {
		return err
	}
	if _, err = w.records.Publish(ctx, m); bus.IsConflict(err) {
		_, err = bus.Instead(ctx, w.records, stream, m, err)
	}
	return err
}

// unique is a record of which there is to be one, with the trace of ctx: those that
// it is published with are of others.
func unique(ctx context.Context, subject string, record proto.Message) (bus.Message, error) {
	data, err := proto.Marshal(record)
	return bus.Message{Subject: subject, Header: telemetry.Inject(ctx), Data: data, ExpectLast: bus.Sequence(0)}, err
}

// dropMessage acknowledges the message of a delivery that was closed before.
func (w *worker) dropMessage(ctx context.Context, j *job) {
	id := j.delivery.GetId()
	if j.span != nil {
		j.span.End()
	}
	if j.waiting {
		w.finishers.Go(func() {
			if w.insist(ctx, id, func() error { return w.acknowledge(ctx, j) }) {
				select {
				case w.finished <- id:
				case <-ctx.Done():
				}
			}
		})
		return
	}
	delete(w.jobs, id)
	if err := j.message.Load().AckAsync(); err != nil {
		w.log.WarnContext(ctx, "a message of a closed delivery could not be acknowledged; it comes again", "delivery", id, "error", err)
	}
}

// forget ends the memory of a delivery that has left its place.
func (w *worker) forget(id string) {
	if j := w.jobs[id]; j != nil && j.waiting {
		w.away--
	}
	delete(w.jobs, id)
	delete(w.closed, id)
	if !w.barriers.needs(id) {
		w.ledger.Acked(id)
	}
}

// drain ends the work in order: calls under way come home, what became of them
// is recorded and published.
func (w *worker) drain(ctx context.Context) error {
	w.recall()
	grace := time.NewTimer(w.patience())
	defer grace.Stop()
	for w.flying > 0 {
		select {
		case o := <-w.outcomes:
			w.settle(o)
		case id := <-w.finished:
			w.forget(id)
		case id := <-w.moved:
			w.hasMoved(id)
		case <-grace.C:
			w.log.WarnContext(ctx, "calls were still under way at the end of the grace period; their outcomes are looked at on the next start",
				"calls", w.flying)
			return w.flush(ctx)
		}
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	published := make(chan struct{})
	go func() {
		w.finishers.Wait()
		close(published)
	}()
	for {
		select {
		case id := <-w.finished:
			w.forget(id)
		case id := <-w.moved:
			w.hasMoved(id)
		case <-published:
			return nil
		case <-grace.C:
			return nil
		}
	}
}

// flush writes what is known; a block may leave closes for the next one.
func (w *worker) flush(ctx context.Context) error {
	for w.ledger.Pending() {
		if err := w.writeBlock(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// awaitCalls takes the outcomes that a canceled context brings in, so that no
// goroutine stays behind. They are not recorded: to the ledger these calls are
// in doubt, which is the truth.
func (w *worker) awaitCalls() {
	for w.flying > 0 {
		<-w.outcomes
		w.flying--
	}
	w.finishers.Wait()
}
