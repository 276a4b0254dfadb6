package order

import (
	"slices"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// CauseCancelled is the code of the cause of what Annuls.
const CauseCancelled = "order-cancelled"

// Annuls says whether the cancellation of an order leaves nothing to do for a step at
// a connector: the step was asked for while the order was not cancelled, and has
// certainly not been carried out. Events of the cancelled order that come later change
// nothing about that. What was first asked for by a cancelled order (a refund, the
// cancellation of an order that came to the system some other way) is meant so.
func Annuls(state *orderv1.State, flow, step, connector string) bool {
	if state.GetOrder().GetCancelledAt() == nil || !AskedUncancelled(state, flow, step) || Has(state, flow, step, connector) {
		return false
	}
	// Where the step has another connector than before, its calls may be there.
	return !slices.ContainsFunc(state.GetDeliveries(), func(d *orderv1.Delivery) bool {
		return isOf(d, flow, step) && d.GetConnector() != connector &&
			(d.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN || d.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_HELD)
	})
}

// AskedUncancelled says whether a step was asked for while the order was not cancelled,
// as far as is on record.
func AskedUncancelled(state *orderv1.State, flow, step string) bool {
	return slices.ContainsFunc(state.GetDeliveries(), func(d *orderv1.Delivery) bool {
		return isOf(d, flow, step) && d.GetAskedUncancelled()
	})
}

// Has reports whether the system of a step has taken anything of an order: by the step
// itself, maybe under the connector's former name, or by another step at the connector.
func Has(state *orderv1.State, flow, step, connector string) bool {
	return slices.ContainsFunc(state.GetDeliveries(), func(d *orderv1.Delivery) bool {
		return (isOf(d, flow, step) || d.GetConnector() == connector) &&
			(d.GetDeliveredRevision() > 0 || d.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED)
	})
}

func isOf(d *orderv1.Delivery, flow, step string) bool {
	return d.GetFlow() == flow && d.GetStep() == step
}
