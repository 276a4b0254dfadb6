package logicgate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// letGo stores a release as the command does.
func (w *world) letGo(delivery string, resolution eventv1.Resolution) {
	w.t.Helper()
	w.ask(&eventv1.Release{Key: "shopify_1", DeliveryId: delivery, Resolution: resolution})
}

// ask stores a release, and says who asks and why.
func (w *world) ask(release *eventv1.Release) {
	w.t.Helper()
	release.By, release.Reason, release.AskedAt = "ann", "mended", timestamppb.Now()
	data, err := proto.Marshal(&eventv1.Pack{Releases: []*eventv1.Release{release}})
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

// newestHold returns what the Error Hold says last on a subject, nil where it says
// nothing.
func (w *world) newestHold(subject string) *dispatchv1.Hold {
	w.t.Helper()
	record, err := w.bus.Last(context.Background(), bus.StreamErrorHold, subject)
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	hold := &dispatchv1.Hold{}
	if err == nil {
		err = proto.Unmarshal(record.Data, hold)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return hold
}

// An event that cannot be read is held with all that it brought. Let go too early, it
// is held again; once the catalog is mended it becomes its order, on record; and what
// was let go once is not let go a second time.
func TestAnEventIsLetGoOnce(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	event := w.event("orders/create", shopOrder(1, 0, nil))
	event.Connector, event.ReceivedAt = "outlet", nil
	w.capture(0, event)
	held := heldAs(event)
	subject := "hold.v1.outlet.event-1." + held
	w.eventually("the hold", func() bool { return w.newestHold(subject) != nil })
	if hold := w.newestHold(subject); !proto.Equal(hold.GetEvent(), event) {
		t.Errorf("the hold keeps %v, want the event", hold)
	}
	w.ask(&eventv1.Release{Connector: "outlet", Key: "event-1", DeliveryId: held})
	w.eventually("it is held again", func() bool { return w.newestHold(subject+"-r1") != nil })
	grown := snapshot(flow("orders", "true", false, "orders/create"))
	grown.Connectors["outlet"] = connector("outlet", v1alpha1.SystemShopify)
	grown.Flows[0].Spec.From[0].Connector = "outlet"
	w.store.Replace(grown)
	w.ask(&eventv1.Release{Connector: "outlet", Key: "event-1", DeliveryId: held}) // of the first hold, which is over
	w.ask(&eventv1.Release{Connector: "outlet", Key: "event-1", DeliveryId: held + "-r1"})
	w.becomes("outlet_1", "orders.erp.1 OPEN")
	w.eventually("it is on record", func() bool { return w.newestHold(subject+"-r1").GetRelease() != nil })
	if hold := w.newestHold(subject + "-r1"); hold.GetRelease().GetBy() != "ann" || hold.GetRelease().GetReason() != "mended" || hold.GetReleases() != 1 ||
		hold.GetCause().GetCode() != "event-unreadable" || hold.GetEvent() != nil {
		t.Errorf("released: %v", hold)
	}
	w.ask(&eventv1.Release{Connector: "outlet", Key: "event-1", DeliveryId: held + "-r1"})
	w.ask(&eventv1.Release{Connector: "outlet", Key: "event-1", DeliveryId: "another"})
	w.eventually("the last release is read", func() bool {
		return slices.ContainsFunc(w.log.lines(), func(line string) bool { return strings.Contains(line, "no such event in the Error Hold") })
	})
	if got := gate.Stats(); got.Released != 2 || got.Events != 3 || w.state("outlet_1").GetRevision() != 1 || w.newestHold(subject+"-r2") != nil {
		t.Errorf("counted %+v, the order is at %d", got, w.state("outlet_1").GetRevision())
	}
}

// A gate that is killed between two writes of a release is followed by one that ends
// it, with one effect.
func TestKilledWhileAnEventIsLetGo(t *testing.T) {
	for writes := range 4 { // state, delivery, record; and none
		w := newWorld(t, flow("orders", `order.attributes["finish"] == "oak"`, false, "orders/create"))
		_, stop := w.start(nil)
		event := w.event("orders/create", shopOrder(1, 0, nil))
		w.capture(0, event)
		subject := "hold.v1.shopify.shopify_1." + heldAs(event)
		w.eventually("the hold", func() bool { return w.newestHold(subject) != nil && w.state("shopify_1") != nil })
		stop()
		w.store.Replace(snapshot(toERP()))
		w.ask(&eventv1.Release{Connector: "shopify", Key: "shopify_1", DeliveryId: heldAs(event)})
		killer := deadlyAfter(writes)
		gate, kill := w.start(killer.before)
		if writes < 3 {
			<-killer.died
		} else {
			w.eventually("it is let go", func() bool { return gate.Stats().Released == 1 })
		}
		kill()
		w.start(nil)
		w.becomes("shopify_1", "orders.erp.1 OPEN")
		w.eventually("it is on record", func() bool { return w.newestHold(subject).GetRelease().GetBy() == "ann" })
		w.eventually("its delivery", func() bool { return len(w.dispatched()) == 1 })
	}
}

// A message that was refused is over once a person discards it, on record and without its
// bytes; let go like an event it stays, and nothing else is discarded.
func TestARefusedMessageIsDiscarded(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	hold := func(id string, h *dispatchv1.Hold) (subject string) {
		t.Helper()
		h.Delivery = &dispatchv1.Delivery{Id: id, Connector: "erp", Key: "refused", Requester: "throttle-dispatcher"}
		data, err := proto.Marshal(h)
		subject = bus.HoldSubject("erp", "refused", id)
		if err == nil {
			_, err = w.bus.Publish(context.Background(), bus.Message{Subject: subject, Data: data})
		}
		if err != nil {
			t.Fatal(err)
		}
		return subject
	}
	message := hold("message-7-1", &dispatchv1.Hold{Refused: &dispatchv1.RefusedMessage{Sequence: 7, Data: []byte("what it said"), Size: 12}})
	event := hold("event", &dispatchv1.Hold{Event: w.event("orders/create", shopOrder(1, 0, nil))})
	leftAside := func(n int) {
		t.Helper()
		w.eventually("the release is left aside", func() bool {
			lines := slices.DeleteFunc(w.log.lines(), func(line string) bool { return !strings.HasPrefix(line, "WARN a release is left aside") })
			return len(lines) == n
		})
	}
	w.ask(&eventv1.Release{Connector: "erp", Key: "refused", DeliveryId: "message-7-1"})
	leftAside(1)
	w.ask(&eventv1.Release{Connector: "erp", Key: "refused", DeliveryId: "event", Discard: true})
	leftAside(2)
	if w.newestHold(message).GetRelease() != nil || w.newestHold(event).GetRelease() != nil {
		t.Error("what cannot be let go, or not be discarded, is over")
	}
	for range 2 {
		w.ask(&eventv1.Release{Connector: "erp", Key: "refused", DeliveryId: "message-7-1", Discard: true})
	}
	w.eventually("it is on record", func() bool { return w.newestHold(message).GetRelease() != nil })
	if h := w.newestHold(message); h.GetRelease().GetBy() != "ann" || len(h.GetRefused().GetData()) > 0 || h.GetRefused().GetSequence() != 7 {
		t.Errorf("the hold is %v", h)
	}
	if n := gate.Stats().Released; n != 0 {
		t.Errorf("%d count as released", n)
	}
}
