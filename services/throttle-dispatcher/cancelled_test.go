package throttledispatcher_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
)

// What was asked for before an order was cancelled, and waits for a system that has
// nothing of it, ends without a call, unless the flow's condition speaks of cancelled
// orders. What the system has or may have, it is told of, and what a cancelled order
// asks for first is meant so.
func TestNothingIsMadeOfACancelledOrder(t *testing.T) {
	t.Parallel()
	const (
		sent    = dispatchv1.Outcome_OUTCOME_DELIVERED
		skipped = dispatchv1.Outcome_OUTCOME_SKIPPED
	)
	at := func(step, connector string, status orderv1.DeliveryStatus) *orderv1.Delivery {
		d := &orderv1.Delivery{Id: "sell." + step + ".1", Flow: "sell", Step: step, Connector: connector, Revision: 1, Status: status, AskedUncancelled: true}
		if status == orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED {
			d.DeliveredRevision = 1
		}
		return d
	}
	delivered, held, closed := orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED, orderv1.DeliveryStatus_DELIVERY_STATUS_HELD, orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED
	for name, test := range map[string]struct {
		when   string
		before *orderv1.Delivery
		// afterwards: nothing asked for the step before the order was cancelled.
		afterwards bool
		want       dispatchv1.Outcome
	}{
		"no condition":                              {"", nil, false, skipped},
		"a condition of something else":             {`order.note == ""`, nil, false, skipped},
		"another system has the order":              {"", at("earlier", "erp", delivered), false, skipped},
		"the system has the order":                  {"", at("earlier", "wms", delivered), false, sent},
		"a condition that wants the cancelled":      {`has(order.cancelled_at)`, nil, false, sent},
		"a later event of what was skipped":         {"", at("warehouse", "wms", closed), true, skipped},
		"a refund of a cancelled order":             {`order.financial_status == "refunded"`, nil, true, sent},
		"a restock of a cancelled order":            {`order.fulfillment_status == "restocked"`, nil, true, sent},
		"the first that is known is a cancellation": {"", nil, true, sent},
		"the connector had another name":            {"", at("warehouse", "wms-old", delivered), false, sent},
		"under that name it is not known":           {"", at("warehouse", "wms-old", held), false, sent},
		"under that name it was not carried out":    {"", at("warehouse", "wms-old", closed), false, skipped},
		"another step waits at another system":      {"", at("earlier", "erp", held), false, skipped},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			if test.when != "" {
				w.catalog.change(func(c *catalog) { c.when = conditionOf(t, test.when) })
			}
			d := delivery(1)
			state := &orderv1.State{
				Key: keyOf(1), Revision: 4, Order: &orderv1.Order{
					Source: "shopify", Id: "1", Name: "#1", CancelledAt: timestamppb.Now(), FinancialStatus: "refunded", FulfillmentStatus: "restocked",
				},
				// The flow takes cancellations too: this one was asked for by one.
				Deliveries: []*orderv1.Delivery{{
					Id: "sell.warehouse.3", Flow: "sell", Step: "warehouse", Connector: "wms", Revision: 4, Status: orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN,
					AskedUncancelled: !test.afterwards,
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
			if code := map[dispatchv1.Outcome]string{skipped: order.CauseCancelled}[test.want]; result.GetCause().GetCode() != code {
				t.Errorf("its cause is %v, want the code %q", result.GetCause(), code)
			}
			calls := map[dispatchv1.Outcome]int{sent: 1}[test.want]
			if n := len(w.account.seen()); n != calls {
				t.Errorf("%d calls, want %d", n, calls)
			}
		})
	}
}
