package throttledispatcher_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// What waits for a system that has nothing of a cancelled order ends without a call,
// unless the flow's condition speaks of cancelled orders. What the system has, it is
// told of.
func TestNothingIsMadeOfACancelledOrder(t *testing.T) {
	t.Parallel()
	delivered := func(connector string) *orderv1.Delivery {
		return &orderv1.Delivery{
			Id: "sell.earlier.1", Flow: "sell", Step: "earlier", Connector: connector, Revision: 1,
			Status: orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED, DeliveredRevision: 1,
		}
	}
	for name, test := range map[string]struct {
		when   string
		before *orderv1.Delivery
		want   dispatchv1.Outcome
	}{
		"no condition":                         {"", nil, dispatchv1.Outcome_OUTCOME_SKIPPED},
		"a condition of something else":        {`order.note == ""`, nil, dispatchv1.Outcome_OUTCOME_SKIPPED},
		"another system has the order":         {"", delivered("erp"), dispatchv1.Outcome_OUTCOME_SKIPPED},
		"the system has the order":             {"", delivered("wms"), dispatchv1.Outcome_OUTCOME_DELIVERED},
		"a condition that wants the cancelled": {`has(order.cancelled_at)`, nil, dispatchv1.Outcome_OUTCOME_DELIVERED},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			if test.when != "" {
				w.catalog.change(func(c *catalog) { c.when = conditionOf(t, test.when) })
			}
			d := delivery(1)
			state := &orderv1.State{
				Key: keyOf(1), Revision: 4, Order: &orderv1.Order{Source: "shopify", Id: "1", Name: "#1", CancelledAt: timestamppb.Now()},
				// The flow takes cancellations too: this one was asked for by one.
				Deliveries: []*orderv1.Delivery{{
					Id: "sell.warehouse.3", Flow: "sell", Step: "warehouse", Connector: "wms", Revision: 4, Status: orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN,
				}},
			}
			if test.before != nil {
				state.Deliveries = append([]*orderv1.Delivery{test.before}, state.Deliveries...)
			}
			w.publish(bus.OrderStateSubject(keyOf(1)), state)
			w.ask(d)
			w.start()
			result := w.results(1)[keyOf(1)]
			if result.GetOutcome() != test.want || result.GetRevision() != 4 {
				t.Errorf("%v of revision %d because of %v, want %v of 4", result.GetOutcome(), result.GetRevision(), result.GetCause(), test.want)
			}
			calls := map[dispatchv1.Outcome]int{dispatchv1.Outcome_OUTCOME_DELIVERED: 1}[test.want]
			if n := len(w.account.seen()); n != calls {
				t.Errorf("%d calls, want %d", n, calls)
			}
		})
	}
}
