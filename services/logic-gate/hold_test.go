package logicgate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// In a pack of events that cannot be read, each for another reason, the one that
// can is applied, and each other is put aside with its cause.
func TestUnreadableEventsStepAside(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	broken := w.event("orders/create", []byte(`{"id": 7, "line_items": `))
	nameless := w.event("orders/endless", nil)
	explosive := w.event("orders/explode", shopOrder(6, 0, nil))
	hostile := w.event("orders/create", []byte("\xff\xfe"))
	hostile.Id = "a.b > *\n"
	endless := w.event("orders/create", []byte("[]"))
	endless.Id = strings.Repeat("x", 4000)
	other := w.event("carts/update", []byte(`{}`))
	w.capture(0, broken, nameless, explosive, other, hostile, endless, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.becomes("shopify_5001", "orders.erp.1 OPEN")
	w.eventually("seven events", func() bool { return gate.Stats().Events == 7 })
	if got := gate.Stats(); got.Held != 5 || got.NotOrders != 1 || got.Applied != 1 {
		t.Errorf("counted %+v; want five held, one about no order, one applied", got)
	}
	holds := w.holds()
	for subject, want := range map[string]string{
		"hold.v1.shopify.event-1." + heldAs(broken):                          "orders/create",
		"hold.v1.shopify.event-2." + heldAs(nameless):                        "200 bytes",
		"hold.v1.shopify.event-3." + heldAs(explosive):                       "index out of range",
		"hold.v1.shopify.a=2Eb=20=3E=20=2A=0A." + bus.Token(heldAs(hostile)): "JSON object",
		"hold.v1.shopify.INGEST_0-1-5.INGEST_0-1-5":                          "JSON object",
	} {
		hold := holds[subject]
		if hold.GetCause().GetCode() != "event-unreadable" || !strings.Contains(hold.GetCause().GetDetail(), want) || hold.GetCause().GetFingerprint() == "" {
			t.Errorf("%s: cause %v, want event-unreadable with %q", subject, hold.GetCause(), want)
		}
		if at := hold.GetDelivery().GetArguments().GetFields(); at["stream"].GetStringValue() != "INGEST_0" || at["sequence"].GetNumberValue() != 1 {
			t.Errorf("%s does not say where the event is kept: %v", subject, at)
		}
	}
	if len(holds) != 5 {
		t.Errorf("%d holds, want 5: %v", len(holds), holds)
	}
	// What a bad sender does a thousand times is told once in a while, with its number.
	if lines := w.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "an event is put into the Error Hold") {
		t.Errorf("log %q, want one line for a connector and a cause", lines)
	}
}

// A body full of lines goes to the Error Hold with their number, whether they are counted
// before it is read or behind, and its neighbour goes on. One about no order stays that.
func TestAnOrderOfTooManyLinesIsHeld(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	full := func(n int) []byte {
		return []byte(`{"id":7,"updated_at":"2026-05-01T12:00:00Z","line_items":[` + strings.TrimSuffix(strings.Repeat("{},", n), ",") + `]}`)
	}
	many, flood, other := w.event("orders/create", full(20_001)), w.event("orders/create", full(250_000)), w.event("carts/update", full(250_000))
	most := w.event("orders/create", full(20_000))
	w.capture(0, many)
	w.capture(0, flood)
	w.capture(0, other)
	w.capture(0, most, w.event("orders/create", shopOrder(1, 0, nil)))
	w.becomes("shopify_1", "orders.erp.1 OPEN")
	w.becomes("shopify_7", "orders.erp.1 OPEN")
	w.eventually("five events", func() bool { return gate.Stats().Events == 5 })
	holds := w.holds()
	for e, says := range map[*eventv1.Event]string{
		many: "the order has 20001 lines, properties, tags and the like, expected at most 20000", flood: "the lists of the body have 250000 elements, expected at most 100000",
	} {
		hold := holds["hold.v1.shopify."+e.GetId()+"."+heldAs(e)]
		if hold.GetCause().GetCode() != "event-unreadable" || !strings.Contains(hold.GetCause().GetDetail(), says) || !proto.Equal(hold.GetEvent(), e) {
			t.Errorf("held with %v, want %q", hold.GetCause(), says)
		}
	}
	if got := gate.Stats(); len(holds) != 2 || got.NotOrders != 1 {
		t.Errorf("%d holds, counted %+v", len(holds), got)
	}
}

// What ingest could not read of a delivery is held with what it says, though its source
// could make an order of the bytes, and its neighbours are applied. Let go, it is held
// again: its bytes are the same.
func TestAMalformedEventIsHeldWithWhatIngestSays(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	bad := w.event("", shopOrder(7, 0, nil))
	bad.Malformed = "event [1] of a batch of 3: malformed: id or source is missing or empty"
	w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)), bad, w.event("orders/create", shopOrder(2, 0, nil)))
	w.becomes("shopify_1", "orders.erp.1 OPEN")
	w.becomes("shopify_2", "orders.erp.1 OPEN")
	w.eventually("three events", func() bool { return gate.Stats().Events == 3 })
	key := bad.GetId()
	hold := w.holds()["hold.v1.shopify."+key+"."+heldAs(bad)]
	if hold.GetCause().GetCode() != "event-unreadable" || hold.GetCause().GetDetail() != bad.GetMalformed() || !proto.Equal(hold.GetEvent(), bad) {
		t.Errorf("hold %v", hold)
	}
	w.ask(&eventv1.Release{Connector: "shopify", Key: key, DeliveryId: heldAs(bad)})
	w.eventually("the second hold", func() bool { return w.newestHold("hold.v1.shopify."+key+"."+heldAs(bad)+"-r1") != nil })
}

// The sender repeats what it got no answer for; the Error Hold has it once.
func TestUnreadableEventIsHeldOnce(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	broken := w.event("orders/create", []byte(`{`))
	w.capture(0, broken)
	w.capture(1, broken, broken)
	w.eventually("three events", func() bool { return gate.Stats().Events == 3 })
	if got := len(w.holds()); got != 1 {
		t.Errorf("%d holds, want 1", got)
	}
}

// Some senders give one id to all that one action fires: neither another topic nor
// another body gets lost behind what is held under that id already, of an order that
// is known or of none.
func TestEventsOfOneIDAreHeldEach(t *testing.T) {
	w := newWorld(t, flow("orders", `order.attributes["finish"] == "oak"`, false, "orders/create", "orders/paid"))
	gate, _ := w.start(nil)
	events := []*eventv1.Event{
		w.event("orders/create", []byte(`{`)), w.event("orders/paid", []byte(`{`)), w.event("orders/create", []byte(`{"id": `)),
		w.event("orders/create", shopOrder(1, 0, nil)), w.event("orders/paid", shopOrder(1, 0, nil)), w.event("orders/create", shopOrder(1, 1, nil)),
	}
	for _, e := range events {
		e.Id = "event-1"
	}
	w.capture(0, events...)
	w.capture(0, events...)
	w.eventually("twelve events", func() bool { return gate.Stats().Events == 12 })
	holds := w.holds()
	for i, e := range events {
		key := []string{"event-1", "shopify_1"}[i/3]
		if hold := holds["hold.v1.shopify."+key+"."+heldAs(e)]; !proto.Equal(hold.GetEvent(), e) {
			t.Errorf("event %d is held as %v", i, hold)
		}
	}
	if len(holds) != len(events) {
		t.Errorf("%d holds, want %d", len(holds), len(events))
	}
}

func TestAPackThatIsNoneIsHeld(t *testing.T) {
	w := newWorld(t, toERP())
	w.start(nil)
	if _, err := w.bus.Publish(context.Background(), bus.Message{Subject: bus.IngestSubject(0), Data: []byte("\xff\xff\xff")}); err != nil {
		t.Fatal(err)
	}
	w.capture(0, w.event("orders/create", shopOrder(5001, 0, nil)))
	w.becomes("shopify_5001", "orders.erp.1 OPEN")
	w.eventually("the hold", func() bool {
		return w.holds()["hold.v1.ingest.INGEST_0-1-0.INGEST_0-1-0"].GetCause().GetCode() == "pack-unreadable"
	})
}

func TestAConditionThatFailsHoldsTheEventAndNothingElse(t *testing.T) {
	w := newWorld(t,
		flow("first", `order.attributes["finish"] == "oak"`, false, "orders/create"),
		flow("second", "true", false, "orders/create", "orders/updated"))
	gate, _ := w.start(nil)
	oak := map[string]any{"note_attributes": []any{map[string]any{"name": "finish", "value": "oak"}}}
	birch := w.event("orders/create", shopOrder(1, 0, nil))
	w.capture(0, birch, w.event("orders/create", shopOrder(2, 0, oak)))
	w.becomes("shopify_1", "second.erp.1 OPEN")
	w.becomes("shopify_2", "first.erp.1 OPEN, second.erp.1 WAITING")
	hold := w.holds()["hold.v1.shopify.shopify_1."+heldAs(birch)]
	if hold.GetCause().GetCode() != "condition-failed" || !strings.Contains(hold.GetCause().GetDetail(), `flow "first"`) || hold.GetOrderName() != "#1" {
		t.Errorf("hold %v", hold)
	}
	// An event that the flow does not take goes on as ever.
	w.capture(0, w.event("orders/updated", shopOrder(1, 3, map[string]any{"note": "x"})))
	w.becomes("shopify_1", "second.erp.1 OPEN, second.erp.2 WAITING")
	w.eventually("three events", func() bool { return gate.Stats().Events == 3 })
	if got := len(w.holds()); got != 1 {
		t.Errorf("%d holds, want 1", got)
	}
}

// An event that a flow could not decide asks again when it is repeated, once the flow
// was mended; and asks for nothing that it has asked for before.
func TestARepeatedEventAsksTheMendedFlow(t *testing.T) {
	w := newWorld(t,
		flow("first", `order.attributes["finish"] == "oak"`, false, "orders/create"),
		flow("second", "true", false, "orders/create"))
	gate, _ := w.start(nil)
	created := w.event("orders/create", shopOrder(1, 0, nil))
	w.capture(0, created)
	w.becomes("shopify_1", "second.erp.1 OPEN")
	w.eventually("the hold", func() bool { return len(w.holds()) == 1 })
	w.store.Replace(snapshot(
		flow("first", `!("finish" in order.attributes)`, false, "orders/create"),
		flow("second", "true", false, "orders/create")))
	w.capture(0, created)
	w.becomes("shopify_1", "second.erp.1 OPEN, first.erp.1 WAITING")
	w.capture(1, created)
	w.eventually("three events", func() bool { return gate.Stats().Events == 3 })
	w.becomes("shopify_1", "second.erp.1 OPEN, first.erp.1 WAITING")
	if got := gate.Stats(); got.Repeated != 2 || w.state("shopify_1").GetRevision() != 1 {
		t.Errorf("counted %+v at revision %d, want two repetitions at revision 1", got, w.state("shopify_1").GetRevision())
	}
}

func TestAnEventOfAConnectorThatComesLaterWaitsForIt(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	early := w.event("orders/create", shopOrder(1, 0, nil))
	early.Connector = "outlet"
	w.capture(0, early)
	grown := snapshot(toERP())
	grown.Connectors["outlet"] = connector("outlet", v1alpha1.SystemShopify)
	w.store.Replace(grown)
	w.eventually("the event", func() bool { return gate.Stats().Applied == 1 })
	if state := w.state("outlet_1"); state.GetRevision() != 1 {
		t.Errorf("state %v", state)
	}
}

func TestAnEventOfAConnectorThatIsGoneIsHeld(t *testing.T) {
	w := newWorld(t, toERP())
	w.start(nil)
	late := w.event("orders/create", shopOrder(1, 0, nil))
	late.Connector, late.ReceivedAt = "closed-shop", nil
	w.capture(0, late)
	w.eventually("the hold", func() bool {
		hold := w.holds()["hold.v1.closed-shop.event-1."+heldAs(late)]
		return strings.Contains(hold.GetCause().GetDetail(), "not in the catalog")
	})
}

// An event that has waited for a gate for long, of a connector that is published, and
// that the gate has not heard of yet, becomes its order, with its flows.
func TestALateEventOfAPublishedConnectorWaitsForIt(t *testing.T) {
	w := newWorld(t, toERP())
	grown := snapshot(flow("outlet", "true", false, "orders/create"))
	grown.Connectors["outlet"] = connector("outlet", v1alpha1.SystemShopify)
	grown.Flows[0].Spec.From[0].Connector = "outlet"
	asked := make(chan struct{}, 1)
	w.published = func(context.Context) (*catalog.Snapshot, error) {
		asked <- struct{}{}
		return grown, nil
	}
	w.start(nil)
	late := w.event("orders/create", shopOrder(1, 0, nil))
	late.Connector, late.ReceivedAt = "outlet", nil
	w.capture(0, late)
	select {
	case <-asked:
	case <-time.After(deadline):
		t.Fatalf("the published catalog is not read: %v", w.log.lines())
	}
	w.store.Replace(grown)
	w.becomes("outlet_1", "outlet.erp.1 OPEN")
	if holds := w.holds(); len(holds) > 0 {
		t.Errorf("held: %v", holds)
	}
}

// What is stored for an order cannot be read: the order steps aside, and the
// others go on.
func TestAnUnreadableStateHoldsItsEvents(t *testing.T) {
	w := newWorld(t, toERP())
	stream := bus.OrderStream(bus.OrderShard("shopify_1", 2))
	if _, err := w.bus.Publish(context.Background(), bus.Message{Subject: bus.OrderStateSubject("shopify_1"), ExpectStream: stream, Data: []byte("\xff")}); err != nil {
		t.Fatal(err)
	}
	gate, _ := w.start(nil)
	first := w.event("orders/create", shopOrder(1, 0, nil))
	w.capture(0, first, w.event("orders/create", shopOrder(2, 0, nil)))
	w.becomes("shopify_2", "orders.erp.1 OPEN")
	w.eventually("two events", func() bool { return gate.Stats().Events == 2 })
	if code := w.holds()["hold.v1.shopify.shopify_1."+heldAs(first)].GetCause().GetCode(); code != "state-unreadable" {
		t.Errorf("cause %q, want state-unreadable", code)
	}
}

// More results than may be in work at once are for an order whose state cannot be
// read: they step aside, visibly, and those of other orders are taken up.
func TestAnUnreadableStateStopsNoResults(t *testing.T) {
	w := newWorld(t, toERP())
	_, stop := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(2, 0, nil)))
	w.becomes("shopify_2", "orders.erp.1 OPEN")
	stop()
	stream := bus.OrderStream(bus.OrderShard("shopify_1", 2))
	if _, err := w.bus.Publish(context.Background(), bus.Message{Subject: bus.OrderStateSubject("shopify_1"), ExpectStream: stream, Data: []byte("\xff")}); err != nil {
		t.Fatal(err)
	}
	for revision := range maxUnsettled + 1 {
		w.answer(fmt.Sprint("shopify_1_orders_erp_", revision+1), delivered, 1)
	}
	w.answer("shopify_2_orders_erp_1", delivered, 1)
	gate, _ := w.start(nil)
	w.becomes("shopify_2", "orders.erp.1 DELIVERED")
	w.eventually("all results are settled", func() bool { return gate.Stats().Results == maxUnsettled+2 })
	holds := w.holds()
	if hold := holds["hold.v1.=.shopify_1.shopify_1_orders_erp_65"]; len(holds) != maxUnsettled+1 ||
		hold.GetCause().GetCode() != "state-unreadable" || !strings.Contains(hold.GetCause().GetDetail(), "OUTCOME_DELIVERED SO-1 is not taken up") {
		t.Errorf("%d holds, the last %v", len(holds), hold)
	}
	if lines := w.log.lines(); !strings.HasPrefix(lines[0], "ERROR a result is put into the Error Hold") {
		t.Errorf("logged %q", lines[0])
	}
}

// A release of what cannot be read is left aside, and the events behind it go on.
func TestAReleaseOfAnUnreadableHoldIsLeftAside(t *testing.T) {
	w := newWorld(t, toERP())
	w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)))
	w.becomes("shopify_1", "orders.erp.1 OPEN")
	for _, subject := range []string{"hold.v1.shopify.event-9.event-9", "hold.v1.netsuite.shopify_1.shopify_1_orders_erp_1"} {
		if _, err := w.bus.Publish(context.Background(), bus.Message{Subject: subject, Data: []byte("\xff")}); err != nil {
			t.Fatal(err)
		}
	}
	w.answer("shopify_1_orders_erp_1", dispatchv1.Outcome_OUTCOME_HELD, 1)
	w.becomes("shopify_1", "orders.erp.1 HELD")
	w.ask(&eventv1.Release{Connector: "shopify", Key: "event-9", DeliveryId: "event-9"})
	w.ask(&eventv1.Release{Key: "shopify_1", DeliveryId: "shopify_1_orders_erp_1"})
	w.eventually("both are left aside", func() bool { return w.log.count("a release is left aside: its hold cannot be read") == 2 })
	if n := w.log.count("could not be settled"); n > 0 {
		t.Errorf("%d lines about what comes again: %v", n, w.log.lines())
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("\x0a\x00"), "orders/create")
	f.Add([]byte(`{"id": 1, "line_items": []}`), "orders/create")
	f.Add([]byte(`{"id": "`+strings.Repeat("=", 90)+`", "updated_at": "2026-05-01T12:00:00Z", "line_items": []}`), "orders/paid")
	w := newWorld(f, toERP())
	gate := newGate(Config{Bus: w.bus, Catalog: w.store, Sources: w.sources(), Systems: systems.All(), Logger: discard(), Telemetry: w.telemetry}, w.bus)
	f.Fuzz(func(t *testing.T, body []byte, topic string) {
		a := &arrival{event: &eventv1.Event{Connector: "shopify", Topic: topic, Body: body}, stream: "INGEST_0", sequence: 1}
		if err := gate.settler.read(context.Background(), a); err == nil && a.order.GetId() == "" {
			t.Fatal("an order without an id got in")
		}
	})
}
