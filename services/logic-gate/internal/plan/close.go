package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

// Closing is what a result did to the state.
type Closing int

const (
	// ClosingUnknown: the order never asked for that delivery.
	ClosingUnknown Closing = iota
	// ClosingRepeated: the state knew it. Nothing changed.
	ClosingRepeated
	// ClosingDone: the delivery was closed or held by it.
	ClosingDone
)

// Expected says whether an outcome is one that a step of a flow can have. The
// others are for calls that expire or compare; a step that comes back with one
// is held, because nothing else would ever look at it.
func Expected(outcome dispatchv1.Outcome) bool {
	switch outcome {
	case dispatchv1.Outcome_OUTCOME_DELIVERED, dispatchv1.Outcome_OUTCOME_HELD, dispatchv1.Outcome_OUTCOME_SKIPPED:
		return true
	default:
		return false
	}
}

// Close returns the state after a result: the delivery closed or held, waiting
// follow-ups that are delivered by it superseded, and what waited for it open.
// The same result again changes nothing, and neither does an older one of the
// same delivery: delivered is final, skipped gives way only to delivered, and
// held to both, when a person has released or dropped it.
func Close(state *orderv1.State, result *dispatchv1.Result) (*orderv1.State, Closing) {
	known := byDispatchID(state, result.GetDeliveryId())
	if known == nil {
		if wasReleased(state, result.GetDeliveryId()) || wasPruned(state, result.GetDeliveryId()) {
			return state, ClosingRepeated
		}
		return state, ClosingUnknown
	}
	status := statusOf(result.GetOutcome())
	if rank(status) <= rank(known.GetStatus()) {
		return state, ClosingRepeated
	}
	next := proto.CloneOf(state)
	d := find(next, known.GetId())
	d.Status = status
	d.SettledAt = result.GetSettledAt()
	d.Reference = result.GetReference()
	d.Cause = describe(result)
	d.CancelledOut = status == orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED && result.GetCause().GetCode() == order.CauseCancelled
	if status == orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED {
		d.DeliveredRevision = result.GetRevision()
		if d.GetDeliveredRevision() == 0 {
			d.DeliveredRevision = d.GetRevision()
		}
		supersede(next, d)
	}
	release(next)
	return next, ClosingDone
}

// supersede closes the follow-up that d has made needless; there are two where one
// was let out of the Error Hold ahead of the other. One for a newer revision than
// was delivered stays: the order changed after d was mapped.
func supersede(state *orderv1.State, d *orderv1.Delivery) {
	for _, follower := range state.GetDeliveries() {
		if !isOf(follower, d.GetFlow(), d.GetStep()) || !isWaiting(follower) || follower.GetRevision() > d.GetDeliveredRevision() {
			continue
		}
		follower.Status = orderv1.DeliveryStatus_DELIVERY_STATUS_SUPERSEDED
		follower.Cause = fmt.Sprintf("%s has delivered revision %d", d.GetId(), d.GetDeliveredRevision())
	}
}

func byDispatchID(state *orderv1.State, id string) *orderv1.Delivery {
	for _, d := range state.GetDeliveries() {
		if order.DispatchIDOf(state.GetKey(), d) == id {
			return d
		}
	}
	return nil
}

// wasReleased says whether a delivery was let out of the Error Hold and goes under
// another id since.
func wasReleased(state *orderv1.State, id string) bool {
	key, deliveryID, err := order.SplitDispatchID(id)
	if err != nil || key != state.GetKey() {
		return false
	}
	return find(state, deliveryID).GetReleased() > 0
}

// wasPruned says whether a delivery that is not in the state can have been in
// it: its step has been asked for something since.
func wasPruned(state *orderv1.State, id string) bool {
	key, deliveryID, err := order.SplitDispatchID(id)
	if err != nil || key != state.GetKey() {
		return false
	}
	revision, err := strconv.ParseInt(deliveryID[strings.LastIndexByte(deliveryID, '.')+1:], 10, 64)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(state.GetDeliveries(), func(d *orderv1.Delivery) bool {
		return revision < d.GetRevision() && order.DeliveryID(d.GetFlow(), d.GetStep(), revision) == deliveryID
	})
}

func statusOf(outcome dispatchv1.Outcome) orderv1.DeliveryStatus {
	switch outcome {
	case dispatchv1.Outcome_OUTCOME_DELIVERED:
		return orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED
	case dispatchv1.Outcome_OUTCOME_SKIPPED:
		return orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED
	default:
		return orderv1.DeliveryStatus_DELIVERY_STATUS_HELD
	}
}

// rank orders the statuses by what may replace what.
func rank(status orderv1.DeliveryStatus) int {
	switch status {
	case orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED:
		return 3
	case orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED, orderv1.DeliveryStatus_DELIVERY_STATUS_SUPERSEDED:
		return 2
	case orderv1.DeliveryStatus_DELIVERY_STATUS_HELD:
		return 1
	default:
		return 0
	}
}

func describe(result *dispatchv1.Result) string {
	cause := result.GetCause()
	switch {
	case cause.GetCode() == "" && Expected(result.GetOutcome()):
		return cause.GetDetail()
	case cause.GetCode() == "":
		return fmt.Sprintf("unexpected outcome %s", result.GetOutcome())
	case cause.GetDetail() == "":
		return cause.GetCode()
	default:
		return cause.GetCode() + ": " + cause.GetDetail()
	}
}
