package logicgate

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
)

// A creation that comes after the cancellation has asked for its calls before it; what
// the dispatcher then skips is told once, with what comes after it, and stands in the
// order's state with its cause.
func TestACancellationThatAnnulsIsTold(t *testing.T) {
	w := newWorld(t, flow("orders", "true", true, "orders/create"))
	w.start(nil)
	w.capture(0, w.event("orders/cancelled", shopOrder(1, 5, map[string]any{"cancelled_at": "2026-05-01T12:00:05Z"})))
	w.eventually("the cancellation is known", func() bool { return w.state("shopify_1").GetOrder().GetCancelledAt() != nil })
	w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)))
	w.becomes("shopify_1", "orders.wms.1 OPEN, orders.erp.1 WAITING")
	if state := w.state("shopify_1"); !order.Annuls(state, "orders", "wms", "wms") {
		t.Errorf("the cancellation leaves something to do at the WMS: %v", state.GetDeliveries())
	}
	data, err := proto.Marshal(&dispatchv1.Result{
		DeliveryId: "shopify_1_orders_wms_1", Key: "shopify_1", Requester: Role, Outcome: dispatchv1.Outcome_OUTCOME_SKIPPED, Revision: 1,
		SettledAt: timestamppb.Now(), Cause: &dispatchv1.Cause{Code: order.CauseCancelled, Detail: "cancelled before wms had any of it"},
	})
	if err == nil {
		_, err = w.bus.Publish(context.Background(), bus.Message{Subject: bus.ResultSubject(Role, "shopify_1_orders_wms_1"), Data: data})
	}
	if err != nil {
		t.Fatal(err)
	}
	w.becomes("shopify_1", "orders.wms.1 SKIPPED, orders.erp.1 SKIPPED")
	w.eventually("both skips are told", func() bool { return w.log.count("INFO a delivery is skipped, because its order was cancelled") == 2 })
	for i, want := range []string{"order-cancelled: cancelled before wms had any of it", "orders.wms.1, which it comes after, was skipped"} {
		if got := w.state("shopify_1").GetDeliveries()[i].GetCause(); got != want {
			t.Errorf("the cause is %q, want %q", got, want)
		}
		if w.log.count(want) != 1 {
			t.Errorf("no line of the log, or several, say %q: %v", want, w.log.lines())
		}
	}
}
