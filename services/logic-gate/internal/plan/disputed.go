package plan

import (
	"slices"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// Disputed returns the flows of which a delivery may carry what the order was taken for
// from a revision on: it was asked for or mapped since, or it is under way.
func Disputed(state *orderv1.State, since int64) []string {
	var flows []string
	for _, d := range state.GetDeliveries() {
		touched := !isClosed(d) || max(d.GetRevision(), d.GetDeliveredRevision()) >= since
		if touched && !slices.Contains(flows, d.GetFlow()) {
			flows = append(flows, d.GetFlow())
		}
	}
	return flows
}
