package throttledispatcher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/doubt"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/outage"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// job is one delivery at this connector, from its arrival in DISPATCH to the
// acknowledgment of its message.
type job struct {
	place

	delivery *dispatchv1.Delivery
	// message is the newest of the messages that asked for it: it may come again
	// while its close is being published.
	message atomic.Pointer[bus.Incoming]
	// claim is nil until the delivery is bound to a payload, and again once its
	// attempts had no effect for certain; while there is one, every attempt repeats it.
	claim *ledgerv1.Claim
	// givenUp is the claim on record that binds nothing any more.
	givenUp   *ledgerv1.Claim
	call      connectors.Call
	operation connectors.Operation
	attempts  int
	// restored: an earlier owner closed it.
	restored bool
	// permit is that of the newest attempt.
	permit int64
	// doubt is what is unknown about its attempts.
	doubt doubt.Doubt
	// refusals counts the times that credentials were refused for it, the first at
	// refusedAt.
	refusals  int
	refusedAt time.Time
	// suspect counts its replies that look like an outage; asideUntil is how long it
	// stepped aside for the newest.
	suspect    outage.Suspect
	asideUntil time.Time
	// refused are the times in a row that it was throttled.
	refused feedback.OwnRefusals
	span    trace.Span
}

// prepared is what late binding made of a delivery: a claim to send, or its end
// without a call.
type prepared struct {
	job   *job
	claim *ledgerv1.Claim
	call  connectors.Call
	// request is what the call writes.
	request connectors.Request
	// result is set where no call is needed.
	result *dispatchv1.Result
	hold   *dispatchv1.Hold
	// lookUp: request asks what became of an earlier attempt.
	lookUp bool
	// until is set where it has to wait.
	until time.Time
	// awaits: it waits for a change of the catalog.
	awaits awaited
	// drop: the delivery is closed already; only its message is left over.
	drop bool
	err  error
}

// binder maps deliveries to calls at the moment of their claim.
type binder struct {
	records records
	catalog Catalog
	shards  int
}

// bind reads what the delivery refers to and makes the call from it. It returns
// an err only for what passes by itself (the bus is away); what is wrong with
// the delivery becomes a hold.
func (b binder) bind(ctx context.Context, j *job, now time.Time) prepared {
	d := j.delivery
	// RESULT remembers every closed delivery for a week. A requester that
	// crashed between its state and its acknowledgment publishes a delivery
	// again, perhaps long after it was closed here.
	_, err := b.records.Last(ctx, bus.StreamResult, bus.ResultSubject(d.GetRequester(), d.GetId()))
	switch {
	case err == nil:
		return prepared{job: j, drop: true}
	case !errors.Is(err, bus.ErrNotFound):
		return prepared{job: j, err: fmt.Errorf("looking for the result of delivery %s: %w", d.GetId(), err)}
	}
	if expires := d.GetExpiresAt(); expires != nil && !now.Before(expires.AsTime()) {
		return prepared{job: j, result: newResult(d, dispatchv1.Outcome_OUTCOME_EXPIRED)}
	}
	if step := d.GetOrderStep(); step != nil {
		return b.bindStep(ctx, j, step)
	}
	return prepared{job: j, claim: newClaim(d, d.GetId(), nil, nil), call: connectors.Call{
		Operation: d.GetOperation(), IdempotencyKey: idempotencyKey(d), Arguments: d.GetArguments(),
	}}
}

func (b binder) bindStep(ctx context.Context, j *job, step *dispatchv1.OrderStep) prepared {
	d := j.delivery
	record, err := b.records.Last(ctx, bus.OrderStream(bus.OrderShard(d.GetKey(), b.shards)), bus.OrderStateSubject(d.GetKey()))
	if errors.Is(err, bus.ErrNotFound) {
		return holdWithoutCall(j, nil, fault.Cause{Code: "order-missing", Detail: "the order's state is not in the store"})
	}
	if err != nil {
		return prepared{job: j, err: fmt.Errorf("reading the order of delivery %s: %w", d.GetId(), err)}
	}
	state := &orderv1.State{}
	if err := proto.Unmarshal(record.Data, state); err != nil {
		return holdWithoutCall(j, nil, fault.Cause{Code: "order-unreadable", Detail: err.Error()})
	}
	when, mapping, ok := b.catalog.Step(step.GetFlow(), step.GetStep())
	if !ok {
		return unwanted(j, state, awaitedStep)
	}
	// The condition held when the order was taken; what waited for hours may
	// have been cancelled or refunded since.
	if when != nil {
		wanted, err := when.Eval(state.GetOrder())
		if err != nil {
			return holdWithoutCall(j, state, fault.Cause{Code: "condition-failed", Detail: err.Error()})
		}
		if !wanted {
			return unwanted(j, state, awaitedCondition)
		}
	}
	if !when.OfCancelled() && order.Annuls(state, step.GetFlow(), step.GetStep(), d.GetConnector()) {
		result := newResult(d, dispatchv1.Outcome_OUTCOME_SKIPPED)
		result.Revision = state.GetRevision()
		result.Cause = &dispatchv1.Cause{Code: order.CauseCancelled, Detail: "the order was cancelled before " + d.GetConnector() + " had any of it"}
		return prepared{job: j, result: result}
	}
	externalID := order.ExternalID(state.GetOrder().GetSource(), state.GetOrder().GetId())
	payload, err := mapping.Eval(state.GetOrder(), externalID)
	if err != nil {
		return holdWithoutCall(j, state, fault.Cause{Code: "mapping-failed", Detail: err.Error()})
	}
	return prepared{
		job:   j,
		claim: newClaim(d, externalID, state, payload),
		call:  orderCall(d, externalID, payload),
	}
}

func orderCall(d *dispatchv1.Delivery, externalID string, payload []byte) connectors.Call {
	return connectors.Call{
		Operation: d.GetOperation(), ExternalID: externalID,
		IdempotencyKey: idempotencyKey(d), Payload: payload,
	}
}

// recalled returns the call that an earlier owner claimed, as it was.
func recalled(claim *ledgerv1.Claim) connectors.Call {
	d := claim.GetDelivery()
	if d.GetOrderStep() != nil {
		return orderCall(d, claim.GetExternalId(), claim.GetPayload())
	}
	return connectors.Call{Operation: d.GetOperation(), IdempotencyKey: idempotencyKey(d), Arguments: d.GetArguments()}
}

func newClaim(d *dispatchv1.Delivery, externalID string, state *orderv1.State, payload []byte) *ledgerv1.Claim {
	claim := &ledgerv1.Claim{Delivery: d, ExternalId: externalID, Payload: payload}
	if payload != nil {
		hash := sha256.Sum256(payload)
		claim.PayloadHash = hash[:]
	}
	if state != nil {
		claim.OrderRevision = state.GetRevision()
		claim.OrderName = state.GetOrder().GetName()
	}
	return claim
}

func holdWithoutCall(j *job, state *orderv1.State, cause fault.Cause) prepared {
	claim := newClaim(j.delivery, "", state, nil)
	result, hold := heldBy(claim, cause, 0, false)
	return prepared{job: j, result: result, hold: hold}
}

func newResult(d *dispatchv1.Delivery, outcome dispatchv1.Outcome) *dispatchv1.Result {
	return &dispatchv1.Result{
		DeliveryId: d.GetId(), Connector: d.GetConnector(), Key: d.GetKey(),
		Operation: d.GetOperation(), Requester: d.GetRequester(), Outcome: outcome, Event: d.GetEvent(), Ttl: d.GetResultTtl(),
	}
}

// heldBy returns the end of a delivery that a person has to look at; no hold where its
// requester keeps one.
func heldBy(claim *ledgerv1.Claim, cause fault.Cause, attempts int, inDoubt bool) (*dispatchv1.Result, *dispatchv1.Hold) {
	d := claim.GetDelivery()
	why := causeOf(d, cause)
	result := newResult(d, dispatchv1.Outcome_OUTCOME_HELD)
	result.Cause, result.Attempts, result.Revision = why, int32(attempts), claim.GetOrderRevision() //nolint:gosec // attempts are bounded by spec.retry
	if d.GetHeldByRequester() && connectors.AsksSource(d.GetOperation()) {
		return result, nil
	}
	// Where a hold was released since, the result says so for as long as any.
	result.Ttl = nil
	return result, &dispatchv1.Hold{
		Delivery: d, Cause: why, OrderName: claim.GetOrderName(), OrderRevision: claim.GetOrderRevision(),
		Attempts: int32(attempts), PayloadHash: claim.GetPayloadHash(), InDoubt: inDoubt, //nolint:gosec // as above
		Event: d.GetEvent(),
	}
}

func causeOf(d *dispatchv1.Delivery, cause fault.Cause) *dispatchv1.Cause {
	return &dispatchv1.Cause{
		Code: cause.Code, Detail: cause.Detail, Status: int32(cause.Status), //nolint:gosec // an HTTP status has three digits
		Fingerprint: fault.Fingerprint(d.GetConnector(), d.GetOperation(), cause),
	}
}

// idempotencyKey returns a UUID that is the same for every attempt at one payload
// of a delivery: RFC 9562 version 8, made from the id's SHA-256. Another payload
// has another one, since systems refuse a key that comes with another payload.
func idempotencyKey(d *dispatchv1.Delivery) string {
	name := d.GetId()
	if n := d.GetRenewals(); n > 0 {
		name = fmt.Sprintf("%s~%d", name, n)
	}
	sum := sha256.Sum256([]byte(name))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
