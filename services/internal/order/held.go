package order

import (
	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// HoldsEvent reports that no call of an order is held but an event that could not be
// applied, or another role's call, which no order asked for.
func HoldsEvent(hold *dispatchv1.Hold) bool { return hold.GetDelivery().GetOrderStep() == nil }

// HeldIn returns the delivery that is on hold in its order's state, nil where it is not
// there.
func HeldIn(hold *dispatchv1.Hold, state *orderv1.State) *orderv1.Delivery {
	for _, d := range state.GetDeliveries() {
		if DispatchIDOf(state.GetKey(), d) == hold.GetDelivery().GetId() {
			return d
		}
	}
	return nil
}

// HoldSettled reports whether the order has moved on from the hold: its delivery goes
// under another id, was closed, or is forgotten since. An event is settled once it was
// let go.
func HoldSettled(hold *dispatchv1.Hold, state *orderv1.State) bool {
	if HoldsEvent(hold) {
		return hold.GetRelease() != nil
	}
	if state.GetKey() == "" {
		return false
	}
	switch HeldIn(hold, state).GetStatus() {
	case orderv1.DeliveryStatus_DELIVERY_STATUS_HELD, orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN:
		return false
	default:
		return true
	}
}
