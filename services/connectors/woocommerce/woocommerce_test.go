package woocommerce_test

import (
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/woocommerce"
	"github.com/peppasync/peppasync/services/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

//go:embed testdata/order.json
var orderJSON []byte

var (
	since    = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	readCall = connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderArguments("727")}
	listCall = connectors.Call{Operation: connectors.OperationListOrders, Arguments: listing.Orders{Since: since}.Arguments()}
	hookCall = connectors.Call{Operation: connectors.OperationListWebhooks, Arguments: listing.WebhooksArguments("")}
	putCall  = connectors.Call{
		Operation: connectors.OperationPutWebhook, IdempotencyKey: "0197a1de-0000-7000-8000-000000000001",
		Arguments: listing.Webhook{Topic: "order.created", Address: "https://in.example/v1/webhooks/shop"}.Arguments(),
	}
)

const hooksJSON = `[
	{"id":9,"name":"x","status":"active","topic":"order.updated","delivery_url":"https://in.example/v1/webhooks/shop"},
	{"id":142,"name":"Peppasync order.created","status":"active","topic":"order.created","delivery_url":"https://in.example/v1/webhooks/shop"}]`

func spec() *v1alpha1.ConnectorSpec {
	return &v1alpha1.ConnectorSpec{
		System: v1alpha1.SystemWooCommerce, Endpoint: "https://shop.example/store",
		Auth: &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "shop"}},
	}
}

func system() conformance.System {
	return conformance.System{
		System: woocommerce.WooCommerce{},
		Spec:   spec(),
		Secret: connectors.Secret{"consumerKey": "ck_0123456789abcdef", "consumerSecret": "cs_0123456789abcdef"},
		Cases: []conformance.Case{
			{Call: readCall, Accepted: connectors.Reply{Status: 200, Body: orderJSON[:len(strings.TrimSpace(string(orderJSON)))]}, HasValue: true},
			{Call: listCall, Accepted: connectors.Reply{Status: 200, Header: http.Header{"X-Wp-Totalpages": {"1"}}, Body: []byte("[" + compact(orderJSON) + "]")}, HasValue: true},
			{Call: hookCall, Accepted: connectors.Reply{Status: 200, Body: []byte(hooksJSON)}, HasValue: true},
			{
				Call: putCall, Accepted: connectors.Reply{Status: 201, Body: []byte(`{"id":142,"status":"active"}`)}, Reference: "142",
				Lookups: map[string]conformance.Lookup{
					"it is there":     {Reply: connectors.Reply{Status: 200, Body: []byte(hooksJSON)}, Presence: connectors.Present, Reference: "142"},
					"there are none":  {Reply: connectors.Reply{Status: 200, Body: []byte(`[]`)}, Presence: connectors.Absent},
					"one that is off": {Reply: connectors.Reply{Status: 200, Body: []byte(strings.ReplaceAll(hooksJSON, "active", "disabled"))}, Presence: connectors.Absent},
				},
			},
		},
	}
}

func compact(data []byte) string {
	var value any
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		panic(err)
	}
	out, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func TestSystemConformance(t *testing.T) { system().Test(t) }
func FuzzRead(f *testing.F)              { system().FuzzRead(f) }

func sign(topic, _ string, body []byte, key string) http.Header {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	header := make(http.Header)
	header.Set("X-WC-Webhook-Source", "https://shop.example/")
	header.Set("X-WC-Webhook-Topic", topic)
	header.Set("X-WC-Webhook-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	header.Set("X-WC-Webhook-ID", "142")
	header.Set("X-WC-Webhook-Delivery-ID", "0b1f6b1c")
	return header
}

func source() conformance.Source {
	return conformance.Source{
		Source: woocommerce.WooCommerce{},
		Sign:   sign,
		Orders: []conformance.OrderCase{
			{Topic: "order.created", Body: orderJSON, ID: "9007199254740993"},
			{Topic: "order.updated", Body: []byte(`{"id":1,"status":"cancelled","date_modified_gmt":"2026-11-23T14:30:00","line_items":[]}`), ID: "1"},
			{Topic: "order.restored", Body: []byte(`{"id":1,"date_modified_gmt":"2026-11-23T14:30:00","line_items":[]}`), ID: "1"},
		},
		Thin:   []conformance.OrderCase{{Topic: "order.deleted", Body: []byte(`{"id":727}`), ID: "727"}},
		Others: []string{"", "orders/create", "product.updated", "customer.created", "action.woocommerce_add_to_cart"},
	}
}

func TestSourceConformance(t *testing.T) { source().Test(t) }
func FuzzOrder(f *testing.F)             { source().FuzzOrder(f) }
func FuzzVerify(f *testing.F)            { source().FuzzVerify(f) }

func TestThePingOfAWebhookThatIsTurnedOnTellsNothing(t *testing.T) {
	verify := func(header http.Header, body string) ([]connectors.Event, error) {
		return woocommerce.WooCommerce{}.Verify(connectors.Delivery{Header: header, Body: []byte(body), Secret: connectors.Secret{"secret": "k"}})
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if events, err := verify(form, "webhook_id=142"); events != nil || err != nil {
		t.Errorf("%+v, error %v", events, err)
	}
	for _, body := range []string{"webhook_id=", "webhook_id=1&x=2", "x webhook_id=1", "webhook_id=1\n{}", `{"webhook_id":1}`, ""} {
		if _, err := verify(form, body); !errors.Is(err, connectors.ErrSignature) {
			t.Errorf("%q unsigned: error %v, want ErrSignature", body, err)
		}
	}
	signed := sign("order.created", "", []byte("webhook_id=142"), "guess")
	if _, err := verify(signed, "webhook_id=142"); !errors.Is(err, connectors.ErrSignature) {
		t.Errorf("one that claims to be signed: error %v, want ErrSignature", err)
	}
}

func TestEventsAreToldApartByWhatTheySay(t *testing.T) {
	event := func(topic, body string) connectors.Event {
		events, err := woocommerce.WooCommerce{}.Verify(connectors.Delivery{
			Header: sign(topic, "", []byte(body), "k"), Body: []byte(body), Secret: connectors.Secret{"secret": "k"},
		})
		if err != nil || len(events) != 1 {
			t.Fatalf("%+v, error %v", events, err)
		}
		return events[0]
	}
	// All of them have one delivery id, as what a shop sends in one second has.
	first := event("order.updated", `{"id":1}`)
	if again := event("order.updated", `{"id":1}`); again.ID != first.ID {
		t.Errorf("the same twice: %q and %q", first.ID, again.ID)
	}
	for _, other := range []connectors.Event{event("order.created", `{"id":1}`), event("order.updated", `{"id":2}`)} {
		if other.ID == first.ID {
			t.Errorf("%s %s has the id of another event", other.Topic, other.Body)
		}
	}
}

func TestADeletedOrderIsAThinEvent(t *testing.T) {
	shop := woocommerce.WooCommerce{}
	if _, err := shop.Order(nil, "order.deleted", []byte(`{"id":727}`)); !errors.Is(err, connectors.ErrThin) {
		t.Errorf("error %v, want ErrThin", err)
	}
	if id, err := shop.OrderID(nil, "order.deleted", []byte(`{"id":727}`)); id != "727" || err != nil {
		t.Errorf("id %q, error %v", id, err)
	}
	for _, body := range []string{"", "{}", `{"id":0}`, `{"id":"x"}`, "null", "[]"} {
		if _, err := shop.Order(nil, "order.deleted", []byte(body)); !errors.Is(err, connectors.ErrMalformed) {
			t.Errorf("%q: error %v, want ErrMalformed", body, err)
		}
	}
	if !shop.Cancels("order.deleted") || shop.Cancels("order.updated") {
		t.Error("only order.deleted is of cancelled orders alone")
	}
}

func TestTheSecretIsPutInLast(t *testing.T) {
	shop := woocommerce.WooCommerce{}
	request, err := shop.Request(spec(), putCall)
	if err != nil {
		t.Fatal(err)
	}
	before := string(request.Body)
	sealed, err := shop.Seal(spec(), putCall, request, connectors.Secret{"secret": "whsec"})
	want := `{"name":"Peppasync order.created","topic":"order.created","delivery_url":"https://in.example/v1/webhooks/shop","status":"active","secret":"whsec"}`
	if err != nil || string(sealed.Body) != want {
		t.Errorf("error %v, body %s, want %s", err, sealed.Body, want)
	}
	if string(request.Body) != before || strings.Contains(before, "whsec") {
		t.Errorf("the request that is kept: %s", request.Body)
	}
	if _, err := shop.Seal(spec(), putCall, request, nil); !errors.Is(err, connectors.ErrSecret) {
		t.Errorf("without a secret: error %v, want ErrSecret", err)
	}
	read, _ := shop.Request(spec(), readCall)
	if same, err := shop.Seal(spec(), readCall, read, nil); err != nil || same.Path != read.Path {
		t.Errorf("a request that needs none: %+v, error %v", same, err)
	}
}

func TestRequests(t *testing.T) {
	mend := connectors.Call{Operation: connectors.OperationPutWebhook, Arguments: listing.Webhook{ID: "142", Topic: "order.created", Address: "https://x.example/"}.Arguments()}
	tests := map[string]struct {
		call         connectors.Call
		method, path string
	}{
		"an order": {readCall, "GET", "/wp-json/wc/v3/orders/727"},
		"orders since a moment, that moment included": {listCall, "GET",
			"/wp-json/wc/v3/orders?dates_are_gmt=true&modified_after=2026-11-23T13%3A59%3A59&order=asc&orderby=modified&per_page=50&status=any"},
		"webhooks":          {hookCall, "GET", "/wp-json/wc/v3/webhooks?page=1&per_page=100"},
		"a new webhook":     {putCall, "POST", "/wp-json/wc/v3/webhooks"},
		"a webhook to mend": {mend, "PUT", "/wp-json/wc/v3/webhooks/142"},
		"a page of one second": {connectors.Call{Operation: connectors.OperationListOrders, Arguments: listing.Orders{Since: since, Page: "2026-11-23T15:00:00/3"}.Arguments()}, "GET",
			"/wp-json/wc/v3/orders?dates_are_gmt=true&modified_after=2026-11-23T14%3A59%3A59&modified_before=2026-11-23T15%3A00%3A01&order=asc&orderby=id&page=3&per_page=10&status=any"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			request, err := woocommerce.WooCommerce{}.Request(spec(), test.call)
			if err != nil || request.Method != test.method || request.Path != test.path {
				t.Errorf("%s %s, error %v, want %s %s", request.Method, request.Path, err, test.method, test.path)
			}
		})
	}
	for _, id := range []string{"..", "1/refunds", "1?force=true", "x", "-1"} {
		if _, err := (woocommerce.WooCommerce{}).Request(spec(), connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderArguments(id)}); err == nil {
			t.Errorf("order %q is asked for", id)
		}
	}
	for _, page := range []string{"x", "2026-11-23T15:00:00/x", "2026-11-23T15:00:00/-1", "/1"} {
		if _, err := (woocommerce.WooCommerce{}).Request(spec(), connectors.Call{Operation: connectors.OperationListOrders, Arguments: listing.Orders{Page: page}.Arguments()}); err == nil {
			t.Errorf("page %q is asked for", page)
		}
	}
}

func TestReplies(t *testing.T) {
	type want struct {
		class  fault.Class
		code   string
		outage bool
	}
	tests := map[string]struct {
		call   connectors.Call
		status int
		body   string
		want   want
	}{
		"no such order": {readCall, 404, `{"code":"woocommerce_rest_shop_order_invalid_id","message":"Invalid ID.","data":{"status":404}}`,
			want{fault.Conflict, connectors.CodeNoSuchOrder, false}},
		"no such path":                   {readCall, 404, `{"code":"rest_no_route","message":"No route was found.","data":{"status":404}}`, want{fault.Permanent, "rest-no-route", false}},
		"a page that knows no such path": {readCall, 404, `<html>404</html>`, want{fault.Permanent, "http-404", false}},
		"a basket that is no order yet": {readCall, 200, `{"id":1,"status":"checkout-draft","date_modified_gmt":"2026-11-23T14:30:00","line_items":[]}`,
			want{fault.Conflict, connectors.CodeNoSuchOrder, false}},
		"an order without lines": {readCall, 200, `{"id":1,"date_modified_gmt":"2026-11-23T14:30:00"}`, want{fault.Permanent, "order-unreadable", false}},
		"a key without rights": {readCall, 401, `{"code":"woocommerce_rest_cannot_view","message":"Sorry, you cannot view this resource.","data":{"status":401}}`,
			want{fault.Auth, "woocommerce-rest-cannot-view", false}},
		"a key that may not see webhooks": {hookCall, 403, `{"code":"woocommerce_rest_cannot_view","message":"Sorry, you cannot list resources.","data":{"status":403}}`,
			want{fault.Conflict, connectors.CodeNoRight, false}},
		"a key that may only read": {putCall, 401, `{"code":"woocommerce_rest_authentication_error","message":"The API key provided does not have write permissions.","data":{"status":401}}`,
			want{fault.Conflict, connectors.CodeNoRight, false}},
		"a key that is not known": {hookCall, 401, `{"code":"woocommerce_rest_authentication_error","message":"Consumer key is invalid.","data":{"status":401}}`,
			want{fault.Auth, "woocommerce-rest-authentication-error", false}},
		"maintenance":                {readCall, 503, `<html>Briefly unavailable for scheduled maintenance.</html>`, want{fault.Transient, "http-503", true}},
		"a critical error":           {listCall, 500, `{"code":"internal_server_error","message":"There has been a critical error.","data":{"status":500}}`, want{fault.Transient, "internal-server-error", false}},
		"a critical error on a put":  {putCall, 500, `{"code":"internal_server_error","message":"x","data":{"status":500}}`, want{fault.Unknown, "internal-server-error", false}},
		"a warning before the JSON":  {readCall, 200, "<br />\n<b>Warning</b>: x {}", want{fault.Unknown, "unreadable-reply", false}},
		"a list that is an object":   {listCall, 200, `{}`, want{fault.Unknown, "unreadable-reply", false}},
		"webhooks that are a null":   {hookCall, 200, `null`, want{fault.Unknown, "unreadable-reply", false}},
		"a made webhook without id":  {putCall, 201, `{}`, want{fault.Unknown, "unreadable-reply", false}},
		"an address that it refuses": {putCall, 400, `{"code":"rest_invalid_param","message":"Invalid parameter(s): delivery_url"}`, want{fault.Permanent, "rest-invalid-param", false}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer := system().Check(t, test.call, connectors.Reply{Status: test.status, Body: []byte(test.body), Written: true, At: conformance.At})
			if got := (want{answer.Class, answer.Cause.Code, answer.Outage}); got != test.want {
				t.Errorf("%+v (%s), want %+v", got, answer.Cause.Detail, test.want)
			}
		})
	}
	marked := append([]byte("\xef\xbb\xbf"), orderJSON...)
	if answer := system().Check(t, readCall, connectors.Reply{Status: 200, Body: marked, Written: true, At: conformance.At}); answer.Class != fault.OK {
		t.Errorf("behind a byte order mark: %s %+v", answer.Class, answer.Cause)
	}
}
