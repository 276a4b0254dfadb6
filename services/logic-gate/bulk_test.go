package logicgate

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// bulkWorld has lanes at the systems that flow names; its own are those of a Connector that
// writes none.
func bulkWorld(t *testing.T, f *catalog.Flow) *world {
	t.Helper()
	w := newWorld(t, f)
	current := snapshot(f)
	for _, c := range current.Connectors {
		c.SetDefaults()
	}
	current.Connectors["woo"] = connector("woo", v1alpha1.SystemWooCommerce)
	current.Connectors["woo"].SetDefaults()
	w.store.Replace(current)
	return w
}

func ofMany(e *eventv1.Event) *eventv1.Event {
	e.Bulk = true
	return e
}

// lanesOf are the lanes in which a delivery is in DISPATCH.
func (w *world) lanesOf(id string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lanes []string
	for _, r := range w.queued {
		d := &dispatchv1.Delivery{}
		if err := proto.Unmarshal(r.Data, d); err != nil {
			w.t.Error(err)
		}
		if d.GetId() == id {
			if !strings.Contains(r.Subject, "."+d.GetLane()+".") {
				w.t.Errorf("%s says that it is in lane %s", r.Subject, d.GetLane())
			}
			lanes = append(lanes, d.GetLane())
		}
	}
	slices.Sort(lanes)
	return lanes
}

func (w *world) inLanes(id string, want ...string) {
	w.t.Helper()
	w.eventually(id+" is in the lanes "+strings.Join(want, ", "), func() bool { return slices.Equal(w.lanesOf(id), want) })
}

// What one event of many leads to waits in bulk, step after step, until a live event
// takes the order out of there; what that has asked for stays.
func TestOrdersOfManyWaitInBulk(t *testing.T) {
	w := bulkWorld(t, toBoth())
	w.start(nil)
	w.capture(0, ofMany(w.event("orders/create", shopOrder(1, 0, nil))), ofMany(w.event("orders/create", shopOrder(2, 0, nil))),
		w.event("orders/create", shopOrder(3, 0, nil)))
	const first, second, third = "shopify_1_orders_wms_1", "shopify_2_orders_wms_1", "shopify_3_orders_wms_1"
	w.inLanes(first, "bulk")
	w.inLanes(second, "bulk")
	w.inLanes(third, "express")
	w.answer(first, delivered, 1)
	w.inLanes("shopify_1_orders_erp_1", "bulk")

	w.capture(0, w.event("orders/updated", shopOrder(2, 5, map[string]any{"note": "edited"})))
	w.inLanes(second, "bulk", "express")
	w.becomes("shopify_2", "orders.wms.1 OPEN, orders.wms.2 WAITING, orders.erp.1 WAITING")
	// Delivered with the edit, it is not asked for again, and the ERP has it in its own lane.
	w.answer(second, delivered, 2)
	w.becomes("shopify_2", "orders.wms.1 DELIVERED, orders.wms.2 SUPERSEDED, orders.erp.1 OPEN")
	w.inLanes("shopify_2_orders_erp_1", "standard")

	// Of many again, it takes no live order back.
	w.capture(0, ofMany(w.event("orders/updated", shopOrder(3, 5, map[string]any{"note": "edited"}))))
	w.becomes("shopify_3", "orders.wms.1 OPEN, orders.wms.2 WAITING, orders.erp.1 WAITING")
	w.answer(third, delivered, 1)
	w.inLanes("shopify_3_orders_wms_2", "bulk")
	if got := w.lanesOf(third); !slices.Equal(got, []string{"express"}) {
		t.Errorf("%s is in the lanes %v", third, got)
	}
}

// A gate that dies between the state and the other lane puts the delivery there when the
// event comes again.
func TestMovedThoughTheGateDied(t *testing.T) {
	w := bulkWorld(t, toERP())
	const id = "shopify_1_orders_erp_1"
	_, stop := w.start(nil)
	w.capture(0, ofMany(w.event("orders/create", shopOrder(1, 0, nil))))
	w.inLanes(id, "bulk")
	stop()
	_, stop = w.start(deadlyAfter(1).before)
	w.capture(0, w.event("orders/updated", shopOrder(1, 5, nil)))
	w.eventually("the state is written", func() bool { return w.state("shopify_1").GetDeliveries()[0].GetLane() == "standard" })
	stop()
	if got := w.lanesOf(id); !slices.Equal(got, []string{"bulk"}) {
		t.Fatalf("it is in the lanes %v", got)
	}
	w.start(nil)
	w.inLanes(id, "bulk", "standard")
}

// An event that only names its order asks for it in bulk where it is one of many, and what
// comes of that waits there too.
func TestFetchesOfManyWaitInBulk(t *testing.T) {
	f := flow("orders", "true", false, "order.deleted")
	f.Spec.From[0].Connector = "woo"
	w := bulkWorld(t, f)
	w.start(nil)
	w.capture(0, ofMany(w.thin()))
	d := w.asked(1, "")
	if d.GetLane() != "bulk" || !d.GetEvent().GetBulk() {
		t.Errorf("it is asked for in lane %s", d.GetLane())
	}
	again := w.thin()
	w.capture(0, again)
	w.eventually("the live one is asked for", func() bool { return len(w.dispatched()) == 2 })
	for id, other := range w.dispatched() {
		if id != d.GetId() && other.GetLane() != "standard" {
			t.Errorf("the live one is asked for in lane %s", other.GetLane())
		}
	}
	w.comesBack(d, fetchedOrder("as it is now", noon))
	w.inLanes("woo_5_orders_erp_1", "bulk")
}

// A question to the source that events of many lead to is one of many, and so is what
// follows from its answer, unless a live event disagrees meanwhile.
func TestReadingsOfManyStayInBulk(t *testing.T) {
	for name, live := range map[string]bool{"all of many": false, "a live one too": true} {
		t.Run(name, func(t *testing.T) {
			w := askableWorld(t, toERP())
			current := w.store.Current()
			for _, c := range current.Connectors {
				c.SetDefaults()
			}
			current.Connectors["shopify"].Spec.Reconcile.Lane = "standard"
			w.start(nil)
			w.capture(0, ofMany(w.version("orders/create", "a")), ofMany(w.version("orders/updated", "b")))
			d := w.asked(2, "_read_1")
			if d.GetLane() != "bulk" {
				t.Errorf("it is asked in lane %s", d.GetLane())
			}
			w.becomes("shopify_5", "orders.erp.1 OPEN, orders.erp.2 WAITING")
			want := "bulk"
			if live {
				want = "standard"
				w.capture(0, w.version("orders/updated", "c"))
				w.eventually("it is not of many any more", func() bool { return !w.state("shopify_5").GetReading().GetBulk() })
			}
			w.comesBack(d, w.says("d"))
			w.eventually("the order is as the shop has it", func() bool { return w.note() == "d" })
			w.answer("shopify_5_orders_erp_1", delivered, 1)
			w.eventually("the answer is sent", func() bool { return len(w.lanesOf("shopify_5_orders_erp_2")) > 0 })
			w.inLanes("shopify_5_orders_erp_2", want)
		})
	}
}
