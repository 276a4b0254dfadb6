package netsuite_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/netsuite"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	upsertCall = connectors.Call{
		Operation:      netsuite.OperationUpsertSalesOrder,
		ExternalID:     "shopify-5001",
		IdempotencyKey: "0197a1de-0000-7000-8000-000000000001",
		Payload:        []byte(`{"entity":{"id":"7"},"otherRefNum":"#1001","item":{"items":[{"item":{"id":"9"},"quantity":2}]}}`),
	}
	readCall = connectors.Call{
		Operation: connectors.OperationReadStock,
		Arguments: stock.Read{SKUs: []string{"MUG-1", "O'Brien"}, Location: "1"}.Arguments(),
	}
	rows = []byte(`{"links":[],"count":3,"hasMore":false,"items":[
		{"links":[],"sku":"MUG-1","quantityavailable":"41.5"},
		{"links":[],"sku":"O'Brien","quantityavailable":null},
		{"links":[],"sku":"mug-1","quantityavailable":"7"}],"offset":0,"totalResults":3}`)
)

var lookups = map[string]conformance.Lookup{
	"the order, by the case that it was made with": {
		Reply:    connectors.Reply{Status: 200, Body: []byte(`{"links":[],"id":"881","externalId":"Shopify-5001","otherRefNum":"#1001"}`)},
		Presence: connectors.Present, Reference: "881",
	},
	"the order, with a number for its id": {
		Reply:    connectors.Reply{Status: 200, Body: []byte(`{"id":881,"externalId":"shopify-5001"}`)},
		Presence: connectors.Present, Reference: "881",
	},
	"the order, without an id": {
		Reply:    connectors.Reply{Status: 200, Body: []byte(`{"externalId":"shopify-5001"}`)},
		Presence: connectors.Present, Reference: "eid:shopify-5001",
	},
	"another order": {Reply: connectors.Reply{Status: 200, Body: []byte(`{"id":"882","externalId":"shopify-5002"}`)}},
	"no order": {
		Reply: connectors.Reply{Status: 404, Body: []byte(`{"title":"Not Found","status":404,"o:errorDetails":[` +
			`{"detail":"The record instance does not exist. Provide a valid record instance ID.","o:errorCode":"NONEXISTENT_ID"}]}`)},
		Presence: connectors.Absent,
	},
	"no such path": {Reply: connectors.Reply{Status: 404, Body: []byte(`{"title":"Not Found","status":404,"o:errorDetails":[{"o:errorCode":"INVALID_URL"}]}`)}},
	"an order that the role may not see": {Reply: connectors.Reply{Status: 403, Body: []byte(
		`{"status":403,"o:errorDetails":[{"detail":"Permission Violation","o:errorCode":"INSUFFICIENT_PERMISSION"}]}`)}},
}

func spec() *v1alpha1.ConnectorSpec {
	return &v1alpha1.ConnectorSpec{
		System:   v1alpha1.SystemNetSuite,
		Endpoint: "https://123456.suitetalk.api.netsuite.com",
		Auth:     &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "erp"}},
	}
}

func system() conformance.System {
	location := http.Header{"Location": {"https://123456.suitetalk.api.netsuite.com/services/rest/record/v1/salesOrder/881"}}
	return conformance.System{
		System: netsuite.NetSuite{},
		Spec:   spec(),
		Secret: connectors.Secret{"accessToken": "an-access-token"},
		Cases: []conformance.Case{
			{Call: upsertCall, Accepted: connectors.Reply{Status: 204, Header: location}, Reference: "881", Lookups: lookups},
			{Call: readCall, Accepted: connectors.Reply{Status: 200, Body: rows}, HasValue: true},
		},
	}
}

func TestConformance(t *testing.T) { system().Test(t) }
func FuzzRead(f *testing.F)        { system().FuzzRead(f) }

func TestUpsertRequest(t *testing.T) {
	got, err := netsuite.NetSuite{}.Request(spec(), upsertCall)
	if err != nil {
		t.Fatal(err)
	}
	want := connectors.Request{
		Method: http.MethodPut,
		Path:   "/services/rest/record/v1/salesOrder/eid:shopify-5001?replace=item",
		Header: http.Header{
			"Content-Type": {"application/json"}, "Accept": {"application/json"},
			"X-Netsuite-Propertynamevalidation": {"Error"}, "X-Netsuite-Propertyvaluevalidation": {"Error"},
		},
		Body: upsertCall.Payload,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	for _, id := range []string{"", "a|b", "a/b", "ä", "a b", "eid:1"} {
		call := upsertCall
		call.ExternalID = id
		if _, err := (netsuite.NetSuite{}).Request(spec(), call); err == nil {
			t.Errorf("external id %q is sent", id)
		}
	}
	for _, payload := range []string{"", "null", "[]", "5"} {
		call := upsertCall
		call.Payload = []byte(payload)
		if _, err := (netsuite.NetSuite{}).Request(spec(), call); err == nil {
			t.Errorf("payload %q is sent", payload)
		}
	}
}

func TestReadStockRequest(t *testing.T) {
	got, err := netsuite.NetSuite{}.Request(spec(), readCall)
	if err != nil {
		t.Fatal(err)
	}
	want := connectors.Request{
		Method: http.MethodPost,
		Path:   "/services/rest/query/v1/suiteql?limit=1000",
		Header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Prefer": {"transient"}},
		Body: []byte(`{"q":"SELECT item.itemid AS sku, aggregateItemLocation.quantityAvailable AS quantityavailable` +
			` FROM aggregateItemLocation INNER JOIN item ON item.id = aggregateItemLocation.item` +
			` WHERE item.itemid IN ('MUG-1','O''Brien') AND aggregateItemLocation.location = 1"}`),
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("text", func(b []byte) string {
		return strings.ReplaceAll(string(b), `\u0027`, "'")
	})); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	for _, location := range []string{"main", "1 OR 1=1", "-1", "1.5", strings.Repeat("9", 40)} {
		call := connectors.Call{Operation: connectors.OperationReadStock, Arguments: stock.Read{SKUs: []string{"A"}, Location: location}.Arguments()}
		if _, err := (netsuite.NetSuite{}).Request(spec(), call); err == nil {
			t.Errorf("location %q is sent", location)
		}
	}
	many := connectors.Call{Operation: connectors.OperationReadStock, Arguments: stock.Read{SKUs: make([]string, 0), Location: "1"}.Arguments()}
	skus := make([]string, 1001)
	for i := range skus {
		skus[i] = "A"
	}
	many.Arguments = stock.Read{SKUs: skus, Location: "1"}.Arguments()
	if _, err := (netsuite.NetSuite{}).Request(spec(), many); err == nil {
		t.Error("1001 SKUs are sent in one query")
	}
}

func TestReadStockAnswer(t *testing.T) {
	answer := netsuite.NetSuite{}.Read(spec(), readCall, connectors.Reply{Status: 200, Body: rows, Written: true})
	want := stock.Value([]stock.Figure{{SKU: "MUG-1", Available: 41}, {SKU: "O'Brien", Available: 0}})
	if diff := cmp.Diff(want, answer.Value, protocmp.Transform()); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
}

func errorBody(code, detail string) string {
	return `{"type":"https://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html","title":"Bad Request","status":400,"o:errorDetails":[{"detail":"` +
		detail + `","o:errorCode":"` + code + `"}]}`
}

func TestReplies(t *testing.T) {
	type want struct {
		Class        fault.Class
		Wait         time.Duration
		Outage       bool
		Code, Detail string
	}
	tests := map[string]struct {
		call   connectors.Call
		status int
		body   string
		want   want
	}{
		"throttled, as seen in the field": {upsertCall, 429, errorBody("CONCURRENCY_LIMIT_EXCEEDED", "Concurrent request limit exceeded. Request blocked."),
			want{fault.Throttled, 0, false, "concurrency-limit-exceeded", "Concurrent request limit exceeded. Request blocked."}},
		"throttled by a code that no table has": {upsertCall, 429, errorBody("BLOCKED_FOR_HOURS", "Come back tomorrow."),
			want{fault.Throttled, 0, false, "blocked-for-hours", "Come back tomorrow."}},
		"throttled with status 400, as RESTlets are": {upsertCall, 400, errorBody("SSS_REQUEST_LIMIT_EXCEEDED", "x"),
			want{fault.Throttled, 0, false, "sss-request-limit-exceeded", "x"}},
		"a field that does not exist": {upsertCall, 400, errorBody("USER_ERROR", "Invalid field quantiy"),
			want{fault.Permanent, 0, false, "user-error", "Invalid field quantiy"}},
		"a login that is refused": {upsertCall, 401, errorBody("INVALID_LOGIN", "Invalid login attempt."),
			want{fault.Auth, 0, false, "invalid-login", "Invalid login attempt."}},
		"a login that is refused with 400": {upsertCall, 400, errorBody("INVALID_LOGIN", "x"), want{fault.Auth, 0, false, "invalid-login", "x"}},
		"forbidden as a whole":             {upsertCall, 403, `{}`, want{fault.Auth, 0, false, "http-403", "{}"}},
		"one record that is forbidden":     {upsertCall, 403, errorBody("INSUFFICIENT_PERMISSION", "x"), want{fault.Permanent, 0, false, "insufficient-permission", "x"}},
		"maintenance":                      {upsertCall, 503, errorBody("SERVICE_UNAVAILABLE", "Scheduled maintenance."), want{fault.Transient, 0, true, "service-unavailable", "Scheduled maintenance."}},
		"an unexpected error on a write":   {upsertCall, 500, errorBody("UNEXPECTED_ERROR", "Error ID: abc"), want{fault.Unknown, 0, false, "unexpected-error", "Error ID: abc"}},
		"an unexpected error on a query":   {readCall, 500, errorBody("UNEXPECTED_ERROR", "Error ID: abc"), want{fault.Transient, 0, false, "unexpected-error", "Error ID: abc"}},
		"a server error that blames the user": {upsertCall, 500, errorBody("USER_ERROR", "x"),
			want{fault.Unknown, 0, false, "user-error", "x"}},
		"an unexpected error with 400": {upsertCall, 400, errorBody("UNEXPECTED_ERROR", "x"), want{fault.Unknown, 0, false, "unexpected-error", "x"}},
		"changed under our hands":      {upsertCall, 409, errorBody("RCRD_HAS_BEEN_CHANGED", "x"), want{fault.Transient, 0, false, "rcrd-has-been-changed", "x"}},
		"submitted before":             {upsertCall, 400, errorBody("IDEMPOTENCY_ERROR", "x"), want{fault.AlreadyDone, 0, false, "idempotency-error", "x"}},
		"made by another request meanwhile": {upsertCall, 400, errorBody("USER_ERROR", "This record already exists"),
			want{fault.AlreadyDone, 0, false, "user-error", "This record already exists"}},
		"made by another, says a broken server": {upsertCall, 500, errorBody("USER_ERROR", "This record already exists"),
			want{fault.Unknown, 0, false, "user-error", "This record already exists"}},
		"a job that was not asked for": {upsertCall, 202, ``, want{fault.Unknown, 0, false, "accepted-asynchronously", "status 202 for a synchronous request"}},
		"throttled with status 200": {upsertCall, 200, errorBody("SSS_REQUEST_LIMIT_EXCEEDED", "x"),
			want{fault.Throttled, 0, false, "sss-request-limit-exceeded", "x"}},
		"a query that is throttled with status 200": {readCall, 200, errorBody("SSS_REQUEST_LIMIT_EXCEEDED", "x"),
			want{fault.Throttled, 0, false, "sss-request-limit-exceeded", "x"}},
		"refused with status 200":                   {upsertCall, 200, errorBody("USER_ERROR", "x"), want{fault.Permanent, 0, false, "user-error", "x"}},
		"a code that no table has, with 200":        {upsertCall, 200, errorBody("NEW_CODE", "x"), want{fault.Unknown, 0, false, "new-code", "x"}},
		"no code, with 200":                         {upsertCall, 200, errorBody("", "x"), want{fault.Unknown, 0, false, "error-in-body", "x"}},
		"a query with a code that no table has":     {readCall, 200, errorBody("NEW_CODE", "x"), want{fault.Transient, 0, false, "new-code", "x"}},
		"made by another meanwhile, says a 200":     {upsertCall, 200, errorBody("USER_ERROR", "This record already exists"), want{fault.AlreadyDone, 0, false, "user-error", "This record already exists"}},
		"a page that says that all is well":         {upsertCall, 200, "<html><body>Back soon</body></html>", want{fault.Unknown, 0, true, "page-for-a-reply", "Back soon"}},
		"an error body of another form":             {upsertCall, 200, `["x"]`, want{fault.Unknown, 0, false, "unreadable-reply", `["x"]`}},
		"an error body that is cut off":             {upsertCall, 200, `{"o:errorDetails":[`, want{fault.Unknown, 0, false, "unreadable-reply", `{"o:errorDetails":[`}},
		"a page for a query":                        {readCall, 200, "<html><body>Back soon</body></html>", want{fault.Transient, 0, true, "page-for-a-reply", "Back soon"}},
		"the record itself, which nobody asked for": {upsertCall, 200, `{"id":"881"}`, want{fault.OK, 0, false, "", ""}},
		"rows that are none":                        {readCall, 200, `{"count":1}`, want{fault.Unknown, 0, false, "unreadable-reply", `status 200 with a body that is no whole SuiteQL reply: {"count":1}`}},
		"a figure that is none":                     {readCall, 200, `{"items":[{"sku":"A","quantityavailable":"NaN"}]}`, want{fault.Unknown, 0, false, "unreadable-reply", "quantityavailable of A is no figure of stock"}},
		"more rows than a page":                     {readCall, 200, `{"items":[],"hasMore":true}`, want{fault.Permanent, 0, false, "ambiguous-sku", "the account has more items with these names than one page holds: make them unique"}},
		"the second detail decides": {upsertCall, 400, `{"o:errorDetails":[{"detail":"a","o:errorCode":"SOMETHING"},{"detail":"b","o:errorCode":"WS_REQUEST_BLOCKED"}]}`,
			want{fault.Throttled, 0, false, "ws-request-blocked", "b"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer := system().Check(t, test.call, connectors.Reply{Status: test.status, Body: []byte(test.body), Written: true, At: conformance.At})
			got := want{answer.Class, answer.Wait, answer.Outage, answer.Cause.Code, answer.Cause.Detail}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReferenceWithoutLocation(t *testing.T) {
	answer := netsuite.NetSuite{}.Read(spec(), upsertCall, connectors.Reply{Status: 204, Written: true})
	if answer.Class != fault.OK || answer.Reference != "eid:shopify-5001" {
		t.Errorf("%s, reference %q", answer.Class, answer.Reference)
	}
}
