package shopify_test

import (
	_ "embed"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/shopify"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
)

//go:embed testdata/listed.json
var listedJSON []byte

//go:embed testdata/asbody.json
var asBodyJSON []byte

var (
	listOrdersCall = connectors.Call{
		Operation: connectors.OperationListOrders,
		Arguments: listing.Orders{Since: time.Date(2026, 11, 23, 14, 30, 0, 5, time.UTC)}.Arguments(),
	}
	readOrderCall    = connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderArguments("5001")}
	listWebhooksCall = connectors.Call{Operation: connectors.OperationListWebhooks, Arguments: listing.WebhooksArguments("")}
	createCall       = connectors.Call{
		Operation: connectors.OperationPutWebhook, IdempotencyKey: "0197a1de-0000-7000-8000-000000000002",
		Arguments: listing.Webhook{Topic: "orders/create", Address: "https://orders.example.com/v1/webhooks/shopify"}.Arguments(),
	}
	webhooksAccepted = []byte(`{"data":{"webhookSubscriptions":{"nodes":[
		{"id":"gid://shopify/WebhookSubscription/1","topic":"ORDERS_CREATE","uri":"https://orders.example.com/v1/webhooks/shopify"},
		{"id":"gid://shopify/WebhookSubscription/2","topic":"ORDERS_PARTIALLY_FULFILLED","uri":"pubsub://p:t"}],
		"pageInfo":{"hasNextPage":true,"endCursor":"c"}}}}`)
	createAccepted = []byte(`{"data":{"webhookSubscriptionCreate":{"webhookSubscription":{"id":"gid://shopify/WebhookSubscription/7"},"userErrors":[]}}}`)
	updateAccepted = []byte(`{"data":{"webhookSubscriptionUpdate":{"webhookSubscription":{"id":"gid://shopify/WebhookSubscription/7"},"userErrors":[]}}}`)
)

func watchingCases() []conformance.Case {
	return []conformance.Case{
		{Call: listOrdersCall, Accepted: connectors.Reply{Status: 200, Body: listedJSON}, HasValue: true},
		{Call: readOrderCall, Accepted: connectors.Reply{Status: 200, Body: oneOrder()}, HasValue: true},
		{Call: listWebhooksCall, Accepted: connectors.Reply{Status: 200, Body: webhooksAccepted}, HasValue: true},
		{Call: createCall, Accepted: connectors.Reply{Status: 200, Body: createAccepted}, Reference: "gid://shopify/WebhookSubscription/7"},
	}
}

// oneOrder is the reply to readOrder that has the first order of the list.
func oneOrder() []byte {
	var list struct {
		Data struct {
			Orders struct {
				Nodes []json.RawMessage `json:"nodes"`
			} `json:"orders"`
		} `json:"data"`
	}
	if err := json.Unmarshal(listedJSON, &list); err != nil {
		panic(err)
	}
	return []byte(`{"data":{"order":` + string(list.Data.Orders.Nodes[0]) + `}}`)
}

func read(t *testing.T, call connectors.Call, body []byte) connectors.Answer {
	t.Helper()
	return system().Check(t, call, connectors.Reply{Status: 200, Body: body, Written: true, At: conformance.At})
}

// TestAListedOrderIsTheOneOfItsWebhook reads both forms of one order, as GraphQL lists it
// and as a webhook's body has it: what a poll finds is no new revision of what is known.
func TestAListedOrderIsTheOneOfItsWebhook(t *testing.T) {
	pushed, err := shopify.Shopify{}.Order(spec(), "orders/updated", asBodyJSON)
	if err != nil {
		t.Fatal(err)
	}
	page, err := listing.ParseOrderPage(read(t, listOrdersCall, listedJSON).Value)
	if err != nil || len(page.Orders) != 1 {
		t.Fatalf("%d orders, error %v", len(page.Orders), err)
	}
	if diff := cmp.Diff(pushed, page.Orders[0], protocmp.Transform()); diff != "" {
		t.Errorf("an order by webhook and by list (-webhook +list):\n%s", diff)
	}
	single, err := listing.ParseOrder(read(t, readOrderCall, oneOrder()).Value)
	if diff := cmp.Diff(pushed, single, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("an order by webhook and by itself, error %v (-webhook +itself):\n%s", err, diff)
	}
	state, _ := order.Fold(nil, pushed, order.Event{ID: "w1", Now: conformance.At})
	if _, change := order.Fold(state, page.Orders[0], order.Event{ID: "reconcile-1", Now: conformance.At}); change != order.ChangeSame {
		t.Errorf("folded after its webhook it is %s, want %s", change, order.ChangeSame)
	}
	// The second one has more lines than a page.
	want := []listing.Partial{{ID: "5002", UpdatedAt: time.Date(2026, 11, 23, 14, 31, 0, 0, time.UTC)}}
	if diff := cmp.Diff(want, page.Partial); diff != "" || page.Next != "eyJsYXN0" {
		t.Errorf("next %q, partial (-want +got):\n%s", page.Next, diff)
	}
}

// TestAPageOfWhichOrdersAreOddOrTooManyForAnAnswer leaves to readOrder what a page cannot
// say, and none of the orders is on no page: the next one begins behind this one.
func TestAPageOfWhichOrdersAreOddOrTooManyForAnAnswer(t *testing.T) {
	var one struct {
		Data struct {
			Order map[string]json.RawMessage `json:"order"`
		} `json:"data"`
	}
	if err := json.Unmarshal(oneOrder(), &one); err != nil {
		t.Fatal(err)
	}
	node := func(id, field string, value any) json.RawMessage {
		changed := maps.Clone(one.Data.Order)
		changed["legacyResourceId"], _ = json.Marshal(id)
		changed[field], _ = json.Marshal(value)
		data, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	large := strings.Repeat("x", 80<<10)
	odd := map[string]any{"nodes": []any{map[string]any{"id": "gid://shopify/LineItem/1", "quantity": 1.5}}}
	for name, test := range map[string]struct {
		nodes           []json.RawMessage
		orders, partial string
	}{
		"too many for an answer": {[]json.RawMessage{
			node("1", "note", large), node("2", "note", large), node("3", "note", large), node("4", "note", large), node("5", "note", large), node("6", "note", "small"),
		}, "1 2 3 6", "4 5"},
		"one larger than an answer": {[]json.RawMessage{node("1", "note", strings.Repeat("x", listing.MaxValueBytes)), node("2", "note", "small")}, "2", "1"},
		"one that cannot be read":   {[]json.RawMessage{node("1", "lineItems", odd), node("2", "note", "small")}, "2", "1"},
	} {
		body, err := json.Marshal(map[string]any{"data": map[string]any{"orders": map[string]any{
			"nodes": test.nodes, "pageInfo": map[string]any{"hasNextPage": true, "endCursor": "later"},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		page, err := listing.ParseOrderPage(read(t, listOrdersCall, body).Value)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var orders, partial []string
		size := 0
		for _, o := range page.Orders {
			orders, size = append(orders, o.GetId()), size+listing.Size(o)
		}
		for _, p := range page.Partial {
			partial = append(partial, p.ID)
		}
		if got, rest := strings.Join(orders, " "), strings.Join(partial, " "); got != test.orders || rest != test.partial || size > listing.MaxValueBytes || page.Next != "later" {
			t.Errorf("%s: orders %q of %d bytes, in part %q, next %q; want %q, %q and later", name, got, size, rest, page.Next, test.orders, test.partial)
		}
	}
}

func TestListOrdersRequest(t *testing.T) {
	limited := func(capacity int64) *v1alpha1.ConnectorSpec {
		s := spec()
		s.Limits = []v1alpha1.Limit{{Name: "points", Bucket: &v1alpha1.Bucket{Capacity: capacity, Refill: v1alpha1.Refill{Points: 50}}}}
		return s
	}
	for name, test := range map[string]struct {
		spec *v1alpha1.ConnectorSpec
		page string
		size float64
		cost int64
	}{
		"a page of what a query may cost":  {spec(), "", 6, 452},
		"the next page":                    {spec(), "eyJsYXN0", 6, 452},
		"what a small bucket has room for": {limited(300), "", 3, 227},
		"never none":                       {limited(10), "", 1, 77},
	} {
		call := listOrdersCall
		call.Arguments = listing.Orders{Since: time.Date(2026, 11, 23, 14, 30, 0, 5, time.UTC), Page: test.page}.Arguments()
		request, err := shopify.Shopify{}.Request(test.spec, call)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Variables map[string]any `json:"variables"`
		}
		if err := json.Unmarshal(request.Body, &body); err != nil {
			t.Fatal(err)
		}
		var page any
		if test.page != "" {
			page = test.page
		}
		want := map[string]any{"query": "updated_at:>='2026-11-23T14:30:00Z'", "after": page, "first": test.size, "lines": 10.0, "shipping": 2.0}
		if diff := cmp.Diff(want, body.Variables); diff != "" || request.Cost != test.cost {
			t.Errorf("%s: cost %d, want %d; variables (-want +got):\n%s", name, request.Cost, test.cost, diff)
		}
	}
}

func TestAmountsHaveTheDecimalsOfTheirCurrency(t *testing.T) {
	for _, test := range [][3]string{
		{"USD", "10.0", "10.00"}, {"USD", "10", "10.00"}, {"USD", "9.95", "9.95"}, {"USD", "0.125", "0.125"}, {"USD", "-1.5", "-1.50"},
		{"JPY", "1000.0", "1000"}, {"KWD", "1.5", "1.500"}, {"USD", "", ""}, {"USD", "1e3", "1e3"},
	} {
		body := strings.ReplaceAll(string(oneOrder()), `"currencyCode":"USD"`, `"currencyCode":"`+test[0]+`"`)
		body = strings.ReplaceAll(body, `"currentTotalPriceSet":{"shopMoney":{"amount":"398.0"}}`, `"currentTotalPriceSet":{"shopMoney":{"amount":"`+test[1]+`"}}`)
		o, err := listing.ParseOrder(read(t, readOrderCall, []byte(body)).Value)
		if err != nil || o.GetTotal() != test[2] {
			t.Errorf("%s %s is %q, error %v, want %q", test[0], test[1], o.GetTotal(), err, test[2])
		}
	}
}

func TestWebhooksByTheirNames(t *testing.T) {
	page, err := listing.ParseWebhookPage(read(t, listWebhooksCall, webhooksAccepted).Value)
	want := listing.WebhookPage{Next: "c", Webhooks: []listing.Webhook{
		{ID: "gid://shopify/WebhookSubscription/1", Topic: "orders/create", Address: "https://orders.example.com/v1/webhooks/shopify", Active: true},
		{ID: "gid://shopify/WebhookSubscription/2", Topic: "orders/partially_fulfilled", Address: "pubsub://p:t", Active: true},
	}}
	if diff := cmp.Diff(want, page); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	for _, topic := range []string{
		"orders/create", "orders/partially_fulfilled", "inventory_levels/update", "fulfillment_orders/order_routing_complete",
		"customers_marketing_consent/update", "customers/create", "app/uninstalled", "order_transactions/create", "draft_orders/create",
	} {
		call := createCall
		call.Arguments = listing.Webhook{Topic: topic, Address: "https://a.example/"}.Arguments()
		request, err := shopify.Shopify{}.Request(spec(), call)
		if enum := strings.ToUpper(strings.ReplaceAll(topic, "/", "_")); err != nil || !strings.Contains(string(request.Body), `"topic":"`+enum+`"`) {
			t.Errorf("topic %s: %s, error %v", topic, request.Body, err)
		}
	}
	call := createCall
	call.Arguments = listing.Webhook{Topic: "orders create", Address: "https://a.example/"}.Arguments()
	if _, err := (shopify.Shopify{}).Request(spec(), call); err == nil {
		t.Error("a topic that a shop does not have is asked for")
	}
	call.Arguments = listing.Webhook{ID: "7", Topic: "orders/create", Address: "https://a.example/"}.Arguments()
	request, err := shopify.Shopify{}.Request(spec(), call)
	if err != nil || !strings.Contains(string(request.Body), `"id":"gid://shopify/WebhookSubscription/7","webhook":{"uri":"https://a.example/"}`) {
		t.Errorf("mending one asks %s, error %v", request.Body, err)
	}
	if got := read(t, call, updateAccepted); got.Class != fault.OK {
		t.Errorf("mended: %+v", got)
	}
}

func TestOnlyNumbersAreAskedFor(t *testing.T) {
	for _, id := range []string{"A-1", "#1001", "gid://shopify/Order/5001", "-5", ""} {
		call := connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderArguments(id)}
		if _, err := (shopify.Shopify{}).Request(&v1alpha1.ConnectorSpec{}, call); err == nil {
			t.Errorf("asked for the order %q", id)
		}
	}
}

func TestWhatTheWatchersAreRefused(t *testing.T) {
	denied := []byte(`{"errors":[{"message":"Access denied for orders field.","extensions":{"code":"ACCESS_DENIED"}}]}`)
	for _, call := range []connectors.Call{listOrdersCall, readOrderCall, listWebhooksCall, createCall} {
		if got := read(t, call, denied); got.Class != fault.Conflict || got.Cause.Code != connectors.CodeNoRight {
			t.Errorf("%s without the right: %s %s, want what the asker handles, so that the connector goes on", call.Operation, got.Class, got.Cause.Code)
		}
	}
	userError := func(message string) []byte {
		return []byte(`{"data":{"webhookSubscriptionCreate":{"webhookSubscription":null,"userErrors":[{"field":["webhookSubscription","uri"],"message":"` + message + `"}]}}}`)
	}
	for name, test := range map[string]struct {
		call connectors.Call
		body []byte
		want fault.Class
		code string
	}{
		"an order that is not there":       {readOrderCall, []byte(`{"data":{"order":null}}`), fault.Conflict, connectors.CodeNoSuchOrder},
		"an order that is too large":       {readOrderCall, []byte(strings.Replace(string(oneOrder()), `"hasNextPage":false`, `"hasNextPage":true`, 1)), fault.Permanent, "order-too-large"},
		"an order without a version":       {readOrderCall, []byte(`{"data":{"order":{"legacyResourceId":"1"}}}`), fault.Unknown, "unreadable-reply"},
		"an order with half a line":        {readOrderCall, []byte(strings.Replace(string(oneOrder()), `"currentQuantity":2`, `"currentQuantity":2.5`, 1)), fault.Permanent, "order-unreadable"},
		"an order with a line of less":     {readOrderCall, []byte(strings.Replace(string(oneOrder()), `"currentQuantity":2`, `"currentQuantity":-2`, 1)), fault.Permanent, "order-unreadable"},
		"a page without a way to the next": {listOrdersCall, []byte(`{"data":{"orders":{"nodes":[],"pageInfo":{"hasNextPage":true}}}}`), fault.Unknown, "unreadable-reply"},
		"a webhook that is there":          {createCall, userError("Address for this topic has already been taken"), fault.AlreadyDone, "already-there"},
		"an address that a shop refuses":   {createCall, userError("Address is not allowed"), fault.Conflict, "webhook-refused"},
		"nothing at all":                   {createCall, []byte(`{"data":{"webhookSubscriptionCreate":{"userErrors":[]}}}`), fault.Unknown, "unreadable-reply"},
	} {
		if got := read(t, test.call, test.body); got.Class != test.want || got.Cause.Code != test.code {
			t.Errorf("%s: %s %q, want %s %q", name, got.Class, got.Cause.Code, test.want, test.code)
		}
	}
}

func TestTopicsOfWhatWasFound(t *testing.T) {
	at := timestamppb.New(conformance.At)
	for name, test := range map[string]struct {
		known, found *orderv1.Order
		want         []string
	}{
		"a new one":                      {nil, &orderv1.Order{FinancialStatus: "pending"}, []string{"orders/create"}},
		"a new one that is paid":         {nil, &orderv1.Order{FinancialStatus: "paid"}, []string{"orders/create", "orders/paid"}},
		"a new one that is over already": {nil, &orderv1.Order{FinancialStatus: "paid", CancelledAt: at}, []string{"orders/cancelled"}},
		"another note":                   {&orderv1.Order{FinancialStatus: "paid"}, &orderv1.Order{FinancialStatus: "paid", Note: "n"}, []string{"orders/updated"}},
		"paid since":                     {&orderv1.Order{FinancialStatus: "pending"}, &orderv1.Order{FinancialStatus: "paid"}, []string{"orders/updated", "orders/paid"}},
		"paid back since":                {&orderv1.Order{FinancialStatus: "paid"}, &orderv1.Order{FinancialStatus: "refunded"}, []string{"orders/updated"}},
		"shipped since":                  {&orderv1.Order{}, &orderv1.Order{FulfillmentStatus: "fulfilled"}, []string{"orders/updated", "orders/fulfilled"}},
		"shipped in part":                {&orderv1.Order{}, &orderv1.Order{FulfillmentStatus: "partial"}, []string{"orders/updated", "orders/partially_fulfilled"}},
		"cancelled since":                {&orderv1.Order{}, &orderv1.Order{CancelledAt: at}, []string{"orders/cancelled", "orders/updated"}},
	} {
		got := slices.Concat([]string{shopify.Shopify{}.Topic(test.found, test.known != nil)}, shopify.Shopify{}.Phases(test.known, test.found))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestAnOrderIsReadInParts asks for the lines behind those of the part before, where
// whoever asks can put them together.
func TestAnOrderIsReadInParts(t *testing.T) {
	first := connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderPart{ID: "5001"}.Arguments()}
	second := connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderPart{ID: "5001", Page: "line-150"}.Arguments()}
	for call, want := range map[*connectors.Call]any{&first: nil, &second: "line-150", &readOrderCall: nil} {
		request, err := shopify.Shopify{}.Request(spec(), *call)
		var asked struct {
			Query     string         `json:"query"`
			Variables map[string]any `json:"variables"`
		}
		if err == nil {
			err = json.Unmarshal(request.Body, &asked)
		}
		if err != nil || asked.Variables["linesAfter"] != want || request.Cost != 799 || !strings.Contains(asked.Query, "after: $linesAfter") {
			t.Errorf("after %v, cost %d, error %v; want after %v", asked.Variables["linesAfter"], request.Cost, err, want)
		}
	}
	more := []byte(strings.Replace(string(oneOrder()), `"hasNextPage":false,"endCursor":"x"`, `"hasNextPage":true,"endCursor":"line-150"`, 1))
	o, next, err := listing.ParsePart(read(t, first, more).Value)
	if err != nil || next != "line-150" || o.GetId() == "" || len(o.GetLines()) == 0 {
		t.Errorf("next %q, order %v, error %v", next, o, err)
	}
	if _, err := listing.ParseOrder(read(t, first, more).Value); err == nil {
		t.Error("a part is taken for a whole order")
	}
	if _, next, err := listing.ParsePart(read(t, second, oneOrder()).Value); err != nil || next != "" {
		t.Errorf("the last part has next %q, error %v", next, err)
	}
	nowhere := []byte(strings.Replace(string(oneOrder()), `"hasNextPage":false,"endCursor":"x"`, `"hasNextPage":true`, 1))
	if answer := read(t, first, nowhere); answer.Class != fault.Unknown || answer.Cause.Code != "unreadable-reply" {
		t.Errorf("without a way to the next part: %+v", answer)
	}
}
