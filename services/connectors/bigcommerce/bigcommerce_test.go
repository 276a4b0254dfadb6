package bigcommerce_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/bigcommerce"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/quota"
	"github.com/peppasync/peppasync/services/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

//go:embed testdata/order.json
var orderJSON []byte

var (
	since    = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	readCall = connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderArguments("118")}
	listCall = connectors.Call{Operation: connectors.OperationListOrders, Arguments: listing.Orders{Since: since}.Arguments()}
	hookCall = connectors.Call{Operation: connectors.OperationListWebhooks, Arguments: listing.WebhooksArguments("")}
	putCall  = connectors.Call{
		Operation: connectors.OperationPutWebhook, IdempotencyKey: "0197a1de-0000-7000-8000-000000000001",
		Arguments: listing.Webhook{Topic: "store/order/*", Address: "https://in.example/v1/webhooks/store"}.Arguments(),
	}
)

const hooksJSON = `{"data":[
	{"id":9,"scope":"store/order/created","destination":"https://in.example/v1/webhooks/store","is_active":true},
	{"id":18048287,"scope":"store/order/*","destination":"https://in.example/v1/webhooks/store","headers":{"X-Peppasync-Token":"x"},"is_active":true}],
	"meta":{"pagination":{"total":2,"count":2,"per_page":250,"current_page":1,"total_pages":1}}}`

func spec() *v1alpha1.ConnectorSpec {
	return &v1alpha1.ConnectorSpec{
		System: v1alpha1.SystemBigCommerce, Endpoint: "https://api.bigcommerce.com/stores/abc",
		Auth: &v1alpha1.Authentication{SecretRef: v1alpha1.SecretReference{Name: "store"}},
	}
}

func system() conformance.System {
	whole := strings.TrimSpace(string(orderJSON))
	return conformance.System{
		System: bigcommerce.BigCommerce{},
		Spec:   spec(),
		Secret: connectors.Secret{"accessToken": "token-0123456789abcdef"},
		Cases: []conformance.Case{
			{Call: readCall, Accepted: connectors.Reply{Status: 200, Body: []byte(whole)}, HasValue: true},
			{Call: listCall, Accepted: connectors.Reply{Status: 200, Body: []byte("[" + compact(whole) + "]")}, HasValue: true},
			{Call: hookCall, Accepted: connectors.Reply{Status: 200, Body: []byte(hooksJSON)}, HasValue: true},
			{
				Call: putCall, Accepted: connectors.Reply{Status: 200, Body: []byte(`{"data":{"id":18048287,"is_active":true},"meta":{}}`)}, Reference: "18048287",
				Lookups: map[string]conformance.Lookup{
					"it is there":     {Reply: connectors.Reply{Status: 200, Body: []byte(hooksJSON)}, Presence: connectors.Present, Reference: "18048287"},
					"there are none":  {Reply: connectors.Reply{Status: 200, Body: []byte(`{"data":[],"meta":{}}`)}, Presence: connectors.Absent},
					"one that is off": {Reply: connectors.Reply{Status: 200, Body: []byte(strings.ReplaceAll(hooksJSON, "true", "false"))}, Presence: connectors.Absent},
				},
			},
		},
	}
}

func compact(text string) string {
	var value any
	decoder := json.NewDecoder(strings.NewReader(text))
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

func event(scope string) []byte {
	return fmt.Appendf(nil, `{"producer":"stores/abc","hash":"3f9ea420af83450d7ef9f78b08c8af25b2213637","created_at":1764000000,"store_id":"1001","scope":%q,"data":{"type":"order","id":173331}}`, scope)
}

func show(_, _ string, _ []byte, key string) http.Header {
	header := make(http.Header)
	header.Set("X-Peppasync-Token", key)
	return header
}

func source() conformance.Source {
	var thin []conformance.OrderCase
	for _, scope := range []string{"store/order/created", "store/order/updated", "store/order/statusUpdated", "store/order/archived", "store/order/refund/created"} {
		thin = append(thin, conformance.OrderCase{Topic: scope, Body: event(scope), ID: "173331"})
	}
	return conformance.Source{
		Source: bigcommerce.BigCommerce{}, Shown: true, Sign: show, Thin: thin,
		Others: []string{"", "store/order/*", "store/order/metafield/created", "store/product/updated", "store/cart/created", "orders/create"},
	}
}

// signing is a store whose webhooks were made without the header.
func signing() conformance.Source {
	s := source()
	c := v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: v1alpha1.SystemBigCommerce, Webhook: &v1alpha1.Webhook{}}}
	c.SetDefaults()
	s.Spec, s.Shown, s.SecretKeys = &c.Spec, false, [2]string{"clientSecret", "previousClientSecret"}
	s.Sign = func(_, eventID string, body []byte, key string) http.Header {
		return sign(eventID, conformance.At, body, []byte(key))
	}
	return s
}

func sign(id string, at time.Time, body, key []byte) http.Header {
	header := make(http.Header)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return header
}

func TestSourceConformance(t *testing.T) {
	t.Run("shown", source().Test)
	t.Run("signed", signing().Test)
}

func FuzzOrder(f *testing.F)        { source().FuzzOrder(f) }
func FuzzVerify(f *testing.F)       { source().FuzzVerify(f) }
func FuzzVerifySigned(f *testing.F) { signing().FuzzVerify(f) }

// A store signs with the app's client secret, shows what its webhook was made with, or
// both, and either may be about to change.
func TestWhoIsTaken(t *testing.T) {
	body := event("store/order/updated")
	const hexSecret = "5d6d0a6bbf3a7e55d5bbf1a9c9d0d2c4e0d5f9c1b2a3948576655443322110ff"
	decoded, _ := base64.StdEncoding.DecodeString(hexSecret)
	both := connectors.Secret{"secret": "shown", "previousSecret": "shown-before", "clientSecret": hexSecret, "previousClientSecret": "client-before"}
	signed := func(key string) http.Header { return sign("msg_1", conformance.At, body, []byte(key)) }
	with := func(header http.Header, token string) http.Header {
		header.Set("X-Peppasync-Token", token)
		return header
	}
	tests := map[string]struct {
		header http.Header
		secret connectors.Secret
		want   error
	}{
		"signed and shown":                         {with(signed(hexSecret), "shown"), both, nil},
		"signed alone":                             {signed(hexSecret), both, nil},
		"signed by what base64 makes of it":        {signed(string(decoded)), both, nil},
		"signed by the one before":                 {signed("client-before"), both, nil},
		"shown alone":                              {show("", "", nil, "shown-before"), both, nil},
		"signed by another, and shown":             {with(signed("guess"), "shown"), both, nil},
		"signed, and shows another":                {with(signed(hexSecret), "guess"), both, nil},
		"signed by nobody, and shows another":      {with(signed("guess"), "guess"), both, connectors.ErrSignature},
		"signed by what is only shown":             {signed("shown"), both, connectors.ErrSignature},
		"shows what only signs":                    {show("", "", nil, hexSecret), both, connectors.ErrSignature},
		"signed, recorded and sent again":          {sign("msg_1", conformance.At.Add(-6*time.Minute), body, []byte(hexSecret)), both, connectors.ErrSignature},
		"signed, where nobody wrote the secret":    {signed(hexSecret), connectors.Secret{"secret": "shown"}, connectors.ErrSignature},
		"shown, where only the one before is left": {show("", "", nil, "k"), connectors.Secret{"previousSecret": "k"}, connectors.ErrSecret},
		"signed by the empty key":                  {signed(""), connectors.Secret{"secret": "shown", "clientSecret": ""}, connectors.ErrSignature},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := bigcommerce.BigCommerce{}.Verify(connectors.Delivery{
				Spec: signing().Spec, Header: test.header, Body: body, Secret: test.secret, ReceivedAt: conformance.At,
			})
			if !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), hexSecret) || strings.Contains(err.Error(), "shown-before")) {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestEachDeliveryIsAnEventOfItsOwn(t *testing.T) {
	verify := func(at time.Time, body []byte) connectors.Event {
		events, err := bigcommerce.BigCommerce{}.Verify(connectors.Delivery{
			Header: show("", "", nil, "k"), Body: body, Secret: connectors.Secret{"secret": "k"}, ReceivedAt: at,
		})
		if err != nil || len(events) != 1 {
			t.Fatalf("%+v, error %v", events, err)
		}
		return events[0]
	}
	first := verify(conformance.At, event("store/order/updated"))
	if !first.TriggeredAt.Equal(time.Unix(1764000000, 0)) || first.Topic != "store/order/updated" {
		t.Errorf("%+v", first)
	}
	// The body of a second change within the second is the same to the byte.
	if second := verify(conformance.At.Add(time.Millisecond), event("store/order/updated")); second.ID == first.ID {
		t.Error("a change is taken for a repetition of the one before, which may have been read already")
	}
	for _, body := range []string{"", "{}", "null", "[]", `{"scope":"a b"}`} {
		_, err := bigcommerce.BigCommerce{}.Verify(connectors.Delivery{Header: show("", "", nil, "k"), Body: []byte(body), Secret: connectors.Secret{"secret": "k"}})
		if !errors.Is(err, connectors.ErrMalformed) {
			t.Errorf("%q: error %v, want ErrMalformed", body, err)
		}
	}
}

func TestTheSecretIsPutInLast(t *testing.T) {
	store := bigcommerce.BigCommerce{}
	request, err := store.Request(spec(), putCall)
	if err != nil {
		t.Fatal(err)
	}
	before := string(request.Body)
	sealed, err := store.Seal(spec(), putCall, request, connectors.Secret{"secret": "whsec"})
	want := `{"scope":"store/order/*","destination":"https://in.example/v1/webhooks/store","is_active":true,"headers":{"X-Peppasync-Token":"whsec"}}`
	if err != nil || string(sealed.Body) != want {
		t.Errorf("error %v, body %s, want %s", err, sealed.Body, want)
	}
	if string(request.Body) != before || strings.Contains(before, "whsec") {
		t.Errorf("the request that is kept: %s", request.Body)
	}
	if _, err := store.Seal(spec(), putCall, request, nil); !errors.Is(err, connectors.ErrSecret) {
		t.Errorf("without a secret: error %v, want ErrSecret", err)
	}
	read, _ := store.Request(spec(), readCall)
	if same, err := store.Seal(spec(), readCall, read, nil); err != nil || same.Path != read.Path {
		t.Errorf("a request that needs none: %+v, error %v", same, err)
	}
}

func TestRequests(t *testing.T) {
	mend := connectors.Call{Operation: connectors.OperationPutWebhook, Arguments: listing.Webhook{ID: "9", Topic: "store/order/*", Address: "https://x.example/"}.Arguments()}
	tied := connectors.Call{Operation: connectors.OperationListOrders, Arguments: listing.Orders{Since: since, Page: "2026-11-23T15:00:00/7"}.Arguments()}
	tests := map[string]struct {
		call         connectors.Call
		method, path string
	}{
		"an order with its lines": {readCall, "GET", "/v2/orders/118?include=consignments.line_items"},
		"orders since a moment": {listCall, "GET",
			"/v2/orders?include=consignments.line_items&limit=50&min_date_modified=2026-11-23T13%3A59%3A59%2B00%3A00&sort=date_modified%3Aasc"},
		"orders of one second": {tied, "GET",
			"/v2/orders?include=consignments.line_items&limit=50&max_date_modified=2026-11-23T15%3A00%3A01%2B00%3A00&min_date_modified=2026-11-23T14%3A59%3A59%2B00%3A00&min_id=7&sort=id%3Aasc"},
		"webhooks":          {hookCall, "GET", "/v3/hooks?limit=250&page=1"},
		"a new webhook":     {putCall, "POST", "/v3/hooks"},
		"a webhook to mend": {mend, "PUT", "/v3/hooks/9"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			request, err := bigcommerce.BigCommerce{}.Request(spec(), test.call)
			if err != nil || request.Method != test.method || request.Path != test.path || request.Header.Get("Accept") != "application/json" {
				t.Errorf("%s %s, error %v, want %s %s, in JSON", request.Method, request.Path, err, test.method, test.path)
			}
		})
	}
	for _, id := range []string{"..", "1/products", "1?x", "x", "-1"} {
		if _, err := (bigcommerce.BigCommerce{}).Request(spec(), connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderArguments(id)}); err == nil {
			t.Errorf("order %q is asked for", id)
		}
	}
}

func TestReplies(t *testing.T) {
	type want struct {
		class fault.Class
		code  string
		wait  time.Duration
	}
	const throttled = `{"status":429,"title":"You have made too many requests to the API.","type":"x"}`
	header := http.Header{"X-Rate-Limit-Requests-Left": {"0"}, "X-Rate-Limit-Requests-Quota": {"150"}, "X-Rate-Limit-Time-Reset-Ms": {"1500"}, "X-Rate-Limit-Time-Window-Ms": {"30000"}}
	tests := map[string]struct {
		call   connectors.Call
		status int
		body   string
		header http.Header
		want   want
	}{
		"no such order":          {readCall, 404, `[{"status":404,"message":"The requested resource was not found."}]`, nil, want{fault.Conflict, connectors.CodeNoSuchOrder, 0}},
		"a gateway's 404":        {readCall, 404, `<html>`, nil, want{fault.Permanent, "http-404", 0}},
		"a 404 of version 3":     {putCall, 404, `{"status":404,"title":"Webhook with id [9] not found"}`, nil, want{fault.Permanent, "http-404", 0}},
		"nobody ordered it":      {readCall, 200, `{"id":1,"status_id":0}`, nil, want{fault.Conflict, connectors.CodeNoSuchOrder, 0}},
		"an order without lines": {readCall, 200, `{"id":1,"status_id":11,"items_total":2,"date_modified":"Mon, 23 Nov 2026 14:30:00 +0000","consignments":{"url":"x","resource":"y"}}`, nil, want{fault.Permanent, "order-unreadable", 0}},
		"too many":               {readCall, 429, throttled, header, want{fault.Throttled, "http-429", 1500 * time.Millisecond}},
		"a token without scope":  {hookCall, 403, `{"status":403,"title":"You don't have a required scope to access the endpoint"}`, nil, want{fault.Conflict, connectors.CodeNoRight, 0}},
		"the same for an order":  {readCall, 403, `{"status":403,"title":"You don't have a required scope to access the endpoint"}`, nil, want{fault.Auth, "http-403", 0}},
		"a token that is none":   {hookCall, 401, `{"status":401,"title":"Unauthorized"}`, nil, want{fault.Auth, "http-401", 0}},
		"a scope that is none":   {putCall, 422, `{"status":422,"title":"JSON data is missing or invalid","errors":{"scope":"error.invalid.scope"}}`, nil, want{fault.Permanent, "http-422", 0}},
		"a list of nothing":      {listCall, 204, ``, nil, want{fault.OK, "", 0}},
		"an order of nothing":    {readCall, 204, ``, nil, want{fault.Unknown, "unreadable-reply", 0}},
		"XML":                    {listCall, 200, `<?xml version="1.0"?><orders/>`, nil, want{fault.Unknown, "unreadable-reply", 0}},
		"webhooks without data":  {hookCall, 200, `{}`, nil, want{fault.Unknown, "unreadable-reply", 0}},
		"a webhook without id":   {putCall, 200, `{"data":{}}`, nil, want{fault.Unknown, "unreadable-reply", 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer := system().Check(t, test.call, connectors.Reply{Status: test.status, Header: test.header, Body: []byte(test.body), Written: true, At: conformance.At})
			if got := (want{answer.Class, answer.Cause.Code, answer.Wait}); got != test.want {
				t.Errorf("%+v (%s), want %+v", got, answer.Cause.Detail, test.want)
			}
		})
	}
	if figures := quota.Read(header, conformance.At); len(figures) != 1 || figures[0].Limit != 150 || figures[0].Remaining != 0 || figures[0].Per != 30*time.Second {
		t.Errorf("the quota is read as %+v", figures)
	}
}

func TestTheTopicsThatAFoundOrderWouldHaveComeBy(t *testing.T) {
	store := bigcommerce.BigCommerce{}
	standing := func(status string) *orderv1.Order {
		return &orderv1.Order{Attributes: map[string]string{"bigcommerce_status": status}}
	}
	if store.Topic(nil, false) != "store/order/created" || store.Topic(nil, true) != "store/order/updated" {
		t.Error("a new order is created, and one that is known updated")
	}
	if got := store.Phases(standing("Shipped"), standing("Shipped")); len(got) != 0 {
		t.Errorf("the same status: %v", got)
	}
	for _, known := range []*orderv1.Order{nil, standing("Awaiting Fulfillment")} {
		if got := store.Phases(known, standing("Shipped")); len(got) != 1 || got[0] != "store/order/statusUpdated" {
			t.Errorf("from %v to Shipped: %v", known, got)
		}
	}
}

// A store lists each webhook with its headers, and the secret is in one of them. What
// cannot be read is quoted in causes, which are logged and kept.
func TestWhatIsQuotedHasNoSecret(t *testing.T) {
	const secret = `hush-"0123456789`
	quoted, _ := json.Marshal(secret)
	body := `{"data":[{"id":9,"headers":{"x-peppasync-token" : ` + string(quoted) + `,"Other":"1"}}]`
	lookup := connectors.Lookup{Call: putCall}
	for name, r := range map[string]connectors.Reply{
		"cut off":               {Status: 200, Body: []byte(body)},
		"cut off in the secret": {Status: 200, Body: []byte(body[:strings.Index(body, "0123456789")+5])},
		"another shape":         {Status: 200, Body: []byte(body[len(`{"data":`):])},
		"refused":               {Status: 400, Body: []byte(body)},
		"broken":                {Status: 500, Body: []byte(body), Err: errors.New("reset")},
	} {
		for _, said := range []fault.Verdict{
			bigcommerce.BigCommerce{}.Read(spec(), hookCall, r).Verdict, bigcommerce.BigCommerce{}.Read(spec(), putCall, r).Verdict,
			bigcommerce.BigCommerce{}.ReadFound(spec(), lookup, r).Verdict,
		} {
			if strings.Contains(said.Cause.Detail, "hush") || strings.Contains(said.Cause.Detail, "01234") || said.Cause.Detail == "" {
				t.Errorf("%s: %v %q", name, said.Class, said.Cause.Detail)
			}
		}
	}
}

// A webhook that was made by hand without the header sends what is refused.
func TestAWebhookWithoutItsSecretDoesNotCountAsOn(t *testing.T) {
	for headers, want := range map[string]bool{
		``: true, `"headers":null,`: false, `"headers":{},`: false, `"headers":{"Other":"1"},`: false,
		`"headers":{"x-peppasync-token":"s"},`: true, `"headers":"none",`: true,
	} {
		body := `{"data":[{"id":9,"scope":"store/order/*","destination":"https://in.example/v1/webhooks/store",` + headers + `"is_active":true}]}`
		r := connectors.Reply{Status: 200, Body: []byte(body)}
		page, err := listing.ParseWebhookPage(bigcommerce.BigCommerce{}.Read(spec(), hookCall, r).Value)
		if err != nil || len(page.Webhooks) != 1 || page.Webhooks[0].Active != want {
			t.Errorf("%s: %+v, error %v, want active %v", headers, page.Webhooks, err, want)
		}
		found := bigcommerce.BigCommerce{}.ReadFound(spec(), connectors.Lookup{Call: putCall}, r)
		if (found.Presence == connectors.Present) != want {
			t.Errorf("%s: found %v", headers, found.Presence)
		}
	}
}

// What each webhook of a list shows is said in place of it, and only by who has the secret.
func TestAListSaysWhichSecretItsWebhooksShow(t *testing.T) {
	both := connectors.Secret{"secret": "today", "previousSecret": "yesterday"}
	client := connectors.Secret{"clientSecret": "client"}
	for name, test := range map[string]struct {
		headers       string
		secret        connectors.Secret
		active, stale bool
	}{
		"today's":                                  {`{"X-Peppasync-Token":"today"}`, both, true, false},
		"today's, spelled by the store":            {`{"x-peppasync-token":"today","Other":"1"}`, both, true, false},
		"yesterday's":                              {`{"X-Peppasync-Token":"yesterday"}`, both, true, true},
		"yesterday's, and a gateway's key":         {`{"X-Peppasync-Token":"yesterday","Other":"1"}`, both, true, false},
		"one of long ago":                          {`{"X-Peppasync-Token":"older"}`, both, false, false},
		"yesterday's, which is not taken any more": {`{"X-Peppasync-Token":"yesterday"}`, connectors.Secret{"secret": "today"}, false, false},
		"an empty one":                             {`{"X-Peppasync-Token":""}`, connectors.Secret{"secret": "today", "previousSecret": ""}, false, false},
		"none":                                     {`null`, both, false, false},
		"none, where the store's signature is known": {`null`, client, true, false},
		"one that nobody asks for":                   {`{"X-Peppasync-Token":"older"}`, client, true, false},
		"headers of another form":                    {`"none"`, both, true, false},
		"one of another form":                        {`{"X-Peppasync-Token":5}`, both, false, false},
		"one that is covered":                        {`{"X-Peppasync-Token":"********"}`, both, true, false},
		"one of which the end is left":               {`{"X-Peppasync-Token":"••••••day"}`, both, true, false},
		"a word in place of it":                      {`{"X-Peppasync-Token":"[REDACTED]"}`, both, true, false},
		"one that looks covered and is today's":      {`{"X-Peppasync-Token":"****"}`, connectors.Secret{"secret": "****"}, true, false},
		"one that looks covered and is yesterday's":  {`{"X-Peppasync-Token":"****"}`, connectors.Secret{"secret": "s", "previousSecret": "****"}, true, true},
		"one that has a dot in it":                   {`{"X-Peppasync-Token":"older.one*"}`, both, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			body := `{"data":[{"id":9,"scope":"store/order/*","destination":"https://in.example/","headers":` + test.headers + `,"is_active":true}],"meta":{"pagination":{"current_page":1,"total_pages":2}}}`
			r := connectors.Reply{Status: 200, Body: []byte(body)}
			store := bigcommerce.BigCommerce{}
			if _, err := store.Unseal(spec(), hookCall, r, nil); !errors.Is(err, connectors.ErrSecret) {
				t.Errorf("without a secret: error %v, want ErrSecret", err)
			}
			said, err := store.Unseal(spec(), hookCall, r, test.secret)
			if err != nil || strings.Contains(string(said.Body), "yesterday") || strings.Contains(string(said.Body), "older") {
				t.Errorf("error %v, body %s, want one without a secret", err, said.Body)
			}
			page, err := listing.ParseWebhookPage(store.Read(spec(), hookCall, said).Value)
			if err != nil || len(page.Webhooks) != 1 || page.Webhooks[0].Active != test.active || page.Webhooks[0].Stale != test.stale || page.Next != "2" {
				t.Errorf("%+v, error %v, want active %v, stale %v", page, err, test.active, test.stale)
			}
		})
	}
	put, _ := bigcommerce.BigCommerce{}.Request(spec(), putCall)
	if sealed, err := (bigcommerce.BigCommerce{}).Seal(spec(), putCall, put, client); err != nil || strings.Contains(string(sealed.Body), "headers") {
		t.Errorf("error %v, body %s, want no header where the signature has to do", err, sealed.Body)
	}
	for _, r := range []connectors.Reply{{Status: 200, Body: []byte(`{"data":[5]}`)}, {Status: 200, Body: []byte(`x`)}, {Status: 500}, {Err: errors.New("reset")}} {
		if said, err := (bigcommerce.BigCommerce{}).Unseal(spec(), hookCall, r, both); err != nil || !bytes.Equal(said.Body, r.Body) {
			t.Errorf("%+v: %s, error %v, want it as it is", r, said.Body, err)
		}
	}
}
