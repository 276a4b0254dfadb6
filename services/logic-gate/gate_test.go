package logicgate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

const (
	delivered = dispatchv1.Outcome_OUTCOME_DELIVERED
	held      = dispatchv1.Outcome_OUTCOME_HELD
	skipped   = dispatchv1.Outcome_OUTCOME_SKIPPED
)

// toERP takes every order on three topics to the ERP.
func toERP() *catalog.Flow {
	return flow("orders", "true", false, "orders/create", "orders/paid", "orders/updated")
}

func toBoth() *catalog.Flow {
	return flow("orders", "true", true, "orders/create", "orders/paid", "orders/updated")
}

func TestOneOrderGoesThrough(t *testing.T) {
	w := newWorld(t, toBoth())
	gate, _ := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.becomes("shopify_5001", "orders.wms.1 OPEN, orders.erp.1 WAITING")
	w.eventually("one delivery", func() bool { return len(w.dispatched()) == 1 })

	want := &dispatchv1.Delivery{
		Id: "shopify_5001_orders_wms_1", Connector: "wms", Lane: "express", Key: "shopify_5001", Operation: "createOrder", Requester: Role,
		Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{Flow: "orders", Step: "wms", Revision: 1}},
	}
	if diff := cmp.Diff(want, w.dispatched()[want.GetId()], protocmp.Transform(), protocmp.IgnoreFields(want, "created_at")); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}

	w.answer("shopify_5001_orders_wms_1", delivered, 1)
	w.becomes("shopify_5001", "orders.wms.1 DELIVERED, orders.erp.1 OPEN")
	w.eventually("the ERP's delivery", func() bool { return w.dispatched()["shopify_5001_orders_erp_1"] != nil })
	w.answer("shopify_5001_orders_erp_1", delivered, 1)
	w.becomes("shopify_5001", "orders.wms.1 DELIVERED, orders.erp.1 DELIVERED")
	w.eventually("two results", func() bool { return gate.Stats().Results == 2 })
	if got, want := gate.Stats(), (Stats{Events: 1, Applied: 1, Deliveries: 2, Results: 2}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if lines := w.log.lines(); len(lines) > 0 {
		t.Errorf("an order is worth no line in the log: %q", lines)
	}
}

func TestRepeatedEventsAndReorderedTopics(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	paid := w.event("orders/paid", shopOrder(5001, 7, map[string]any{"financial_status": "paid"}))
	create := w.event("orders/create", shopOrder(5001, 0, nil))
	// The payment comes first, everything comes twice, over both shards.
	w.capture(0, paid, create, paid)
	w.eventually("three events", func() bool { return gate.Stats().Events == 3 })
	w.capture(1, create)
	w.capture(1, paid)
	w.eventually("five events", func() bool { return gate.Stats().Events == 5 })
	if got := gate.Stats(); got.Applied != 1 || got.Stale != 1 || got.Repeated != 3 {
		t.Errorf("counted %+v; want one applied, one stale, three repeated", got)
	}
	state := w.state("shopify_5001")
	if state.GetRevision() != 1 || state.GetOrder().GetFinancialStatus() != "paid" {
		t.Errorf("revision %d, %q; want 1, paid", state.GetRevision(), state.GetOrder().GetFinancialStatus())
	}
	w.eventually("one delivery", func() bool { return len(w.dispatched()) == 1 })
}

// A flow that takes only new orders must not miss one because another topic
// brought the order first.
func TestCreateAfterPaidStillStartsTheFlowOfCreate(t *testing.T) {
	w := newWorld(t, flow("new", "true", false, "orders/create"))
	gate, _ := w.start(nil)
	w.capture(0, w.event("orders/paid", shopOrder(5001, 7, map[string]any{"financial_status": "paid"})))
	w.eventually("the payment", func() bool { return gate.Stats().Events == 1 })
	if got := w.standing("shopify_5001"); got != "" {
		t.Fatalf("the payment alone leads to %q", got)
	}
	w.capture(0, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.becomes("shopify_5001", "new.erp.1 OPEN")
}

// A shop may send a newer version under an id that it has used: only the same
// bytes are a repetition.
func TestANewerVersionUnderARepeatedIDIsNotLost(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	first := w.event("orders/updated", shopOrder(5001, 0, map[string]any{"note": "old"}))
	newer := w.event("orders/updated", shopOrder(5001, 9, map[string]any{"note": "new"}))
	newer.Id = first.GetId()
	w.capture(0, first)
	w.capture(0, newer)
	w.capture(0, first, newer)
	w.eventually("four events", func() bool { return gate.Stats().Events == 4 })
	if got := w.state("shopify_5001"); got.GetOrder().GetNote() != "new" || got.GetRevision() != 2 {
		t.Errorf("note %q at revision %d, want the newer version, once", got.GetOrder().GetNote(), got.GetRevision())
	}
	if got := gate.Stats(); got.Repeated != 2 {
		t.Errorf("counted %+v, want two repeated", got)
	}
}

// Some senders give one id to all topics that one action fires.
func TestOneEventIDOnTwoTopicsIsTwoEvents(t *testing.T) {
	w := newWorld(t, flow("paid", "true", false, "orders/paid"))
	gate, _ := w.start(nil)
	create := w.event("orders/create", shopOrder(5001, 0, nil))
	paid := w.event("orders/paid", shopOrder(5001, 0, nil))
	paid.Id = create.GetId()
	w.capture(0, create, paid)
	w.becomes("shopify_5001", "paid.erp.1 OPEN")
	w.eventually("two events", func() bool { return gate.Stats().Events == 2 })
}

func TestEditsWhileOpenCostOneFollowUp(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.becomes("shopify_5001", "orders.erp.1 OPEN")
	for i := 1; i <= 3; i++ {
		w.capture(0, w.event("orders/updated", shopOrder(5001, i, map[string]any{"note": i})))
	}
	w.eventually("four events", func() bool { return gate.Stats().Applied == 4 })
	w.becomes("shopify_5001", "orders.erp.1 OPEN, orders.erp.2 WAITING")
	// It had been claimed at revision 2, so that a call for revision 4 is left.
	w.answer("shopify_5001_orders_erp_1", delivered, 2)
	w.becomes("shopify_5001", "orders.erp.1 DELIVERED, orders.erp.2 OPEN")
	w.eventually("two deliveries", func() bool { return len(w.dispatched()) == 2 })
	w.answer("shopify_5001_orders_erp_2", delivered, 4)
	w.becomes("shopify_5001", "orders.erp.1 DELIVERED, orders.erp.2 DELIVERED")
}

func TestHeldPredecessorKeepsItsFollowers(t *testing.T) {
	w := newWorld(t, toBoth())
	gate, _ := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(500, 0, nil)), w.event("orders/create", shopOrder(501, 0, nil)))
	w.eventually("two events", func() bool { return gate.Stats().Events == 2 })
	w.answer("shopify_500_orders_wms_1", held, 0)
	w.answer("shopify_501_orders_wms_1", delivered, 1)
	w.becomes("shopify_500", "orders.wms.1 HELD, orders.erp.1 WAITING")
	w.becomes("shopify_501", "orders.wms.1 DELIVERED, orders.erp.1 OPEN")
	w.capture(0, w.event("orders/updated", shopOrder(500, 9, map[string]any{"note": "another finish"})))
	w.becomes("shopify_500", "orders.wms.1 HELD, orders.wms.2 WAITING, orders.erp.1 WAITING")
	if w.dispatched()["shopify_500_orders_erp_1"] != nil {
		t.Error("the ERP was sent an order that the WMS has refused")
	}
	if got := w.state("shopify_500").GetDeliveries()[0].GetCause(); got != "unknown-configuration" {
		t.Errorf("cause %q", got)
	}
}

func TestSkippedAndRepeatedResults(t *testing.T) {
	w := newWorld(t, toBoth())
	gate, _ := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.becomes("shopify_5001", "orders.wms.1 OPEN, orders.erp.1 WAITING")
	for range 3 {
		w.answer("shopify_5001_orders_wms_1", skipped, 1)
	}
	w.answer("shopify_5001_orders_other_1", delivered, 1)
	w.answer("shopify_9999_orders_wms_1", delivered, 1)
	w.eventually("five results", func() bool { return gate.Stats().Results == 5 })
	w.becomes("shopify_5001", "orders.wms.1 SKIPPED, orders.erp.1 SKIPPED")
	if lines := w.log.lines(); len(lines) != 2 {
		t.Errorf("log %q, want one line for each of the two results that nobody asked for", lines)
	}
}

func TestAnOutcomeThatStepsDoNotHaveIsHeld(t *testing.T) {
	w := newWorld(t, toERP())
	w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.becomes("shopify_5001", "orders.erp.1 OPEN")
	w.answer("shopify_5001_orders_erp_1", dispatchv1.Outcome_OUTCOME_EXPIRED, 0)
	w.becomes("shopify_5001", "orders.erp.1 HELD")
	hold := w.holds()["hold.v1.netsuite.shopify_5001.shopify_5001_orders_erp_1"]
	if hold.GetCause().GetCode() != "unexpected-outcome" || hold.GetDelivery().GetOrderStep().GetStep() != "erp" || hold.GetOrderName() != "#5001" {
		t.Errorf("hold %v", hold)
	}
}

func TestTheCatalogChangesWhileRunning(t *testing.T) {
	w := newWorld(t, flow("orders", `order.test`, false, "orders/create", "orders/updated"))
	gate, _ := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.eventually("one event", func() bool { return gate.Stats().Events == 1 })
	w.store.Replace(snapshot(toERP()))
	if got := w.standing("shopify_5001"); got != "" {
		t.Errorf("what was decided before is %q now", got)
	}
	w.capture(0, w.event("orders/create", shopOrder(5002, 0, nil)), w.event("orders/updated", shopOrder(5001, 1, nil)))
	w.becomes("shopify_5002", "orders.erp.1 OPEN")
	w.becomes("shopify_5001", "orders.erp.1 OPEN")
}

func TestAnIngestShardThatIsAddedIsRead(t *testing.T) {
	w := newWorld(t, toERP())
	w.start(nil)
	if err := w.bus.Apply(t.Context(), bus.Topology{IngestShards: 3, OrderShards: 2}); err != nil {
		t.Fatal(err)
	}
	w.capture(2, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.becomes("shopify_5001", "orders.erp.1 OPEN")
}
