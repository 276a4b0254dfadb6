package logicgate

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// letGo stores a release as the command does.
func (w *world) letGo(delivery string, resolution eventv1.Resolution) {
	w.t.Helper()
	data, err := proto.Marshal(&eventv1.Pack{Releases: []*eventv1.Release{{
		Key: "shopify_1", DeliveryId: delivery, By: "ann", Reason: "mended", AskedAt: timestamppb.Now(), Resolution: resolution,
	}}})
	if err == nil {
		_, err = w.bus.Publish(context.Background(), bus.Message{Subject: bus.IngestSubject(0), Data: data})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// A held call is let go, is refused again and let go once more, and what waits behind
// it goes after; a release that is asked for twice has one effect, also over a
// restart of the gate.
func TestAReleaseLetsGoOnce(t *testing.T) {
	w := newWorld(t, flow("orders", "true", true, "orders/create"))
	_, stop := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)))
	w.becomes("shopify_1", "orders.wms.1 OPEN, orders.erp.1 WAITING")
	w.answer("shopify_1_orders_wms_1", dispatchv1.Outcome_OUTCOME_HELD, 1)
	w.becomes("shopify_1", "orders.wms.1 HELD, orders.erp.1 WAITING")
	none := eventv1.Resolution_RESOLUTION_UNSPECIFIED
	w.letGo("shopify_1_orders_wms_1", none)
	w.letGo("shopify_1_orders_wms_1", none)
	w.eventually("it is sent again", func() bool { return w.dispatched()["shopify_1_orders_wms_1-r1"] != nil })
	w.answer("shopify_1_orders_wms_1-r1", dispatchv1.Outcome_OUTCOME_HELD, 1)
	w.becomes("shopify_1", "orders.wms.1 HELD, orders.erp.1 WAITING")
	stop()
	w.letGo("shopify_1_orders_wms_1", none) // of the first hold, which is over
	w.letGo("shopify_1_orders_wms_1-r1", none)
	gate, _ := w.start(nil)
	w.becomes("shopify_1", "orders.wms.1 OPEN, orders.erp.1 WAITING")
	w.answer("shopify_1_orders_wms_1-r2", dispatchv1.Outcome_OUTCOME_DELIVERED, 1)
	w.becomes("shopify_1", "orders.wms.1 DELIVERED, orders.erp.1 OPEN")
	if got := gate.Stats().Released; got != 1 {
		t.Errorf("%d released by the second gate, want 1", got)
	}
	if d := w.state("shopify_1").GetDeliveries()[0]; d.GetReleased() != 2 || len(d.GetReleases()) != 2 || d.GetReleases()[0].GetBy() != "ann" {
		t.Errorf("releases on record: %v", d)
	}
	w.eventually("the call three times and the one behind it are asked for", func() bool { return len(w.dispatched()) == 4 })
}

// What may have arrived goes nowhere without a word on whether it has; with the word
// that it has, it is closed without a call.
func TestAReleaseOfWhatIsInDoubt(t *testing.T) {
	w := newWorld(t, flow("orders", "true", true, "orders/create"))
	w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)))
	w.becomes("shopify_1", "orders.wms.1 OPEN, orders.erp.1 WAITING")
	hold, err := proto.Marshal(&dispatchv1.Hold{InDoubt: true, OrderRevision: 1})
	if err == nil {
		_, err = w.bus.Publish(context.Background(), bus.Message{Subject: bus.HoldSubject("wms", "shopify_1", "shopify_1_orders_wms_1"), Data: hold})
	}
	if err != nil {
		t.Fatal(err)
	}
	w.answer("shopify_1_orders_wms_1", dispatchv1.Outcome_OUTCOME_HELD, 1)
	w.becomes("shopify_1", "orders.wms.1 HELD, orders.erp.1 WAITING")
	w.letGo("shopify_1_orders_wms_1", eventv1.Resolution_RESOLUTION_UNSPECIFIED)
	w.eventually("the release is left aside", func() bool {
		return slices.Contains(w.log.lines(), "WARN a release is left aside: the external system may have the call, and nobody has said whether it does")
	})
	w.becomes("shopify_1", "orders.wms.1 HELD, orders.erp.1 WAITING")
	w.letGo("shopify_1_orders_wms_1", eventv1.Resolution_RESOLUTION_SENT)
	w.becomes("shopify_1", "orders.wms.1 DELIVERED, orders.erp.1 OPEN")
	w.eventually("the first call and the one behind it are asked for", func() bool { return len(w.dispatched()) == 2 })
}
