package message_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/notifier/internal/message"
)

// onAir returns the septets of a text, by the rules of GSM 03.38 as they are
// told apart from ASCII and not by the table that the code has; false where it
// has a character that no such text can hold.
func onAir(text string) (int, bool) {
	n := 0
	for _, r := range text {
		switch {
		case strings.ContainsRune("^{}\\[~]|€", r):
			n += 2
		case r >= ' ' && r < 0x7f && r != '`', strings.ContainsRune("£¥èéùìòÇØøÅåÆæßÉ¤¡ÄÖÑÜ§¿äöñüàΔΦΓΛΩΠΨΣΘΞ", r):
			n++
		default:
			return 0, false
		}
	}
	return n, true
}

// check says what holds for every text.
func check(t rapid.TB, hold *dispatchv1.Hold, name string) {
	text := message.Text(hold, name)
	n, ok := onAir(text)
	end, held := "It waits in the Error Hold; all others go on.", " is held"
	switch {
	case connectors.IsRefusal(hold):
		end, held = "What its webhooks miss stays unknown; see peppasync sources.", " refuses "
	case hold.GetInDoubt():
		end = "Look there before it is sent again. It is in the Error Hold."
	}
	if hold.GetRefused() != nil {
		end = "No other text tells of more of them today."
	}
	switch {
	case !ok || !utf8.ValidString(text):
		t.Fatalf("%q has characters that would double its price", text)
	case n > message.Segment:
		t.Fatalf("%q is %d septets long, at most %d are one text", text, n, message.Segment)
	case !strings.Contains(text, held):
		t.Fatalf("%q does not say what happened", text)
	case !strings.HasSuffix(text, end):
		t.Fatalf("%q does not end in %q", text, end)
	}
	if again := message.Text(hold, name); again != text {
		t.Fatalf("one hold gives %q and %q", text, again)
	}
}

func holds() *rapid.Generator[*dispatchv1.Hold] {
	text := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[a-z' -]{0,400}`),
		rapid.StringMatching(`[\[\]{}^~€|\\]{0,300}`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "mapping-failed", "http-422", "unknown-configuration", "…", "заказ №1"}),
	)
	return rapid.Custom(func(t *rapid.T) *dispatchv1.Hold {
		hold := &dispatchv1.Hold{
			Delivery: &dispatchv1.Delivery{Connector: text.Draw(t, "connector"), Operation: text.Draw(t, "operation")},
			Cause:    &dispatchv1.Cause{Code: text.Draw(t, "code"), Detail: text.Draw(t, "detail"), Status: rapid.Int32().Draw(t, "status")},
			Attempts: rapid.OneOf(rapid.Int32Range(0, 12), rapid.Int32()).Draw(t, "attempts"), InDoubt: rapid.Bool().Draw(t, "in doubt"),
		}
		if rapid.Bool().Draw(t, "a step") {
			hold.Delivery.Content = &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{}}
		}
		if rapid.Bool().Draw(t, "a source") {
			operation := rapid.SampledFrom([]string{connectors.OperationListOrders, connectors.OperationPutWebhook}).Draw(t, "asked")
			hold.Delivery.Key, hold.Delivery.Operation, hold.Delivery.Id = connectors.KeyOfSources, operation, connectors.RefusalID(operation)
		}
		return hold
	})
}

func TestEveryHoldGivesOneSegment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		check(t, holds().Draw(t, "hold"), rapid.OneOf(rapid.String(), rapid.StringMatching(`#[0-9]{1,200}`)).Draw(t, "name"))
	})
}

// Ordinary names are in the text as they are.
func TestTheTextNamesOrderAndSystem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hold := holds().Draw(t, "hold")
		hold.Delivery.Key = "shopify_1"
		hold.Delivery.Connector = rapid.StringMatching(`[a-z][a-z0-9-]{0,22}[a-z0-9]`).Draw(t, "connector")
		name := rapid.StringMatching(`#[0-9A-Z-]{1,20}`).Draw(t, "name")
		text := message.Text(hold, name)
		if !strings.Contains(text, "Order "+name+" is held") || !strings.Contains(text, hold.GetDelivery().GetConnector()) {
			t.Fatalf("%q does not name order %s and %s", text, name, hold.GetDelivery().GetConnector())
		}
	})
}

// What a message says that was refused is in no text: its sender may be anybody.
func TestARefusedMessageDictatesNoText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hold := holds().Draw(t, "hold")
		hold.Refused = &dispatchv1.RefusedMessage{}
		check(t, hold, "")
		hold.Cause.Code, hold.Delivery.Connector = "message-refused", "wms"
		const want = "A message for wms is held: its sender may not ask for it. See peppasync holds. No other text tells of more of them today."
		if text := message.Text(hold, rapid.String().Draw(t, "name")); text != want {
			t.Fatalf("got %q, want %q", text, want)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte("configuration 'CFG-X9' is not known"), []byte("unknown-configuration"), []byte("wms"), "#1500", int32(422), int32(1), false)
	f.Add([]byte("\xff\xfe\x00`"), []byte("http-500"), []byte(strings.Repeat("€", 200)), strings.Repeat("ж", 200), int32(0), int32(0), true)
	f.Fuzz(func(t *testing.T, detail, code, connector []byte, name string, status, attempts int32, inDoubt bool) {
		hold := &dispatchv1.Hold{
			Delivery: &dispatchv1.Delivery{Connector: string(connector), Operation: string(code)},
			Cause:    &dispatchv1.Cause{Code: string(code), Detail: string(detail), Status: status},
			Attempts: attempts, InDoubt: inDoubt, HeldAt: &timestamppb.Timestamp{Seconds: int64(status), Nanos: attempts},
		}
		check(t, hold, name)
		if id := message.ID("hold.v1.a.b.c", 1, hold, name); bus.Token(id) != id {
			t.Fatalf("%q is no subject token", id)
		}
	})
}
