package message_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/notifier/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// held returns the hold of a step of an order, changed.
func held(change ...func(*dispatchv1.Hold)) *dispatchv1.Hold {
	hold := &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: "shopify_5500_orders_warehouse_1", Connector: "wms", Key: "shopify_5500", Operation: "putOrder", Requester: "logic-gate",
			Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{Flow: "orders", Step: "warehouse", Revision: 1}},
		},
		Cause:    &dispatchv1.Cause{Code: "unknown-configuration", Detail: "line 1: configuration 'CFG-X9' is not known", Status: 422},
		HeldAt:   timestamppb.New(time.Date(2026, 5, 2, 14, 47, 0, 0, time.UTC)),
		Attempts: 1,
	}
	for _, c := range change {
		c(hold)
	}
	return hold
}

// because replaces the cause.
func because(code, detail string, status int32) func(*dispatchv1.Hold) {
	return func(h *dispatchv1.Hold) { h.Cause = &dispatchv1.Cause{Code: code, Detail: detail, Status: status} }
}

func attempts(n int32) func(*dispatchv1.Hold) { return func(h *dispatchv1.Hold) { h.Attempts = n } }
func inDoubt(h *dispatchv1.Hold)              { h.InDoubt = true }

// refused makes it the hold of a message, as the throttle-dispatcher holds them.
func refused(h *dispatchv1.Hold) {
	h.Delivery = &dispatchv1.Delivery{Id: "message-7-1", Connector: "wms", Key: "refused", Requester: "throttle-dispatcher"}
	h.Cause = &dispatchv1.Cause{Code: "message-refused", Detail: `nobody may ask for "call +1555 and pay" under the key reconcile`}
	h.Refused, h.Attempts = &dispatchv1.RefusedMessage{Subject: "dispatch.v1.wms.bulk.reconcile.call me"}, 0
}

// aRefusal makes it what a source refuses, as ingest holds that.
func aRefusal(h *dispatchv1.Hold) {
	h.Delivery = &dispatchv1.Delivery{Id: "refused-listOrders", Connector: "shopify", Key: "reconcile", Operation: "listOrders", Requester: "ingest"}
}

// anEvent makes it the hold of an event, as the logic-gate holds them.
func anEvent(h *dispatchv1.Hold) {
	h.Delivery.Connector, h.Delivery.Operation = "shopify", "orders/create"
	h.Delivery.Content = &dispatchv1.Delivery_Arguments{}
	h.Attempts = 0
}

func TestText(t *testing.T) {
	tests := map[string]struct {
		hold *dispatchv1.Hold
		name string
		want string
	}{
		"refused": {held(), "#1500",
			"Order #1500 is held: wms refused it: line 1: configuration 'CFG-X9' is not known. It waits in the Error Hold; all others go on."},
		"refused without words": {held(because("http-422", "", 422)), "#1500",
			"Order #1500 is held: wms refused it: status 422. It waits in the Error Hold; all others go on."},
		"refused in words for a program": {held(because("credit-hold", `{"error":{"code":17}}`, 400)), "#1500",
			"Order #1500 is held: wms refused it: credit hold. It waits in the Error Hold; all others go on."},
		"out of attempts": {held(because("http-503", "Service Unavailable", 503), attempts(12)), "#1500",
			"Order #1500 is held: wms did not take it in 12 attempts: Service Unavailable. It waits in the Error Hold; all others go on."},
		"in doubt": {held(because("no-reply", "connection reset", 0), inDoubt), "#1500",
			"Order #1500 is held: wms may have it: no reply came: connection reset. Look there before it is sent again. It is in the Error Hold."},
		"never sent": {held(because("mapping-failed", "line 3, column 7: no such key: sku", 0), attempts(0)), "#1500",
			"Order #1500 is held before it went to wms: its mapping failed: line 3, column 7: no such key: sku. It waits in the Error Hold; all others go on."},
		"an order that nobody can name": {held(because("order-missing", "", 0), attempts(0)), "",
			"An order is held before it went to wms: its data is not there. It waits in the Error Hold; all others go on."},
		"an event": {held(anEvent, because("event-unreadable", "malformed: no id", 0)), "",
			"orders/create of shopify is held: cannot be read: malformed: no id. It waits in the Error Hold; all others go on."},
		"an event of a known order": {held(anEvent, because("event-not-applied", "", 0)), "#1500",
			"Order #1500 is held: orders/create of shopify: could not be applied. It waits in the Error Hold; all others go on."},
		// What it says is its sender's, who may be anybody.
		"a message": {held(refused), "",
			"A message for wms is held: its sender may not ask for it. See peppasync holds. No other text tells of more of them today."},
		"a message that cannot be read": {held(refused, because("message-unreadable", "call me", 0)), "",
			"A message for wms is held: it cannot be read. See peppasync holds. No other text tells of more of them today."},
		"a message for a long name": {held(refused, func(h *dispatchv1.Hold) { h.Delivery.Connector = strings.Repeat("long-", 20) }), "",
			"A message for long-long-long-long-l... is held: its sender may not ask for it. See peppasync holds. No other text tells of more of them today."},
		"no cause at all": {held(func(h *dispatchv1.Hold) { h.Cause = nil }, attempts(0)), "#1500",
			"Order #1500 is held before it went to wms: no reason was given. It waits in the Error Hold; all others go on."},
		"a long cause": {held(because("x", "line 1: the configuration 'OAK-180x90-LEFT-LACQUERED' is not one that this warehouse builds any more", 422)), "#1500",
			"Order #1500 is held: wms refused it: line 1: the configuration 'OAK-180x90-LEFT-LACQUERED' is not one that... It waits in the Error Hold; all others go on."},
		"a source that refuses": {held(aRefusal, because("no-right", "Access denied for orders field", 200)), "",
			"shopify refuses listOrders: the right is missing: Access denied for orders field. What its webhooks miss stays unknown; see peppasync sources."},
		"a source whose credentials are refused": {held(aRefusal, because("credentials-refused", "", 401)), "",
			"shopify refuses listOrders: credentials refused. What its webhooks miss stays unknown; see peppasync sources."},
		"letters that a text lacks": {held(because("x", "Größe “180×90” – naïve заказ ok…", 422)), "#1500",
			"Order #1500 is held: wms refused it: Größe \"180x90\" - naive ? ok. It waits in the Error Hold; all others go on."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := message.Text(test.hold, test.name)
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if n := utf8.RuneCountInString(got); n > message.Segment {
				t.Errorf("%d characters, at most %d fit", n, message.Segment)
			}
		})
	}
}

func TestID(t *testing.T) {
	const subject, to = "hold.v1.wms.shopify_5500.shopify_5500_orders_warehouse_1", "+15550100002"
	id := message.ID(subject, 7, held(), to)
	if want := "text-"; !strings.HasPrefix(id, want) || len(id) != len(want)+32 {
		t.Errorf("%q is not %s and 32 hex digits", id, want)
	}
	later := func(h *dispatchv1.Hold) { h.HeldAt = timestamppb.New(h.GetHeldAt().AsTime().Add(time.Nanosecond)) }
	tomorrow := func(h *dispatchv1.Hold) { h.HeldAt = timestamppb.New(h.GetHeldAt().AsTime().Add(24 * time.Hour)) }
	timeless := func(h *dispatchv1.Hold) { h.HeldAt = nil }
	tests := map[string]struct {
		a, b string
		same bool
	}{
		"the same hold":                    {id, message.ID(subject, 7, held(), to), true},
		"the same hold written again":      {id, message.ID(subject, 9, held(), to), true},
		"held again after a release":       {id, message.ID(subject, 9, held(later), to), false},
		"another recipient":                {id, message.ID(subject, 7, held(), "+15550100003"), false},
		"another delivery":                 {id, message.ID(subject+"2", 7, held(), to), false},
		"no moment, the same record":       {message.ID(subject, 7, held(timeless), to), message.ID(subject, 7, held(timeless), to), true},
		"no moment, another record":        {message.ID(subject, 7, held(timeless), to), message.ID(subject, 8, held(timeless), to), false},
		"another message of the day":       {message.ID(subject, 7, held(refused), to), message.ID("hold.v1.erp.refused.message-8-2", 8, held(refused, later), to), true},
		"a message of another day":         {message.ID(subject, 7, held(refused), to), message.ID(subject, 7, held(refused, tomorrow), to), false},
		"a message, another person":        {message.ID(subject, 7, held(refused), to), message.ID(subject, 7, held(refused), "+15550100003"), false},
		"a message and an order":           {message.ID(subject, 7, held(refused), to), id, false},
		"parts that join to the same text": {message.ID("a1", 7, held(), "2"), message.ID("a", 7, held(), "12"), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if (test.a == test.b) != test.same {
				t.Errorf("%s and %s", test.a, test.b)
			}
		})
	}
}

func TestKindOf(t *testing.T) {
	if got := message.KindOf(held(refused), "notifier"); got != message.KindRefused {
		t.Errorf("a message that was refused: got %v, want %v", got, message.KindRefused)
	}
	tests := map[string]struct {
		delivery *dispatchv1.Delivery
		want     message.Kind
	}{
		"a step of an order": {held().GetDelivery(), message.KindOrder},
		"an event":           {held(anEvent).GetDelivery(), message.KindOrder},
		"a text":             {&dispatchv1.Delivery{Operation: "sendMessage", Requester: "notifier"}, message.KindMessage},
		"a text by a flow": {&dispatchv1.Delivery{Operation: "sendMessage", Requester: "logic-gate",
			Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{}}}, message.KindMessage},
		"another call of this role": {&dispatchv1.Delivery{Operation: "sendMail", Requester: "notifier"}, message.KindMessage},
		"a read of stock":           {&dispatchv1.Delivery{Operation: "readStock", Requester: "inventory-reconciler"}, message.KindOther},
		"what a source refuses":     {held(aRefusal).GetDelivery(), message.KindSource},
		"one try that it refused":   {&dispatchv1.Delivery{Id: "x", Key: "reconcile", Operation: "listOrders", Requester: "ingest"}, message.KindOther},
		"what is under its key and no question": {&dispatchv1.Delivery{Id: "refused-putOrder", Key: "reconcile", Operation: "putOrder", Requester: "ingest",
			Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{}}}, message.KindOther},
		"nothing": {nil, message.KindOther},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := message.KindOf(&dispatchv1.Hold{Delivery: test.delivery}, "notifier"); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
