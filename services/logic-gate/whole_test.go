package logicgate

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
)

// whole is an event that brings an order itself.
func (w *world) whole(connector, id string) *eventv1.Event {
	e := w.event("orders/create", nil)
	e.Connector = connector
	e.Order = &orderv1.Order{
		Id: id, Name: "#" + id, Currency: "USD", Total: "10.00", FinancialStatus: "pending",
		CreatedAt: timestamppb.New(noon), UpdatedAt: timestamppb.New(noon),
		Lines: []*orderv1.Line{{Id: "1", Sku: "MUG", Quantity: 1}}, Attributes: map[string]string{"a": "1", "b": "2", "c": "3"},
	}
	return e
}

// An order that came as one is the order, also of a system whose bodies nobody can read;
// its source is the connector, whatever it says itself; and only the same order under the
// same id is a repetition.
func TestAnEventThatBringsAnOrderIsIt(t *testing.T) {
	taken := toERP()
	taken.Spec.From[0].Connector = "wms"
	w := newWorld(t, taken)
	gate, _ := w.start(nil)
	first := w.whole("wms", "A-1")
	first.Order.Source = "another"
	w.capture(0, first)
	key := "wms_A-1"
	w.becomes(key, "orders.erp.1 OPEN")
	if o := w.state(key).GetOrder(); o.GetSource() != "wms" || o.GetName() != "#A-1" || len(o.GetLines()) != 1 {
		t.Errorf("the order is %v", o)
	}
	edited := proto.CloneOf(first)
	edited.Order.Note, edited.Order.UpdatedAt = "leave at the door", timestamppb.New(noon.Add(time.Minute))
	w.capture(1, first, edited)
	w.eventually("three events", func() bool { return gate.Stats().Events == 3 })
	if got := gate.Stats(); got.Applied != 2 || got.Repeated != 1 || got.Held != 0 {
		t.Errorf("counted %+v, want the order, its repetition, and another version of the same id", got)
	}
	if state := w.state(key); state.GetRevision() != 2 || state.GetOrder().GetNote() != "leave at the door" {
		t.Errorf("state %v", state)
	}
}

func TestAWholeOrderWithoutAnIDThatFitsIsHeld(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	nameless, endless, empty := w.whole("shopify", ""), w.whole("shopify", strings.Repeat("9", 129)), w.event("orders/create", nil)
	empty.Order = &orderv1.Order{}
	w.capture(0, nameless, endless, empty, w.whole("shopify", "2"))
	w.becomes("shopify_2", "orders.erp.1 OPEN")
	w.eventually("four events", func() bool { return gate.Stats().Events == 4 })
	held := 0
	for _, hold := range w.holds() {
		held++
		if hold.GetCause().GetCode() != "event-unreadable" || !strings.Contains(hold.GetCause().GetDetail(), "expected 1 to 128") || hold.GetEvent().GetOrder() == nil {
			t.Errorf("held as %v", hold)
		}
	}
	if held != 3 {
		t.Errorf("%d held, want 3", held)
	}
}

// Held, such an event keeps its order and shows its name; two of one id are held each;
// let go, it becomes the order.
func TestAWholeOrderIsHeldAndLetGo(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	early := w.whole("outlet", "7")
	early.Id, early.ReceivedAt = "event-1", nil
	other := proto.CloneOf(early)
	other.Order.Id, other.Order.Name = "8", "#8"
	w.capture(0, early, other)
	w.eventually("both holds", func() bool { return len(w.holds()) == 2 })
	var subject, id string
	for at, hold := range w.holds() {
		if !proto.Equal(hold.GetEvent(), early) && !proto.Equal(hold.GetEvent(), other) {
			t.Errorf("%s holds %v, want the event as it came", at, hold.GetEvent())
		}
		if hold.GetOrderName() == "#7" {
			subject, id = at, hold.GetDelivery().GetId()
		}
	}
	if subject == "" {
		t.Fatalf("no hold shows the order's name: %v", w.holds())
	}
	grown := snapshot(flow("orders", "true", false, "orders/create"))
	grown.Connectors["outlet"] = connector("outlet", v1alpha1.SystemHTTP)
	grown.Flows[0].Spec.From[0].Connector = "outlet"
	w.store.Replace(grown)
	w.ask(&eventv1.Release{Connector: "outlet", Key: "event-1", DeliveryId: id})
	w.becomes("outlet_7", "orders.erp.1 OPEN")
	// It is counted behind the record.
	w.eventually("it is on record", func() bool { return w.newestHold(subject).GetRelease().GetBy() == "ann" && gate.Stats().Released == 1 })
	if got := gate.Stats(); w.state("outlet_8") != nil || w.state("outlet_7").GetOrder().GetSource() != "outlet" {
		t.Errorf("counted %+v, the order is %v", got, w.state("outlet_7").GetOrder())
	}
}

// The bytes that an order is told apart by are the same each time, though it has a map.
func TestAWholeOrderHasOneName(t *testing.T) {
	w := newWorld(t, toERP())
	a := &arrival{event: w.whole("shopify", "1"), stream: "INGEST_0"}
	gate := newGate(Config{Bus: w.bus, Catalog: w.store, Sources: w.sources(), Systems: systems.All(), Logger: discard(), Telemetry: w.telemetry}, w.bus)
	dedupe, hold := a.dedupeID(), a.holdID()
	for range 50 {
		if err := gate.settler.read(context.Background(), a); err != nil {
			t.Fatal(err)
		}
		if a.dedupeID() != dedupe || a.holdID() != hold {
			t.Fatalf("%q and %q, before %q and %q", a.dedupeID(), a.holdID(), dedupe, hold)
		}
	}
	a.event.Order.Note = "x"
	if a.dedupeID() == dedupe || a.holdID() == hold {
		t.Errorf("another order has the same names %q and %q", dedupe, hold)
	}
}
