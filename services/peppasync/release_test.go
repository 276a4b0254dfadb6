package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
)

// station is a NATS that the commands talk to, with the demo's catalog.
type station struct {
	t   *testing.T
	url string
	bus *bus.Bus
}

func newStation(t *testing.T) *station {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	s := &station{t: t}
	s.run("nats", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--ready-file", ready)
	s.url = awaitURL(t, ready)
	s.do("apply", "-f", demo)
	b, err := bus.Connect(s.t.Context(), bus.Options{URL: s.url, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s.bus = b
	return s
}

// run runs a command until the test ends.
func (s *station) run(arguments ...string) {
	ctx, stop := context.WithCancel(context.Background())
	if s.url != "" {
		arguments = append(arguments, "--nats", s.url)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := execute(ctx, arguments...)
		ended <- err
	}()
	s.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			s.t.Errorf("%s: %v", arguments[0], err)
		}
	})
}

func (s *station) try(arguments ...string) (string, error) {
	return execute(s.t.Context(), append(arguments, "--nats", s.url)...)
}

func (s *station) do(arguments ...string) string {
	s.t.Helper()
	out, err := s.try(arguments...)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", arguments[0], err, out)
	}
	return out
}

func (s *station) publish(subject string, m proto.Message) {
	s.t.Helper()
	data, err := proto.Marshal(m)
	if err == nil {
		_, err = s.bus.Publish(s.t.Context(), bus.Message{Subject: subject, Data: data})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// hold puts the call of an order to the warehouse into the Error Hold.
func (s *station) hold(id, code string, inDoubt bool) { s.holdAt(id, code, inDoubt, "wms") }

// holdAt puts the calls of an order to some connectors into the Error Hold.
func (s *station) holdAt(id, code string, inDoubt bool, connectors ...string) {
	s.t.Helper()
	key := order.Key("shopify", id)
	state := &orderv1.State{Key: key, Revision: 1, Order: &orderv1.Order{Source: "shopify", Id: id, Name: "#" + id}}
	for _, connector := range connectors {
		state.Deliveries = append(state.Deliveries, &orderv1.Delivery{
			Id: order.DeliveryID("orders", connector, 1), Flow: "orders", Step: connector, Connector: connector, Lane: "express", Operation: "createOrder",
			Revision: 1, Status: orderv1.DeliveryStatus_DELIVERY_STATUS_HELD, Cause: code,
		})
	}
	s.publish(bus.OrderStateSubject(key), state)
	for _, d := range state.GetDeliveries() {
		s.publish(bus.HoldSubject(d.GetConnector(), key, order.DispatchIDOf(key, d)), &dispatchv1.Hold{
			Delivery: &dispatchv1.Delivery{
				Id: order.DispatchIDOf(key, d), Connector: d.GetConnector(), Key: key, Operation: "createOrder", Requester: "logic-gate",
				Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{Flow: "orders", Step: d.GetStep(), Revision: 1}},
			},
			Cause: &dispatchv1.Cause{Code: code, Detail: "what it said\nto " + id}, OrderName: "#" + id, OrderRevision: 1,
			HeldAt: timestamppb.New(time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)), InDoubt: inDoubt,
		})
	}
}

func (s *station) delivery(id string) *orderv1.Delivery { return s.deliveries(id)[0] }

func (s *station) deliveries(id string) []*orderv1.Delivery {
	s.t.Helper()
	state := &orderv1.State{}
	if err := readState(s.t.Context(), s.bus, 4, order.Key("shopify", id), state); err != nil {
		s.t.Fatal(err)
	}
	return state.GetDeliveries()
}

func (s *station) dispatched(id string) bool {
	_, err := s.bus.Last(s.t.Context(), bus.StreamDispatch, bus.DispatchDeliveryFilter("wms", "shopify_"+id+"_orders_wms_1-r1"))
	return err == nil
}

func TestHoldsAreListedAndReleased(t *testing.T) {
	s := newStation(t)
	if out := s.do("holds"); !strings.Contains(out, "is empty") {
		t.Errorf("no holds: %q", out)
	}
	for _, id := range []string{"1", "2", "3", "4"} {
		s.hold(id, "unknown-configuration", false)
	}
	s.hold("5", "outcome-unknown", true)
	s.hold("6", "outcome-unknown", true)
	s.publish(bus.HoldSubject("shopify", "sku", "stock-1"), &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{Id: "stock-1", Key: "sku", Connector: "shopify", Operation: "writeStock", Requester: "inventory-reconciler"},
	})
	out := s.do("holds")
	for _, want := range []string{
		"ORDER  CONNECTOR  OPERATION    CAUSE", "#1     wms        createOrder  unknown-configuration: what it said to 1", "2026-11-27T08:00:00Z",
		"outcome-unknown (in doubt): what it said to 5",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "stock") || !strings.Contains(s.do("holds", "--all"), "writeStock") {
		t.Errorf("calls that no order asked for belong to --all:\n%s", out)
	}
	var listed []held
	if err := json.Unmarshal([]byte(s.do("holds", "-o", "json")), &listed); err != nil || len(listed) != 6 || listed[0].Delivery != "shopify_1_orders_wms_1" {
		t.Errorf("json: %v, %+v", err, listed)
	}
	if out := s.do("holds", "-o", "yaml"); !strings.Contains(out, "delivery: shopify_6_orders_wms_1") {
		t.Errorf("yaml: %s", out)
	}
	for want, arguments := range map[string][]string{
		"is in doubt: wms may have it":      {"#5", "--reason", "x"},
		"is not in the Error Hold":          {"#9", "--reason", "x"},
		"--reason is empty":                 {"#1", "--reason", " "},
		"must be sent or not-sent":          {"#5", "--reason", "x", "--in-doubt-resolved", "maybe"},
		"--all needs --cause":               {"--all", "--reason", "x"},
		"not both":                          {"#1", "--all", "--cause", "c", "--reason", "x"},
		"--cause goes with --all":           {"#1", "--cause", "c", "--reason", "x"},
		"name an order or a delivery":       {"--reason", "x"},
		"each has to be looked at":          {"--all", "--cause", "c", "--reason", "x", "--in-doubt-resolved", "sent"},
		`required flag(s) "reason" not set`: {"#1"},
	} {
		if _, err := s.try(append([]string{"release"}, arguments...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("release %q: %v, want %q", arguments, err, want)
		}
	}
	s.run("logic-gate")
	if out := s.do("release", "#1", "--reason", "mended", "--by", "ann"); out != "1 released\n" {
		t.Errorf("release: %q", out)
	}
	d := s.delivery("1")
	if r := d.GetReleases()[0]; d.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN || !s.dispatched("1") ||
		r.GetBy() != "ann" || r.GetReason() != "mended" || r.GetCause() != "unknown-configuration" || r.GetAt() == nil {
		t.Errorf("released: %v", d)
	}
	if out := s.do("release", "--all", "--cause", "unknown-configuration", "--reason", "all of them"); out != "3 released\n" {
		t.Errorf("release of a cause: %q", out)
	}
	if out := s.do("release", "--all", "--cause", "outcome-unknown", "--reason", "hope"); !strings.Contains(out, "2 in doubt stay") {
		t.Errorf("release of what is in doubt: %q", out)
	}
	s.do("release", "shopify_5", "--reason", "it is there", "--in-doubt-resolved", "sent")
	s.do("release", "shopify_6_orders_wms_1", "--reason", "it is not", "--in-doubt-resolved", "not-sent")
	if d := s.delivery("5"); d.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED || d.GetDeliveredRevision() != 1 || d.GetSettledAt() == nil || s.dispatched("5") {
		t.Errorf("what is there: %v", d)
	}
	if d := s.delivery("6"); d.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN || !s.dispatched("6") {
		t.Errorf("what is not there: %v", d)
	}
	if out := s.do("holds"); !strings.Contains(out, "is empty") {
		t.Errorf("all are released: %q", out)
	}
}

// What a person has found out is about one call: of an order with two in doubt, only
// the one that is named is closed.
func TestAResolutionIsAboutOneCall(t *testing.T) {
	s := newStation(t)
	s.holdAt("7", "outcome-unknown", true, "wms", "netsuite")
	s.run("logic-gate")
	for _, resolution := range []string{"sent", "not-sent"} {
		_, err := s.try("release", "#7", "--reason", "x", "--in-doubt-resolved", resolution)
		if err == nil || !strings.Contains(err.Error(), "shopify_7_orders_netsuite_1 at netsuite (in doubt), shopify_7_orders_wms_1 at wms (in doubt)") {
			t.Errorf("%s, about two calls: %v", resolution, err)
		}
	}
	s.do("release", "shopify_7_orders_netsuite_1", "--reason", "SO-77", "--in-doubt-resolved", "sent")
	if wms, erp := s.deliveries("7")[0], s.deliveries("7")[1]; wms.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_HELD ||
		erp.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED {
		t.Errorf("after a word on the ERP: %v, %v", wms, erp)
	}
	// With one left, its order names it.
	s.do("release", "#7", "--reason", "it is not there", "--in-doubt-resolved", "not-sent")
}

// holdEvent puts an event of an order into the Error Hold; with its body unless that
// is empty.
func (s *station) holdEvent(id, key, code, body string) {
	s.t.Helper()
	hold := &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{Id: id, Connector: "shopify", Key: key, Operation: "orders/create", Requester: "logic-gate"},
		Cause:    &dispatchv1.Cause{Code: code},
	}
	if body != "" {
		hold.Event = &eventv1.Event{Connector: "shopify", Topic: "orders/create", Id: id, Body: []byte(body)}
	}
	s.publish(bus.HoldSubject("shopify", key, id), hold)
}

// An event that could not be read is let go by its name, together with others of its
// cause, or beside its order's calls; it is listed until then. One that was not kept
// with its hold stands in nobody's way, and alone says what helps.
func TestEventsAreReleased(t *testing.T) {
	s := newStation(t)
	body := func(id string) string {
		return `{"id": ` + id + `, "name": "#` + id + `", "updated_at": "2026-11-27T08:00:00Z", "currency": "USD", "line_items": []}`
	}
	s.holdEvent("event-1", "event-1", "event-unreadable", body("1"))
	s.holdEvent("event-2", "event-2", "event-unreadable", body("2"))
	s.holdEvent("event-3", "event-3", "event-unreadable", body("3"))
	s.holdEvent("event-4", "event-4", "event-unreadable", "")
	s.hold("5", "unknown-configuration", false)
	s.holdEvent("event-5", order.Key("shopify", "5"), "condition-failed", body("5"))
	s.holdEvent("event-6", order.Key("shopify", "5"), "condition-failed", "")
	if out := s.do("holds"); !strings.Contains(out, "event-1  shopify    orders/create  event-unreadable") {
		t.Errorf("the table lacks an event:\n%s", out)
	}
	for what, want := range map[string]string{"event-1": "release it without --in-doubt-resolved", "event-9": "is not in the Error Hold"} {
		if _, err := s.try("release", what, "--reason", "x", "--in-doubt-resolved", "sent"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("release of %s as sent: %v, want %q", what, err, want)
		}
	}
	if _, err := s.try("release", "event-4", "--reason", "x"); err == nil || !strings.Contains(err.Error(), "its event was not kept with its hold") {
		t.Errorf("release of an event that is not there: %v", err)
	}
	s.run("logic-gate")
	if out := s.do("release", "event-1", "--reason", "read now"); out != "1 released\n" || !s.known("1") {
		t.Errorf("release of an event: %q", out)
	}
	if _, err := s.try("release", "event-1", "--reason", "again"); err == nil || !strings.Contains(err.Error(), "is not in the Error Hold") {
		t.Errorf("a second release: %v", err)
	}
	if out := s.do("release", "--all", "--cause", "event-unreadable", "--reason", "read now"); out != "2 released\n" || !s.known("2") || !s.known("3") {
		t.Errorf("release of a cause: %q", out)
	}
	if out := s.do("release", "5", "--reason", "both"); out != "2 released\n" || s.delivery("5").GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN {
		t.Errorf("release of a call and an event: %q", out)
	}
	if out := s.do("holds"); strings.Contains(out, "event-1") || strings.Contains(out, "event-5") || !strings.Contains(out, "event-4") {
		t.Errorf("after the releases:\n%s", out)
	}
}

// holdMessage puts a message that was refused into the Error Hold, and returns the name of
// its hold.
func (s *station) holdMessage(connector string, sequence uint64, code string) string {
	s.t.Helper()
	id := fmt.Sprintf("message-%d-1795000000000000", sequence)
	s.publish(bus.HoldSubject(connector, "refused", id), &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{Id: id, Connector: connector, Key: "refused", Requester: "throttle-dispatcher"},
		Cause:    &dispatchv1.Cause{Code: code, Detail: `nobody may ask for "putOrder"`}, PayloadHash: []byte{0xab, 0xcd},
		Refused: &dispatchv1.RefusedMessage{Subject: "dispatch.v1." + connector + ".bulk.reconcile.x", Sequence: sequence, Data: []byte("what it said"), Size: 99},
	})
	return id
}

// A message that was refused is listed with what it was. Nothing can be done with it, which
// a release says; its hold ends by a word of its own, which ends nothing else.
func TestRefusedMessagesAreDiscarded(t *testing.T) {
	s := newStation(t)
	s.hold("1", "unknown-configuration", false)
	second := s.holdMessage("wms", 17, "message-refused")
	s.holdMessage("netsuite", 18, "message-unreadable")
	s.holdMessage("netsuite", 19, "message-unreadable")
	s.holdMessage("netsuite", 20, "message-refused")
	out := strings.Join(strings.Fields(s.do("holds")), " ")
	for _, want := range []string{`message 17 wms - message-refused: nobody may ask for "putOrder"`, "message 18 netsuite - message-unreadable"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
	var listed []held
	if err := json.Unmarshal([]byte(s.do("holds", "-o", "json")), &listed); err != nil || len(listed) != 5 {
		t.Fatalf("json: %v, %+v", err, listed)
	}
	want := &heldMessage{Subject: "dispatch.v1.wms.bulk.reconcile.x", Sequence: 17, Bytes: 99, SHA256: "abcd", Begins: "d2hhdCBpdCBzYWlk"}
	for _, h := range listed {
		if diff := cmp.Diff(want, h.Message); h.Delivery == second && diff != "" {
			t.Errorf("message 17 (-want +got):\n%s", diff)
		}
		if h.Delivery == "shopify_1_orders_wms_1" && h.Message != nil {
			t.Errorf("an order's call is listed as the message %+v", h.Message)
		}
	}
	for want, arguments := range map[string][]string{
		"message 17 was refused by the throttle-dispatcher and cannot be sent":               {"message 17"},
		second + " was refused by the throttle-dispatcher and cannot be sent":                {second},
		"what is held as message-unreadable was refused by the throttle-dispatcher":          {"--all", "--cause", "message-unreadable"},
		"end its hold with --discard":                                                        {"refused"},
		"message 18 was refused":                                                             {"message 18", "--in-doubt-resolved", "sent"},
		"#1 is no message that was refused, and --discard would lose it":                     {"#1", "--discard"},
		"what is held as unknown-configuration is no message that was refused":               {"--all", "--cause", "unknown-configuration", "--discard"},
		"--discard is about messages that were refused, and --in-doubt-resolved about calls": {"message 17", "--discard", "--in-doubt-resolved", "sent"},
		"\"message 21\" is not in the Error Hold; \"peppasync holds\" lists what is":         {"message 21", "--discard"},
	} {
		if _, err := s.try(append([]string{"release", "--reason", "x"}, arguments...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("release %q: %v, want %q", arguments, err, want)
		}
	}
	s.run("logic-gate")
	if out := s.do("release", "message 17", "--reason", "a test of ours", "--discard"); out != "1 discarded\n" {
		t.Errorf("discard of one: %q", out)
	}
	if out := s.do("release", "--all", "--cause", "message-unreadable", "--reason", "looked at", "--discard"); out != "2 discarded\n" {
		t.Errorf("discard of a cause: %q", out)
	}
	if out := s.do("release", "refused", "--reason", "looked at", "--discard"); out != "1 discarded\n" {
		t.Errorf("discard of all: %q", out)
	}
	if out := s.do("holds"); strings.Contains(out, "message") || !strings.Contains(out, "#1") {
		t.Errorf("what is left:\n%s", out)
	}
}

// known says whether an order is in the store.
func (s *station) known(id string) bool {
	s.t.Helper()
	state := &orderv1.State{}
	if err := readState(s.t.Context(), s.bus, 4, order.Key("shopify", id), state); err != nil {
		s.t.Fatal(err)
	}
	return state.GetOrder() != nil
}

// An order whose state cannot be read is listed beside the others, and hides none.
func TestHoldsBesideAnUnreadableOrder(t *testing.T) {
	s := newStation(t)
	s.hold("1", "unknown-configuration", false)
	s.hold("2", "unknown-configuration", false)
	if _, err := s.bus.Publish(t.Context(), bus.Message{Subject: bus.OrderStateSubject(order.Key("shopify", "1")), Data: []byte{0xff}}); err != nil {
		t.Fatal(err)
	}
	if out := s.do("holds"); !strings.Contains(out, "#1") || !strings.Contains(out, "#2") {
		t.Errorf("the table lacks an order:\n%s", out)
	}
	if _, err := s.try("release", "#1", "--reason", "x"); err == nil || !strings.Contains(err.Error(), "cannot be read from the store") {
		t.Errorf("release of an order that cannot be read: %v", err)
	}
	s.run("logic-gate")
	s.do("release", "#2", "--reason", "x")
}
