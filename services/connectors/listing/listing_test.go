package listing_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

var at = time.Date(2026, 11, 23, 14, 30, 0, 5, time.UTC)

func TestWhatIsWrittenIsRead(t *testing.T) {
	asked := listing.Orders{Since: at, Page: "next"}
	if got, err := listing.ParseOrders(asked.Arguments()); err != nil || !got.Since.Equal(at) || got.Page != "next" {
		t.Errorf("%+v, error %v", got, err)
	}
	order := &orderv1.Order{
		Id: "9007199254740993", UpdatedAt: timestamppb.New(at), Lines: []*orderv1.Line{{Id: "1", Quantity: 1_000_000_000}},
		Attributes: map[string]string{"a": "b"}, Note: "ä\n",
	}
	page := listing.OrderPage{
		Orders: []*orderv1.Order{order, {Id: "2"}}, Partial: []listing.Partial{{ID: "3", UpdatedAt: at}}, Next: "n", Open: true, Through: at,
	}
	value, err := page.Value()
	if err != nil {
		t.Fatal(err)
	}
	got, err := listing.ParseOrderPage(value)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(page, got, protocmp.Transform()); diff != "" {
		t.Errorf("a page of orders (-want +got):\n%s", diff)
	}
	value, err = listing.OrderValue(order)
	if err != nil {
		t.Fatal(err)
	}
	one, err := listing.ParseOrder(value)
	if diff := cmp.Diff(order, one, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("an order, error %v (-want +got):\n%s", err, diff)
	}
	hook := listing.Webhook{ID: "7", Topic: "orders/create", Address: "https://a.example/v1/webhooks/shop", Active: true, Stale: true}
	hooks, err := listing.ParseWebhookPage(listing.WebhookPage{Webhooks: []listing.Webhook{hook}, Next: "n"}.Value())
	if diff := cmp.Diff(listing.WebhookPage{Webhooks: []listing.Webhook{hook}, Next: "n"}, hooks); diff != "" || err != nil {
		t.Errorf("a page of webhooks, error %v (-want +got):\n%s", err, diff)
	}
	hook.Active, hook.Stale = false, false // they are no arguments
	if put, err := listing.ParseWebhook(hook.Arguments()); err != nil || put != hook {
		t.Errorf("%+v, error %v", put, err)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	empty := &structpb.Struct{}
	for name, err := range map[string]error{
		"since":    second(listing.ParseOrders(empty)),
		"id":       second(listing.ParseOrderID(empty)),
		"page":     second(listing.ParsePage(empty)),
		"topic":    second(listing.ParseWebhook(empty)),
		"orders":   second(listing.ParseOrderPage(empty)),
		"order":    second(listing.ParseOrder(empty)),
		"webhooks": second(listing.ParseWebhookPage(empty)),
	} {
		if err == nil || len(err.Error()) <= len(name) || err.Error()[:len(name)+1] != name+":" {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestPagesThatHaveNumbers(t *testing.T) {
	for page, want := range map[string]int{"": 1, "1": 1, "12": 12} {
		if got, err := listing.ParsePageNumber(listing.WebhooksArguments(page)); err != nil || got != want {
			t.Errorf("page %q: %d, error %v", page, got, err)
		}
	}
	for _, page := range []string{"0", "-1", "next", "1.5", "99999999999999999999"} {
		if got, err := listing.ParsePageNumber(listing.WebhooksArguments(page)); err == nil {
			t.Errorf("page %q: %d", page, got)
		}
	}
}

func TestIDsThatAreWholeNumbers(t *testing.T) {
	for id, whole := range map[string]bool{"0": true, "5001": true, "12345": true, "": false, "123456": false, "-1": false, "1/2": false, "7?x=1": false} {
		if err := listing.WholeNumber(id, 5); (err == nil) != whole {
			t.Errorf("%q: error %v", id, err)
		}
	}
}

func TestTheWebhookThatWasMadeIsOneThatWorks(t *testing.T) {
	put := listing.Webhook{Topic: "order.created", Address: "https://a.example/v1/webhooks/shop"}
	works := listing.Webhook{ID: "3", Topic: put.Topic, Address: put.Address, Active: true}
	off, other := works, works
	off.ID, off.Active = "1", false
	other.ID, other.Topic = "2", "order.updated"
	page := listing.WebhookPage{Webhooks: []listing.Webhook{off, other, works}}
	if id, made := page.Made(put); id != "3" || !made {
		t.Errorf("webhook %q, %v; want 3", id, made)
	}
	put.ID = "3"
	if id, made := page.Made(put); made {
		t.Errorf("webhook %q was made, though one was to be mended", id)
	}
}
