package http_test

import (
	nethttp "net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/http"
	"github.com/peppasync/peppasync/services/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func spec() *v1alpha1.ConnectorSpec {
	return &v1alpha1.ConnectorSpec{
		System:   v1alpha1.SystemHTTP,
		Endpoint: "https://wms.example/api",
		Auth:     &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "wms"}},
		HTTP: &v1alpha1.HTTPSettings{ProbePath: "/health", Operations: []v1alpha1.HTTPOperation{
			{Name: "putOrder", Method: "PUT", Path: "/orders/{externalId}", Effect: v1alpha1.HTTPEffectIdempotent},
			{Name: "createShipment", Method: "POST", Path: "/shipments?order={externalId}", Effect: v1alpha1.HTTPEffectOnce, Find: &v1alpha1.HTTPFind{
				Method: "GET", Path: "/shipments?order={externalId}", FoundStatus: []int32{200}, AbsentStatus: []int32{404}, List: "data.shipments",
			}},
			{Name: "book", Method: "POST", Path: "/bookings", Effect: v1alpha1.HTTPEffectOnce, Find: &v1alpha1.HTTPFind{Path: "/bookings/{externalId}"}},
			{Name: "deleteOrder", Method: "DELETE", Path: "/orders/{externalId}", Effect: v1alpha1.HTTPEffectIdempotent},
			{Name: "getOrder", Method: "GET", Path: "/orders/{externalId}", Effect: v1alpha1.HTTPEffectNone},
			{Name: "createByGraph", Method: "POST", Path: "/graphql", Effect: v1alpha1.HTTPEffectOnce, Reply: graph()},
			{Name: "ask", Method: "POST", Path: "/graphql", Effect: v1alpha1.HTTPEffectNone, Reply: &v1alpha1.HTTPReply{
				Accepted: `has(body.data.order)`, Throttled: graph().Throttled,
			}},
			{Name: "addBooking", Method: "POST", Path: "/bookings", Effect: v1alpha1.HTTPEffectIdempotent, Reply: &v1alpha1.HTTPReply{
				Accepted: `status == 204 || text == "OK"`, Refused: `text.startsWith("ERROR")`, Message: `text`,
			}},
		}},
	}
}

// graph is what a GraphQL API's replies mean.
func graph() *v1alpha1.HTTPReply {
	return &v1alpha1.HTTPReply{
		Accepted:     `!has(body.errors) && has(body.data.orderCreate.order.id)`,
		Throttled:    `body.errors.exists(e, e.extensions.code == "THROTTLED")`,
		Unauthorized: `body.errors.exists(e, e.extensions.code == "UNAUTHENTICATED")`,
		AlreadyThere: `body.data.orderCreate.userErrors.exists(e, e.code == "TAKEN")`,
		Refused:      `body.errors.exists(e, e.extensions.code == "BAD_USER_INPUT") || body.data.orderCreate.userErrors.size() > 0`,
		Reference:    `body.data.orderCreate.order.id`,
		Code:         `has(body.errors) ? body.errors[0].extensions.code : body.data.orderCreate.userErrors[0].code`,
		Message:      `has(body.errors) ? body.errors[0].message : body.data.orderCreate.userErrors[0].message`,
	}
}

func call(operation, payload string) connectors.Call {
	c := connectors.Call{Operation: operation, ExternalID: "shopify-5001", IdempotencyKey: "0197a1de-0000-7000-8000-000000000001"}
	if payload != "" {
		c.Payload = []byte(payload)
	}
	return c
}

func system() conformance.System {
	return conformance.System{
		System: http.New(),
		Spec:   spec(),
		Secret: connectors.Secret{"token": "a-wms-token"},
		Cases: []conformance.Case{
			{Call: call("putOrder", `{"lines":[]}`), Accepted: connectors.Reply{Status: 200, Body: []byte(`{"id":77,"state":"new"}`)}, Reference: "77"},
			{Call: call("createShipment", `{}`), Accepted: connectors.Reply{Status: 201, Header: nethttp.Header{"Location": {"/shipments/s-1"}}}, Reference: "s-1", Lookups: map[string]conformance.Lookup{
				"one":               {Reply: connectors.Reply{Status: 200, Body: []byte(`{"data":{"shipments":[{"id":"s-1","order":{"ref":"shopify-5001"}},{"id":"s-2"}]}}`)}, Presence: connectors.Present, Reference: "s-1"},
				"one of several":    {Reply: connectors.Reply{Status: 200, Body: []byte(`{"data":{"shipments":[{"id":"s-0","order":"shopify-50010"},{"id":"s-2","order":"shopify-5001"}]}}`)}, Presence: connectors.Present, Reference: "s-2"},
				"one without an id": {Reply: connectors.Reply{Status: 200, Body: []byte(`{"data":{"shipments":["shopify-5001"]}}`)}, Presence: connectors.Present},
				"others, by a search that knows no such filter": {Reply: connectors.Reply{Status: 200, Body: []byte(`{"data":{"shipments":[{"id":"s-1","order":"shopify-4000"},{"id":"s-2"}]}}`)}},
				"none, by a status that the Connector writes":   {Reply: connectors.Reply{Status: 404}, Presence: connectors.Absent},
				"none":             {Reply: connectors.Reply{Status: 200, Body: []byte(`{"data":{"shipments":[]}}`)}, Presence: connectors.Absent},
				"no list":          {Reply: connectors.Reply{Status: 200, Body: []byte(`{"data":{}}`)}},
				"a list elsewhere": {Reply: connectors.Reply{Status: 200, Body: []byte(`{"shipments":[]}`)}},
				"another status":   {Reply: connectors.Reply{Status: 204}},
			}},
			{Call: call("book", `{}`), Accepted: connectors.Reply{Status: 201, Body: []byte(`{"id":5}`)}, Reference: "5", Lookups: map[string]conformance.Lookup{
				"there":                    {Reply: connectors.Reply{Status: 200, Body: []byte(`{"id":5,"externalId":"shopify-5001"}`)}, Presence: connectors.Present, Reference: "5"},
				"another one":              {Reply: connectors.Reply{Status: 200, Body: []byte(`{"id":6,"externalId":"shopify-6000"}`)}},
				"it names nobody":          {Reply: connectors.Reply{Status: 200, Body: []byte(`{"status":"ok"}`)}},
				"it only mentions it":      {Reply: connectors.Reply{Status: 200, Body: []byte(`{"message":"GET /bookings/shopify-5001 is welcome"}`)}},
				"not there":                {Reply: connectors.Reply{Status: 404, Body: []byte(`{"type":"https://x/unknown-booking","status":404}`)}, Presence: connectors.Absent},
				"not there, no words":      {Reply: connectors.Reply{Status: 404}},
				"a list in its place":      {Reply: connectors.Reply{Status: 200, Body: []byte(`[]`)}},
				"gone, which find has not": {Reply: connectors.Reply{Status: 410}},
			}},
			{Call: call("deleteOrder", ""), Accepted: connectors.Reply{Status: 204}},
			{Call: call("getOrder", ""), Accepted: connectors.Reply{Status: 200, Body: []byte(`{"id":77}`)}, HasValue: true},
			{Call: call("createByGraph", `{}`), Accepted: connectors.Reply{Status: 200, Body: []byte(`{"data":{"orderCreate":{"order":{"id":9007199254740993},"userErrors":[]}}}`)}, Reference: "9007199254740993"},
			{Call: call("ask", `{}`), Accepted: connectors.Reply{Status: 200, Body: []byte(`{"data":{"order":{"id":"9"}}}`)}, HasValue: true},
			{Call: call("addBooking", `{}`), Accepted: connectors.Reply{Status: 200, Body: []byte(`OK`)}},
		},
	}
}

func TestConformance(t *testing.T) { system().Test(t) }
func FuzzRead(f *testing.F)        { system().FuzzRead(f) }

func TestRequest(t *testing.T) {
	c := call("putOrder", `{"a":1}`)
	c.ExternalID = "shop/1 ä?"
	got, err := http.HTTP{}.Request(spec(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := connectors.Request{
		Method: "PUT",
		Path:   "/orders/shop%2F1%20%C3%A4%3F",
		Header: nethttp.Header{
			"Accept": {"application/json, application/problem+json"}, "Content-Type": {"application/json"},
			"Idempotency-Key": {`"0197a1de-0000-7000-8000-000000000001"`},
		},
		Body: []byte(`{"a":1}`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestWhatARequestCosts(t *testing.T) {
	s := spec()
	s.HTTP.Operations[1].Cost = 10
	shipment := call("createShipment", `{}`)
	request, err := http.HTTP{}.Request(s, shipment)
	if err != nil {
		t.Fatal(err)
	}
	found, ok := http.HTTP{}.Find(s, connectors.Lookup{Call: shipment})
	if request.Cost != 10 || !ok || found.Cost != 10 {
		t.Errorf("the call costs %d and its look-up %d (%v), want 10 and 10", request.Cost, found.Cost, ok)
	}
}

func TestQueriesCarryNoIdempotencyKey(t *testing.T) {
	for _, name := range []string{"putOrder", "createShipment", "deleteOrder", "getOrder"} {
		request, err := http.HTTP{}.Request(spec(), call(name, `{}`))
		if err != nil {
			t.Fatal(err)
		}
		if has := request.Header.Get("Idempotency-Key") != ""; has != (name != "getOrder") {
			t.Errorf("%s: idempotency key sent: %v", name, has)
		}
	}
}

func TestPathsThatLeaveTheEndpointAreRefused(t *testing.T) {
	for _, path := range []string{"", "orders", "//evil.example/orders", "/a/../../b", "/a/%2e%2e/b", `/a\b`, "/a#b", "/%zz", "/a b"} {
		s := spec()
		s.HTTP.Operations[0].Path = path
		if request, err := (http.HTTP{}).Request(s, call("putOrder", `{}`)); err == nil {
			t.Errorf("path %q is sent as %q", path, request.Path)
		}
	}
	s := spec()
	if got := (http.HTTP{}).Probe(s).Cost; got != 0 {
		t.Errorf("a probe of no operation costs %d", got)
	}
	s.HTTP.Operations = append(s.HTTP.Operations, v1alpha1.HTTPOperation{Name: "health", Method: "GET", Path: "/health", Effect: v1alpha1.HTTPEffectNone, Cost: 12})
	if got := (http.HTTP{}).Probe(s).Cost; got != 12 {
		t.Errorf("a probe costs %d, and the operation that is the same 12", got)
	}
	s.HTTP.ProbePath = "//evil.example/"
	if got := (http.HTTP{}).Probe(s).Path; got != "/" {
		t.Errorf("the probe goes to %q", got)
	}
}

func TestWithoutAuthNothingIsSignedIn(t *testing.T) {
	s := spec()
	s.Auth = nil
	header, err := http.HTTP{}.Authorize(s, nil)
	if err != nil || len(header) != 0 {
		t.Errorf("headers %v, error %v", header, err)
	}
}

func TestReplies(t *testing.T) {
	type want struct {
		Class        fault.Class
		Outage       bool
		Code, Detail string
	}
	tests := map[string]struct {
		operation string
		status    int
		body      string
		want      want
	}{
		"a problem with a type": {"putOrder", 422,
			`{"type":"https://wms.example/problems/unknown-configuration","title":"Unknown build-to-order configuration","status":422,"detail":"line 1: configuration \"OAK-9\" is not known"}`,
			want{fault.Permanent, false, "unknown-configuration", `line 1: configuration "OAK-9" is not known`}},
		"a type that is a URN":                 {"putOrder", 409, `{"type":"urn:problem:Duplicate_Order","title":"Duplicate"}`, want{fault.Permanent, false, "duplicate-order", "Duplicate"}},
		"a type with a fragment":               {"putOrder", 429, `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota"}`, want{fault.Throttled, false, "quota-exceeded", "Quota"}},
		"a problem without a type":             {"putOrder", 422, `{"type":"about:blank","title":"Unprocessable Content"}`, want{fault.Permanent, false, "http-422", "Unprocessable Content"}},
		"no problem, but a code and message":   {"putOrder", 400, `{"code":"BAD_SKU","message":"no such SKU"}`, want{fault.Permanent, false, "bad-sku", "no such SKU"}},
		"members of other types than they say": {"putOrder", 422, `{"type":5,"detail":["a"],"title":"T"}`, want{fault.Permanent, false, "http-422", "T"}},
		"a text":                               {"putOrder", 409, "already shipped", want{fault.Permanent, false, "http-409", "already shipped"}},
		"forbidden":                            {"putOrder", 403, ``, want{fault.Auth, false, "http-403", ""}},
		"timed out waiting for the request":    {"createShipment", 408, ``, want{fault.Throttled, false, "http-408", ""}},
		"too early":                            {"createShipment", 425, ``, want{fault.Throttled, false, "http-425", ""}},
		"maintenance, for what may go once":    {"createShipment", 503, ``, want{fault.Transient, true, "http-503", ""}},
		"a bad gateway, for what may go once":  {"createShipment", 502, ``, want{fault.Unknown, true, "http-502", ""}},
		"a bad gateway, for a query":           {"getOrder", 502, ``, want{fault.Transient, true, "http-502", ""}},
		"a query answered by a list":           {"getOrder", 200, `[1]`, want{fault.Unknown, false, "unreadable-reply", "a body that is no whole JSON object: [1]"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer := system().Check(t, call(test.operation, ""), connectors.Reply{Status: test.status, Body: []byte(test.body), Written: true, At: conformance.At})
			got := want{answer.Class, answer.Outage, answer.Cause.Code, answer.Cause.Detail}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
