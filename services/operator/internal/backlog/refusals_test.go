package backlog

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
	"github.com/peppasync/peppasync/services/operator/internal/status"
)

var refusedAt = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// refusal is a hold as ingest writes it.
func refusal(connector, operation, cause string) *dispatchv1.Hold {
	return &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: connectors.RefusalID(operation), Connector: connector, Key: connectors.KeyOfSources, Operation: operation, Requester: "ingest",
		},
		Cause: &dispatchv1.Cause{Code: cause, Detail: "it says no"}, Advice: "give it the right", HeldAt: timestamppb.New(refusedAt),
	}
}

func (w *world) refuse(h *dispatchv1.Hold) {
	w.t.Helper()
	d := h.GetDelivery()
	w.publish(bus.HoldSubject(d.GetConnector(), d.GetKey(), d.GetId()), h)
}

// What a source refuses is known by the newest record of its hold, until that is closed, and
// is no order that is owed: a Connector that refuses to list its orders can be deleted.
func TestWhatSourcesRefuseIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	counter := NewCounter(w.bus)
	refused := func(want map[string][]status.Refusal) {
		t.Helper()
		if got := w.count(counter); len(got) != 0 {
			t.Errorf("it counts %v", got)
		}
		if diff := cmp.Diff(want, counter.Refusals()); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
	}
	refused(map[string][]status.Refusal{})
	w.refuse(refusal("shopify", connectors.OperationListOrders, "http-404"))
	w.refuse(refusal("shopify", connectors.OperationListOrders, "no-right"))
	unread := refusal("woo", connectors.OperationReadOrder, "order-too-large")
	orders, err := structpb.NewStruct(map[string]any{"orders": []any{map[string]any{"id": "5001", "updatedAt": "2027-01-01T00:00:00Z"}}})
	if err != nil {
		t.Fatal(err)
	}
	unread.Delivery.Content = &dispatchv1.Delivery_Arguments{Arguments: orders}
	w.refuse(unread)
	list := status.Refusal{Operation: "listOrders", Since: refusedAt, Cause: "no-right", Detail: "it says no", Advice: "give it the right"}
	read := status.Refusal{Operation: "readOrder", Since: refusedAt, Cause: "order-too-large", Detail: "it says no", Advice: "give it the right", Orders: []string{"5001"}}
	refused(map[string][]status.Refusal{"shopify": {list}, "woo": {read}})
	over := refusal("shopify", connectors.OperationListOrders, "no-right")
	over.Release = &eventv1.Release{By: "ingest", Reason: "the source answers again"}
	w.refuse(over)
	refused(map[string][]status.Refusal{"woo": {read}})
	if got := w.of("woo"); got != (status.Counts{}) {
		t.Errorf("woo is owed %+v", got)
	}
}

// There is one for each operation of a connector, whatever ingest's key writes beside it,
// and none of it is an order on hold.
func TestOthersAreNoRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := refusal("shopify", connectors.OperationListOrders, "no-right")
	w.publish(bus.HoldSubject("shopify", connectors.KeyOfSources, "another-id"), h)
	w.publish(bus.HoldSubject("shopify", "shop_1", connectors.RefusalID(connectors.OperationListOrders)), h)
	h.Delivery.Requester = logicgate.Role
	w.publish(bus.HoldSubject("shopify", connectors.KeyOfSources, "a-third"), h)
	w.refuse(refusal("shopify", "upsertSalesOrder", "no-right"))
	counter := NewCounter(w.bus)
	if got := w.count(counter); len(got) != 0 {
		t.Errorf("it counts %v", got)
	}
	if got := counter.Refusals(); len(got) != 0 {
		t.Errorf("it knows %v", got)
	}
}
