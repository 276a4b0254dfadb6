package plan

import (
	"fmt"
	"slices"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

// release opens what may go, skips what comes after something skipped, and
// writes down what each of the others waits for at its connector.
//
// Nothing can wait in a circle: after arrange, a delivery comes only after
// earlier ones and gives way only to earlier ones and to open and held ones, so
// that the first that waits can wait only for a result.
func release(state *orderv1.State) {
	arrange(state)
	for i, d := range state.GetDeliveries() {
		if !isWaiting(d) {
			continue
		}
		if blocker := ahead(state, i); blocker != nil {
			d.Predecessor = blocker.GetId()
		} else if before := find(state, d.GetPredecessor()); before != nil && !isClosed(before) {
			// It has moved to another connector with its flow.
			d.Predecessor = ""
		}
		switch dependencies, reason, cancelledOut := require(state, d); dependencies {
		case dependencySkipped:
			d.Status = orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED
			d.Cause, d.CancelledOut = reason, cancelledOut
		case dependencyMet:
			if ahead(state, i) == nil {
				d.Status = orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN
			}
		case dependencyPending:
		}
	}
	prune(state)
}

// ahead returns the delivery that the i-th has to let pass at its connector:
// the nearest earlier one that waits, else the one that is open or held, else
// nil. The open one may stand later in the list, where arrange has moved a
// follow-up ahead of it.
func ahead(state *orderv1.State, i int) *orderv1.Delivery {
	deliveries := state.GetDeliveries()
	for j := i - 1; j >= 0; j-- {
		if isWaiting(deliveries[j]) && deliveries[j].GetConnector() == deliveries[i].GetConnector() {
			return deliveries[j]
		}
	}
	for _, d := range deliveries {
		if d.GetConnector() != deliveries[i].GetConnector() {
			continue
		}
		switch d.GetStatus() {
		case orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN, orderv1.DeliveryStatus_DELIVERY_STATUS_HELD:
			return d
		default:
		}
	}
	return nil
}

type dependency int

const (
	dependencyMet dependency = iota
	dependencyPending
	dependencySkipped
)

// require says how far the deliveries are that d comes after. A superseded one
// counts as delivered: its step has delivered that revision or a newer one. So
// does one that is not there: only closed ones are ever pruned. So does one that the
// order's cancellation left nothing to do for, where d's system may have the order and
// be told; where it has not, the cancellation skips d as well.
func require(state *orderv1.State, d *orderv1.Delivery) (worst dependency, reason string, cancelledOut bool) {
	for _, id := range d.GetAfter() {
		before := find(state, id)
		switch before.GetStatus() {
		case orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED:
			cancelledOut = before.GetCancelledOut()
			if cancelledOut && mayHave(state, d) {
				continue
			}
			return dependencySkipped, fmt.Sprintf("%s, which it comes after, was skipped", id), cancelledOut
		case orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING, orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN, orderv1.DeliveryStatus_DELIVERY_STATUS_HELD:
			worst = dependencyPending
		default:
		}
	}
	return worst, "", false
}

// mayHave reports whether the system of a waiting delivery has the order or may get it
// from a call that is open or held. If that comes to nothing, the dispatcher skips d.
func mayHave(state *orderv1.State, d *orderv1.Delivery) bool {
	return order.Has(state, d.GetFlow(), d.GetStep(), d.GetConnector()) ||
		slices.ContainsFunc(state.GetDeliveries(), func(other *orderv1.Delivery) bool {
			return (isOf(other, d.GetFlow(), d.GetStep()) || other.GetConnector() == d.GetConnector()) && !isWaiting(other) && !isClosed(other)
		})
}

// arrange moves what a waiting delivery comes after ahead of it, and changes
// the order in which deliveries were asked for in nothing else: a follow-up of
// an early step lands just before the late step that now comes after it.
func arrange(state *orderv1.State) {
	deliveries := state.GetDeliveries()
	arranged := make([]*orderv1.Delivery, 0, len(deliveries))
	placed := make(map[string]bool, len(deliveries))
	var place func(d *orderv1.Delivery)
	place = func(d *orderv1.Delivery) {
		if d == nil || placed[d.GetId()] {
			return
		}
		placed[d.GetId()] = true
		if isWaiting(d) {
			for _, id := range d.GetAfter() {
				place(find(state, id))
			}
		}
		arranged = append(arranged, d)
	}
	for _, d := range deliveries {
		place(d)
	}
	state.Deliveries = arranged
}

// maxClosed bounds the state of an order that is edited for months. Above it
// the oldest closed deliveries go, apart from those that something still
// refers to and the two of each step that say where the outside stands.
const maxClosed = 48

func prune(state *orderv1.State) {
	closed := 0
	for _, d := range state.GetDeliveries() {
		if isClosed(d) {
			closed++
		}
	}
	if closed <= maxClosed {
		return
	}
	keep := make(map[string]bool)
	type step struct{ flow, name string }
	standing := make(map[step]*orderv1.Delivery)
	for _, d := range state.GetDeliveries() {
		at := step{d.GetFlow(), d.GetStep()}
		if d.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED && d.GetDeliveredRevision() >= standing[at].GetDeliveredRevision() {
			standing[at] = d
		}
		keep[newest(state, at.flow, at.name).GetId()] = true
		if !isClosed(d) {
			keep[d.GetPredecessor()] = true
			for _, id := range d.GetAfter() {
				keep[id] = true
			}
		}
	}
	for _, d := range standing {
		keep[d.GetId()] = true
	}
	kept := make([]*orderv1.Delivery, 0, len(state.GetDeliveries()))
	for _, d := range state.GetDeliveries() {
		if closed > maxClosed && isClosed(d) && !keep[d.GetId()] {
			closed--
			continue
		}
		kept = append(kept, d)
	}
	state.Deliveries = kept
}

func isClosed(d *orderv1.Delivery) bool {
	switch d.GetStatus() {
	case orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED, orderv1.DeliveryStatus_DELIVERY_STATUS_SUPERSEDED, orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED:
		return true
	default:
		return false
	}
}
