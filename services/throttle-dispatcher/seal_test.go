package throttledispatcher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/secrets"
)

// drawer holds the secrets of a shop, which the test changes.
type drawer struct {
	mu     sync.Mutex
	of     map[string]map[string]string
	broken error
}

func (d *drawer) put(name string, secret map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.of[name] = secret
}

func (d *drawer) breaks(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// Secret is part of secrets.Resolver.
func (d *drawer) Secret(_ context.Context, name string) (map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil && name == "hook" {
		return nil, d.broken
	}
	if d.of[name] == nil {
		return nil, fmt.Errorf("%q: %w", name, secrets.ErrNotFound)
	}
	return d.of[name], nil
}

const hookKey = "the-key-that-the-shop-signs-by"

// atShop is a world whose account is a WooCommerce shop.
func atShop(t *testing.T) (*world, *drawer) {
	t.Helper()
	w := newWorld(t, 40, time.Second)
	d := &drawer{of: map[string]map[string]string{"shop": {"consumerKey": "ck", "consumerSecret": "cs"}, "hook": {"secret": hookKey}}}
	w.secrets = d
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.System, spec.HTTP = v1alpha1.SystemWooCommerce, nil
		spec.Auth = &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "shop"}}
		spec.Webhook = &v1alpha1.Webhook{SecretRef: v1alpha1.SecretReference{Name: "hook"}}
	})
	w.account.answer(func(rw http.ResponseWriter, r *http.Request, _ string) int {
		rw.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodPost:
			_, _ = rw.Write([]byte(`{"id":142,"status":"active"}`))
			return http.StatusCreated
		case strings.HasSuffix(r.URL.Path, "/orders/5"):
			_, _ = rw.Write([]byte(`{"id":5,"date_modified_gmt":"2026-11-23T14:30:00","line_items":[]}`))
			return http.StatusOK
		case strings.HasSuffix(r.URL.Path, "/orders/6"):
			_, _ = rw.Write([]byte(`{"id":6,"date_modified_gmt":"noon"}`))
			return http.StatusOK
		}
		_, _ = rw.Write([]byte(`{"code":"woocommerce_rest_shop_order_invalid_id","message":"Invalid ID."}`))
		return http.StatusNotFound
	})
	return w, d
}

func hook() *dispatchv1.Delivery {
	d := query("h1")
	d.Operation = connectors.OperationPutWebhook
	d.Content = &dispatchv1.Delivery_Arguments{Arguments: listing.Webhook{Topic: "order.created", Address: "https://in.example/v1/webhooks/shop"}.Arguments()}
	return d
}

func readOf(id string) *dispatchv1.Delivery {
	d := query("read-" + id)
	d.Operation = connectors.OperationReadOrder
	d.Content = &dispatchv1.Delivery_Arguments{Arguments: listing.OrderArguments(id)}
	d.Event = &eventv1.Event{Connector: "wms", Topic: "order.deleted", Id: "e-" + id, Body: []byte(`{"id":` + id + `}`)}
	return d
}

// The secret of a webhook goes to the shop, and into no record.
func TestAWebhooksSecretIsOnTheWireAlone(t *testing.T) {
	t.Parallel()
	w, _ := atShop(t)
	w.start()
	w.ask(hook())
	w.delivered(1)
	if result := w.resultOf(hook()); result.GetReference() != "142" {
		t.Errorf("result %v", result)
	}
	seen := w.account.on("/wp-json/wc/v3/webhooks")
	if len(seen) != 1 || !strings.Contains(seen[0].body, `"secret":"`+hookKey+`"`) {
		t.Errorf("the shop saw %v", seen)
	}
	for _, stream := range []string{bus.StreamLedger, bus.StreamResult, bus.StreamErrorHold, bus.StreamWaiting} {
		n := 0
		for record, err := range w.bus.Read(t.Context(), stream, ">", 0) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if bytes.Contains(record.Data, []byte(hookKey)) {
				t.Errorf("%s %d of %s holds the secret", record.Subject, record.Sequence, stream)
			}
		}
		if n == 0 && stream != bus.StreamErrorHold && stream != bus.StreamWaiting {
			t.Errorf("nothing is in %s", stream)
		}
	}
	for _, line := range w.log.with("") {
		if strings.Contains(line, hookKey) {
			t.Errorf("the log holds the secret: %s", line)
		}
	}
}

// A webhook whose secret is not there is not made without one; whoever asked is told,
// and all else goes on.
func TestAWebhookWithoutItsSecretIsHeld(t *testing.T) {
	t.Parallel()
	w, d := atShop(t)
	d.put("hook", map[string]string{"previousSecret": "old"})
	w.start()
	w.ask(hook())
	w.ask(readOf("5"))
	results := w.results(2)
	if r := results["h1"]; r.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD || r.GetCause().GetCode() != "webhook-secret-missing" ||
		!strings.Contains(r.GetCause().GetDetail(), `"hook"`) {
		t.Errorf("%v: want it held, with a cause that names the secret", r)
	}
	if r := results["read-5"]; r.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
		t.Errorf("the other call: %v", r)
	}
	if seen := w.account.on("/wp-json/wc/v3/webhooks"); len(seen) != 0 {
		t.Errorf("the shop saw %v", seen)
	}
}

// A secret that cannot be read just now is read again.
func TestAWebhookWaitsForASecretThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w, d := atShop(t)
	d.breaks(errors.New("the API server is away"))
	w.start()
	w.ask(hook())
	w.eventually("it is logged", func() bool { return len(w.log.with("the API server is away")) > 0 })
	d.breaks(nil)
	w.delivered(1)
}

// The event that a call is made for comes back with its result, and is held where the
// call is.
func TestAnEventComesBackWithTheOrderThatWasReadForIt(t *testing.T) {
	t.Parallel()
	w, _ := atShop(t)
	w.start()
	for _, id := range []string{"5", "6", "7"} {
		w.ask(readOf(id))
	}
	results := w.results(3)
	for id, want := range map[string]dispatchv1.Outcome{
		"5": dispatchv1.Outcome_OUTCOME_DELIVERED, "6": dispatchv1.Outcome_OUTCOME_HELD, "7": dispatchv1.Outcome_OUTCOME_CONFLICT,
	} {
		if r := results["read-"+id]; r.GetOutcome() != want || !proto.Equal(r.GetEvent(), readOf(id).GetEvent()) {
			t.Errorf("order %s: %v, want %v with its event", id, r, want)
		}
	}
	if o, err := listing.ParseOrder(results["read-5"].GetValue()); err != nil || o.GetId() != "5" {
		t.Errorf("order %v, error %v", o, err)
	}
	if hold := w.hold(results["read-6"]); !proto.Equal(hold.GetEvent(), readOf("6").GetEvent()) || hold.GetCause().GetCode() != "order-unreadable" {
		t.Errorf("the hold is %v", hold)
	}
	if cause := results["read-7"].GetCause(); cause.GetCode() != connectors.CodeNoSuchOrder || cause.GetStatus() != http.StatusNotFound {
		t.Errorf("the cause of what is not there is %v", cause)
	}
}

// Which secret the webhooks of a list show is said in the result, and no secret.
func TestAListSaysWhichSecretItsWebhooksShow(t *testing.T) {
	t.Parallel()
	w, d := atShop(t)
	const before = "the-key-before-this-one"
	d.put("shop", map[string]string{"accessToken": "t"})
	d.put("hook", map[string]string{"secret": hookKey, "previousSecret": before})
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.System = v1alpha1.SystemBigCommerce })
	w.account.answer(func(rw http.ResponseWriter, _ *http.Request, _ string) int {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(rw, `{"data":[{"id":1,"scope":"store/order/*","destination":"https://a.example","headers":{"X-Peppasync-Token":%q},"is_active":true},`+
			`{"id":2,"scope":"store/order/*","destination":"https://b.example","headers":{"X-Peppasync-Token":%q},"is_active":true}],"meta":{}}`, hookKey, before)
		return http.StatusOK
	})
	w.start()
	list := query("list")
	list.Operation = connectors.OperationListWebhooks
	list.Content = &dispatchv1.Delivery_Arguments{Arguments: listing.WebhooksArguments("")}
	w.ask(list)
	w.delivered(1)
	result := w.resultOf(list)
	page, err := listing.ParseWebhookPage(result.GetValue())
	if err != nil || len(page.Webhooks) != 2 || page.Webhooks[0].Stale || !page.Webhooks[0].Active || !page.Webhooks[1].Stale || !page.Webhooks[1].Active {
		t.Errorf("%+v, error %v, want the second to be stale; %v", page, err, result)
	}
	if text := result.String(); strings.Contains(text, hookKey) || strings.Contains(text, before) {
		t.Errorf("the result tells a secret: %s", text)
	}
}
