package notifier

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

func TestConfigIsRequired(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a notifier without a bus was made")
	}
}

func TestOneTextForEachHoldAndRecipient(t *testing.T) {
	w := newWorld(t, policy("operations", boss, deputy), policy("nights", boss))
	w.start()
	w.dispatch()
	w.hold("1500")
	w.hold("1501")
	if diff := cmp.Diff(map[string]int{boss + " #1500": 1, deputy + " #1500": 1, boss + " #1501": 1, deputy + " #1501": 1}, w.told(4)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	text := w.texts()[0]
	const want = "Order #1500 is held: wms refused it: configuration 'CFG-X9' is not known. It waits in the Error Hold; all others go on."
	if text.body() != want {
		t.Errorf("got  %s\nwant %s", text.body(), want)
	}
	d := text.delivery
	if d.GetConnector() != "twilio" || d.GetLane() != "express" || d.GetOperation() != "sendMessage" || d.GetRequester() != Role {
		t.Errorf("the delivery is %v", d)
	}
	if got := bus.DispatchSubject("twilio", "express", d.GetKey(), d.GetId()); text.record.Subject != got {
		t.Errorf("it is on %s, want %s", text.record.Subject, got)
	}
}

// The order's name is what people know it by, wherever it is written.
func TestTheNameOfTheOrder(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.put(bus.Message{Subject: bus.OrderStateSubject("shopify_2")}, &orderv1.State{Order: &orderv1.Order{Name: "#1502"}})
	w.put(bus.Message{Subject: bus.OrderStateSubject("shopify_3")}, &orderv1.State{Order: &orderv1.Order{}})
	unreadable := bus.Message{Subject: bus.OrderStateSubject("shopify_6"), Data: []byte{0xff}}
	if _, err := w.bus.Publish(context.Background(), unreadable); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.dispatch()
	nameless := func(h *dispatchv1.Hold) { h.OrderName = "" }
	keyless := func(h *dispatchv1.Hold) { h.OrderName, h.Delivery.Key = "", "no key" }
	w.hold("1")
	w.hold("2", nameless)
	w.hold("3", nameless)
	w.hold("4", nameless)
	w.hold("5", keyless)
	w.hold("6", nameless)
	want := map[string]int{boss + " #1": 1, boss + " #1502": 1, boss + " 3": 1, boss + " 4": 1, boss + " order": 1, boss + " 6": 1}
	if diff := cmp.Diff(want, w.told(6)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// A text about a text that could not be sent could not be sent either.
func TestNobodyIsTold(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.start()
	w.dispatch()
	w.hold("1", func(h *dispatchv1.Hold) {
		h.Delivery.Operation, h.Delivery.Requester, h.Delivery.Content = "sendMessage", Role, nil
	})
	w.hold("2", func(h *dispatchv1.Hold) { h.Delivery.Operation = "sendMessage" })
	w.hold("3", func(h *dispatchv1.Hold) {
		h.Delivery.Operation, h.Delivery.Requester, h.Delivery.Content = "readStock", "inventory-reconciler", nil
	})
	w.hold("4", func(h *dispatchv1.Hold) {
		h.Delivery.Content, h.Release = nil, &eventv1.Release{By: "ann"} // an event that was let go
	})
	unreadable := bus.HoldSubject("wms", "shopify_4", "shopify_4_orders_warehouse_1")
	if _, err := w.bus.Publish(context.Background(), bus.Message{Subject: unreadable, Data: []byte{0xff}}); err != nil {
		t.Fatal(err)
	}
	w.hold("5")
	if diff := cmp.Diff(map[string]int{boss + " #5": 1}, w.told(1)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if n := w.count("ERROR a text could not be sent and is held", "configuration 'CFG-X9' is not known"); n != 2 {
		t.Errorf("%d lines about held texts, want 2:\n%v", n, w.log.lines())
	}
	if n := w.count("ERROR a hold cannot be read", unreadable); n != 1 {
		t.Errorf("%d lines about the unreadable hold, want 1:\n%v", n, w.log.lines())
	}
	if _, err := w.bus.Last(context.Background(), bus.StreamErrorHold, unreadable); err != nil {
		t.Errorf("the unreadable hold is gone: %v", err)
	}
}

// Who can send one message that is refused can send a million, at each connector: of all
// of one day there is one text to each person, also where the consumer is lost.
func TestAFloodOfRefusedMessagesIsOneText(t *testing.T) {
	w := newWorld(t, policy("operations", boss, deputy))
	w.start()
	w.dispatch()
	refused := func(connector string, number int, at time.Time) {
		d := &dispatchv1.Delivery{Id: fmt.Sprint("message-", number, "-0"), Connector: connector, Key: "refused", Requester: "throttle-dispatcher"}
		w.put(bus.Message{Subject: bus.HoldSubject(connector, d.GetKey(), d.GetId())}, &dispatchv1.Hold{
			Delivery: d, Cause: &dispatchv1.Cause{Code: "message-refused"}, HeldAt: timestamppb.New(at), Refused: &dispatchv1.RefusedMessage{},
		})
	}
	day := time.Date(2026, 5, 2, 9, 0, 0, 0, time.UTC)
	for i := range 20 {
		refused("wms", i, day.Add(time.Duration(i)*time.Minute))
		refused("erp", i, day.Add(time.Duration(i)*time.Minute))
	}
	w.hold("1")
	want := map[string]int{boss + " message": 1, deputy + " message": 1, boss + " #1": 1, deputy + " #1": 1}
	if diff := cmp.Diff(want, w.replayed(4)); diff != "" {
		t.Errorf("told of one day (-want +got):\n%s", diff)
	}
	refused("wms", 20, day.Add(24*time.Hour))
	w.told(8) // of that, and of the hold that the second reading ended with
}

func TestPoliciesOfTheMomentDecide(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.dispatch()
	w.hold("1")
	w.logged("no policy asks", "shopify_1")
	w.store.Replace(snapshot(policy("operations", boss)))
	w.hold("2")
	w.told(1)
	w.store.Replace(snapshot(policy("operations", deputy)))
	w.hold("3")
	w.told(2)
	silent := policy("operations", boss)
	silent.Spec.Events = nil
	lost := policy("lost", boss)
	lost.Spec.Through.Connector = "nowhere"
	w.store.Replace(snapshot(silent, lost, policy("owner", boss)))
	w.hold("4")
	if diff := cmp.Diff(map[string]int{boss + " #2": 1, deputy + " #3": 1, boss + " #4": 1}, w.told(3)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// The same delivery may be held again after a release, and that is news.
func TestHeldAgain(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.start()
	w.dispatch()
	var first *dispatchv1.Hold
	w.hold("1", func(h *dispatchv1.Hold) { first = h })
	w.told(1)
	// Written again, as somebody who adds a note to it would.
	w.hold("1", func(h *dispatchv1.Hold) { proto.Merge(h, first) })
	w.hold("1")
	w.hold("2")
	if diff := cmp.Diff(map[string]int{boss + " #1": 2, boss + " #2": 1}, w.told(3)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// A consumer that is lost hands out every hold there ever was, and RESULT knows
// only those of a week.
func TestHoldsOfLongAgoAreNotToldAgain(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	stop := w.start(func(n *Notifier) { n.tellWithin = time.Nanosecond })
	w.hold("1")
	w.hold("2")
	w.logged("WARN there are holds of long ago", "shopify_1")
	stop()
	w.start()
	w.dispatch()
	w.hold("3")
	told := w.told(1)
	if told[boss+" #1"] != 0 || w.count("WARN") != 1 {
		t.Errorf("told %v, log:\n%v", told, w.log.lines())
	}
}

func TestTheServerRestarts(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.start()
	w.dispatch()
	w.hold("1")
	w.told(1)
	w.server.Restart(t)
	w.eventually("the bus is back", func() bool { return w.bus.Healthy(context.Background()) == nil })
	w.hold("2")
	if diff := cmp.Diff(map[string]int{boss + " #1": 1, boss + " #2": 1}, w.told(2)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// The text goes on in the trace of the hold.
func TestSpans(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	w := newWorld(t, policy("operations", boss))
	w.start(func(n *Notifier) { n.tracer = provider.Tracer(Role) })
	w.dispatch()
	const holdTrace, holdSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	hold := &dispatchv1.Hold{Delivery: &dispatchv1.Delivery{Id: "a", Key: "shopify_1", Requester: "logic-gate"}}
	w.put(bus.Message{
		Subject: bus.HoldSubject("wms", "shopify_1", "a"), Header: map[string]string{"traceparent": "00-" + holdTrace + "-" + holdSpan + "-01"},
	}, hold)
	w.told(1)
	w.eventually("the span ends", func() bool { return len(exporter.GetSpans()) == 1 })
	span := exporter.GetSpans()[0]
	if got := span.Parent.TraceID().String() + span.Parent.SpanID().String(); span.Name != "notifier hold" || got != holdTrace+holdSpan {
		t.Errorf("%s has the parent %s, want the hold's", span.Name, got)
	}
	if got, want := w.texts()[0].record.Header["traceparent"], "00-"+holdTrace+"-"+span.SpanContext.SpanID().String()+"-01"; got != want {
		t.Errorf("the text has traceparent %s, want %s", got, want)
	}
}

func TestRoutesOf(t *testing.T) {
	through := func(connector string, p *v1alpha1.NotificationPolicy) *v1alpha1.NotificationPolicy {
		p.Spec.Through.Connector = connector
		return p
	}
	silent := policy("silent", boss)
	silent.Spec.Events = nil
	tests := map[string]struct {
		policies []*v1alpha1.NotificationPolicy
		want     []route
	}{
		"no policy":                         {nil, nil},
		"none about holds":                  {[]*v1alpha1.NotificationPolicy{silent}, nil},
		"through what is not there":         {[]*v1alpha1.NotificationPolicy{through("nowhere", policy("a", boss))}, nil},
		"two recipients":                    {[]*v1alpha1.NotificationPolicy{policy("a", boss, deputy)}, []route{{"twilio", "express", boss}, {"twilio", "express", deputy}}},
		"the first policy by name tells":    {[]*v1alpha1.NotificationPolicy{policy("b", boss), through("pager", policy("a", boss))}, []route{{"pager", "express", boss}}},
		"a policy that nothing is left for": {[]*v1alpha1.NotificationPolicy{policy("a", boss, deputy), policy("b", deputy)}, []route{{"twilio", "express", boss}, {"twilio", "express", deputy}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, routesOf(snapshot(test.policies...)), cmp.AllowUnexported(route{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLaneOf(t *testing.T) {
	lane := func(name string, weight int32) v1alpha1.Lane { return v1alpha1.Lane{Name: name, Weight: weight} }
	tests := map[string]struct {
		lanes []v1alpha1.Lane
		want  string
	}{
		"express where there is one": {[]v1alpha1.Lane{lane("urgent", 9), lane("express", 1)}, "express"},
		"else the heaviest":          {[]v1alpha1.Lane{lane("slow", 1), lane("texts", 3), lane("calls", 2)}, "texts"},
		"no lane written":            {nil, "express"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := laneOf(&v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{Lanes: test.lanes}}); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// Replicas may read the same holds at the same time.
func TestReplicas(t *testing.T) {
	w := newWorld(t, policy("operations", boss, deputy))
	w.dispatch()
	w.start()
	w.start()
	w.start(fresh)
	want := make(map[string]int)
	for i := range 20 {
		order := fmt.Sprint(i)
		w.hold(order)
		want[boss+" #"+order], want[deputy+" #"+order] = 1, 1
	}
	if diff := cmp.Diff(want, w.replayed(40)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
