package plan

import (
	"slices"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// maxReleases bounds how many releases of one delivery its state tells of.
const maxReleases = 16

// Release returns the state after a person let a delivery out of the Error Hold, and
// false where it is not held any more, so that the same release again changes
// nothing. The delivery keeps its place and what comes after it, and travels under
// another dispatch id. Where it is known to have arrived, it is closed as delivered
// at that revision, without a call.
func Release(state *orderv1.State, asked *eventv1.Release, delivered int64) (*orderv1.State, bool) {
	known := byDispatchID(state, asked.GetDeliveryId())
	if known.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_HELD {
		return state, false
	}
	next := proto.CloneOf(state)
	d := find(next, known.GetId())
	d.Releases = append(d.GetReleases(), &orderv1.Release{
		By: asked.GetBy(), Reason: asked.GetReason(), At: asked.GetAskedAt(), Cause: d.GetCause(),
	})
	if over := len(d.GetReleases()) - maxReleases; over > 0 {
		d.Releases = slices.Delete(d.GetReleases(), 0, over)
	}
	d.Released++
	d.Cause = ""
	if asked.GetResolution() == eventv1.Resolution_RESOLUTION_SENT {
		d.Status = orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED
		d.SettledAt = asked.GetAskedAt()
		if d.DeliveredRevision = delivered; delivered == 0 {
			d.DeliveredRevision = d.GetRevision()
		}
		supersede(next, d)
	} else {
		d.Status = orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING
		d.SettledAt = nil
		follow(next, d)
	}
	release(next)
	return next, true
}

// follow brings a delivery that waits again up to its follow-up, if there is one: it
// is mapped from the newest order, and must come after what that comes after. The
// follow-up is superseded when it is delivered.
func follow(state *orderv1.State, d *orderv1.Delivery) {
	for _, newer := range state.GetDeliveries() {
		if newer != d && isOf(newer, d.GetFlow(), d.GetStep()) && isWaiting(newer) {
			d.Revision, d.After = max(d.GetRevision(), newer.GetRevision()), slices.Clone(newer.GetAfter())
			d.Connector, d.Operation = newer.GetConnector(), newer.GetOperation()
			d.Lane, d.StepLane = newer.GetLane(), newer.GetStepLane()
		}
	}
}
