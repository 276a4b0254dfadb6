package http_test

import (
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/conformance"
	"github.com/peppasync/peppasync/services/connectors/http"
	"github.com/peppasync/peppasync/services/internal/fault"
)

const (
	asJSON      = "application/json; charset=utf-8"
	asPage      = "text/html; charset=utf-8"
	asProblem   = "application/problem+json"
	unlike      = "a reply that is a page by its type or by how it begins, and not by both; reply.accepted can say what it means: "
	declaredXML = `<?xml version="1.0"?><response><status>OK</status></response>`
	login       = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><form></form></body></html>"
)

// told is a reply, and understood what it should be understood as.
type told struct {
	operation string
	status    int
	mediaType string
	body      string
	want      understood
}

type understood struct {
	Class        fault.Class
	Outage       bool
	Code, Detail string
	Reference    string
	Wait         time.Duration
}

func (u told) reply() connectors.Reply {
	header := nethttp.Header{}
	if u.mediaType != "" {
		header.Set("Content-Type", u.mediaType)
	}
	return connectors.Reply{Status: u.status, Header: header, Body: []byte(u.body), Written: true, At: conformance.At}
}

func judge(t *testing.T, tests map[string]told) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer := system().Check(t, call(test.operation, ""), test.reply())
			got := understood{Class: answer.Class, Outage: answer.Outage, Code: answer.Cause.Code, Detail: answer.Cause.Detail, Reference: answer.Reference, Wait: answer.Wait}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A status of success is not believed where the body says otherwise, without a word
// of the Connector about it.
func TestSuccessWithAnotherBody(t *testing.T) {
	ok := understood{Class: fault.OK}
	unknown := func(code, detail string) understood {
		return understood{Class: fault.Unknown, Code: code, Detail: detail}
	}
	page := understood{Class: fault.Unknown, Outage: true, Code: "page-for-a-reply", Detail: "Sign in"}
	judge(t, map[string]told{
		"a login page":                                      {"putOrder", 200, asPage, login, page},
		"a page under the type of JSON":                     {"putOrder", 200, asJSON, login, page},
		"a page for what may go once":                       {"createShipment", 201, asPage, login, page},
		"a page for a query":                                {"getOrder", 200, asPage, login, understood{Class: fault.Transient, Outage: true, Code: "page-for-a-reply", Detail: "Sign in"}},
		"words under the type of a page":                    {"putOrder", 200, asPage, "Back soon", unknown("unreadable-reply", unlike+"Back soon")},
		"nothing under the type of a page":                  {"putOrder", 204, asPage, "", ok},
		"JSON under the type of a page":                     {"putOrder", 200, asPage, `{"id":1}`, understood{Class: fault.OK, Reference: "1"}},
		"JSON under the type of a page, of an error":        {"putOrder", 200, asPage, `{"error":"full"}`, unknown("error-in-body", "full")},
		"JSON under the type of a page, for a query":        {"getOrder", 200, asPage, `{"id":1}`, ok},
		"JSON under the type of a page that ends too early": {"putOrder", 200, asPage, `{"id":1`, unknown("unreadable-reply", `a reply that should be JSON and is none: {"id":1`)},
		"XML under the type of a page":                      {"putOrder", 200, asPage, declaredXML, unknown("unreadable-reply", unlike+"OK")},
		"XML under the type of JSON":                        {"putOrder", 200, asJSON, declaredXML, unknown("unreadable-reply", "a reply that should be JSON and is none: OK")},
		"XML under the type of a text":                      {"putOrder", 200, "text/plain", declaredXML, ok},
		"XML without a type":                                {"putOrder", 200, "", declaredXML, ok},
		"XML of a name that begins like a page's":           {"putOrder", 200, "text/plain", `<?xml version="1.0"?><htmlReply/>`, ok},
		"markup under the type of a text":                   {"putOrder", 200, "text/plain", "<p>Sorry</p>", unknown("unreadable-reply", unlike+"Sorry")},
		"markup without a type":                             {"putOrder", 200, "", "<p>Sign in</p>", page},
		"a page under the type of a text":                   {"putOrder", 200, "text/plain", login, page},
		"a page under the type of XML":                      {"putOrder", 200, "application/xml", login, page},
		"a page without a type":                             {"putOrder", 200, "", "\n<HTML lang=en>Sign in</html>", page},
		"a page that begins like XML":                       {"putOrder", 200, "", `<?xml version="1.0"?>` + "\n<!-- strict -->\n" + login, page},
		"XML, which is no page":                             {"putOrder", 200, "application/xml", `<ok/>`, ok},
		"XHTML, which is one":                               {"putOrder", 200, "application/xhtml+xml", login, page},
		"a problem":                                         {"putOrder", 200, asProblem, `{"type":"about:blank","title":"Oops"}`, unknown("problem-for-a-reply", "Oops")},
		"a problem that was a refusal":                      {"putOrder", 200, asProblem, `{"type":"https://x/unknown-sku","title":"T","status":422}`, understood{Class: fault.Permanent, Code: "unknown-sku", Detail: "T"}},
		"a problem that was a throttle":                     {"putOrder", 200, asProblem + "; charset=utf-8", `{"title":"T","status":429}`, understood{Class: fault.Throttled, Code: "problem-for-a-reply", Detail: "T"}},
		"a problem that was a broken server":                {"putOrder", 200, asProblem, `{"title":"T","status":500}`, unknown("problem-for-a-reply", "T")},
		"a problem that says that all is well":              {"putOrder", 200, asProblem, `{"title":"T","status":200}`, unknown("problem-for-a-reply", "T")},
		"a problem with a status that is none":              {"putOrder", 200, asProblem, `{"title":"T","status":"x"}`, unknown("problem-for-a-reply", "T")},
		"a problem that is cut":                             {"putOrder", 200, asProblem, `{"title`, unknown("unreadable-reply", `a reply that should be JSON and is none: {"title`)},
		"JSON that ends too early":                          {"putOrder", 200, asJSON, `{"id":1`, unknown("unreadable-reply", `a reply that should be JSON and is none: {"id":1`)},
		"JSON of another type that ends too early":          {"putOrder", 200, "application/vnd.wms+json", `{"id":1`, unknown("unreadable-reply", `a reply that should be JSON and is none: {"id":1`)},
		"it begins like JSON, and no type is given":         {"putOrder", 200, "", `[{"id":1}`, unknown("unreadable-reply", `a reply that should be JSON and is none: [{"id":1}`)},
		"words under the type of JSON":                      {"putOrder", 200, asJSON, "OK", unknown("unreadable-reply", "a reply that should be JSON and is none: OK")},
		"more than one value":                               {"putOrder", 200, asJSON, `{} {}`, unknown("unreadable-reply", "a reply that should be JSON and is none: {} {}")},
		"nothing under the type of JSON":                    {"putOrder", 200, asJSON, " ", ok},
		"a text":                                            {"putOrder", 200, "text/plain", "OK", ok},
		"a text that begins like JSON":                      {"putOrder", 200, "text/plain", "[info] taken", ok},
		"words without a type":                              {"putOrder", 200, "", "OK", ok},
		"JSON after a byte order mark":                      {"putOrder", 200, asJSON, "\ufeff" + `{"id":1}`, understood{Class: fault.OK, Reference: "1"}},
		"errors of GraphQL":                                 {"putOrder", 200, asJSON, `{"errors":[{"message":"no such SKU"}],"data":null}`, unknown("error-in-body", "no such SKU")},
		"errors by field":                                   {"putOrder", 201, asJSON, `{"errors":{"sku":["unknown"]}}`, unknown("error-in-body", `{"errors":{"sku":["unknown"]}}`)},
		"an error in words":                                 {"putOrder", 200, asJSON, `{"error":"no such SKU","id":5}`, unknown("error-in-body", "no such SKU")},
		"an error of a form of its own":                     {"deleteOrder", 200, asJSON, `{"error":{"detail":"locked"}}`, unknown("error-in-body", "locked")},
		"an error that is true":                             {"putOrder", 200, asJSON, `{"error":true}`, unknown("error-in-body", `{"error":true}`)},
		"no errors":                                         {"putOrder", 200, asJSON, `{"id":1,"errors":[],"error":null}`, understood{Class: fault.OK, Reference: "1"}},
		"no error, in other words":                          {"putOrder", 200, asJSON, `{"id":1,"errors":{},"error":false}`, understood{Class: fault.OK, Reference: "1"}},
		"no error, by a number":                             {"putOrder", 200, asJSON, `{"id":1,"errors":"","error":0}`, understood{Class: fault.OK, Reference: "1"}},
		"no error, by a code":                               {"putOrder", 200, asJSON, `{"id":1,"error":{"code":0,"message":""}}`, understood{Class: fault.OK, Reference: "1"}},
		"no error, by a code and a word":                    {"putOrder", 200, asJSON, `{"id":1,"error":{"code":"0","message":"Success","retry":false,"more":null}}`, understood{Class: fault.OK, Reference: "1"}},
		"no errors, by their count":                         {"putOrder", 200, asJSON, `{"id":1,"errors":{"count":0,"items":[]}}`, understood{Class: fault.OK, Reference: "1"}},
		"no errors, by an object of none":                   {"putOrder", 200, asJSON, `{"id":1,"errors":{"sku":[],"line":{"code":0.0}}}`, understood{Class: fault.OK, Reference: "1"}},
		"an error by its code":                              {"putOrder", 200, asJSON, `{"id":1,"error":{"code":1001}}`, unknown("error-in-body", `{"id":1,"error":{"code":1001}}`)},
		"an error by its code, deeper":                      {"putOrder", 200, asJSON, `{"id":1,"error":{"of":{"code":-0.5,"message":""}}}`, unknown("error-in-body", `{"id":1,"error":{"of":{"code":-0.5,"message":""}}}`)},
		"an error by a code beyond an integer":              {"putOrder", 200, asJSON, `{"error":{"code":18446744073709551615}}`, unknown("error-in-body", `{"error":{"code":18446744073709551615}}`)},
		"an error that is a code":                           {"putOrder", 200, asJSON, `{"error":1001}`, unknown("error-in-body", `{"error":1001}`)},
		"errors by their count":                             {"putOrder", 200, asJSON, `{"errors":{"count":1,"items":[]}}`, unknown("error-in-body", `{"errors":{"count":1,"items":[]}}`)},
		"a list of a warning, which may be more":            {"putOrder", 200, asJSON, `{"errors":[{"level":"warning","message":"odd"}]}`, unknown("error-in-body", "odd")},
		"a list":                                            {"putOrder", 200, asJSON, `[1]`, ok},
	})
}

func TestWordsForNoError(t *testing.T) {
	for word, want := range map[string]fault.Class{
		"": fault.OK, " ": fault.OK, "0": fault.OK, "none": fault.OK, "None": fault.OK, "FALSE": fault.OK, "ok": fault.OK, "OK": fault.OK, "Success": fault.OK,
		"1": fault.Unknown, "true": fault.Unknown, "okay, but": fault.Unknown, "nonexistent SKU": fault.Unknown, "unsuccessful": fault.Unknown,
	} {
		for _, form := range []string{`{"error":%q}`, `{"errors":%q}`, `{"error":{"message":%q}}`} {
			body := fmt.Sprintf(form, word)
			answer := system().Check(t, call("putOrder", ""), told{status: 200, mediaType: asJSON, body: body}.reply())
			if answer.Class != want {
				t.Errorf("%s: %s (%+v), want %s", body, answer.Class, answer.Cause, want)
			}
		}
	}
}

// What a Connector says decides for every reply but a page and what has no end: there
// would be systems whose replies never count otherwise.
func TestWhateverIsNoPageCanBeAccepted(t *testing.T) {
	const rawTab = "{\"id\":1,\"note\":\"a\tb\"}"
	types := []string{"", asJSON, "application/vnd.wms+json", asPage, "application/xhtml+xml", "text/plain", "application/xml", "application/octet-stream"}
	for name, test := range map[string]struct {
		body, accepted string
		only           []string // all types where it is empty
	}{
		"a word":                  {"OK", `text == "OK"`, nil},
		"a word in brackets":      {"[OK] order queued", `text.startsWith("[OK]")`, nil},
		"JSON":                    {`{"id":1}`, `has(body.id)`, nil},
		"JSON but for a raw tab":  {rawTab, `text.contains("\"id\":1")`, nil},
		"more than one value":     {`{"id":1} {"id":2}`, `text.contains("\"id\":2")`, nil},
		"XML":                     {declaredXML, `text.contains("<status>OK</status>")`, nil},
		"XML with an instruction": {`<?xml version="1.0"?><?xml-stylesheet href="a"?><htmlReply>OK</htmlReply>`, `text.contains(">OK<")`, nil},
		"XML that does not say so": {"<status>OK</status>", `text == "<status>OK</status>"`,
			[]string{"text/plain", "application/xml", "application/octet-stream"}},
	} {
		for _, mediaType := range types {
			if len(test.only) > 0 && !slices.Contains(test.only, mediaType) {
				continue
			}
			for accepted, want := range map[string]fault.Class{test.accepted: fault.OK, `text == "another"`: fault.Unknown} {
				s := spec()
				s.HTTP.Operations[0].Reply = &v1alpha1.HTTPReply{Accepted: accepted}
				answer := http.New().Read(s, call("putOrder", ""), told{status: 200, mediaType: mediaType, body: test.body}.reply())
				if answer.Class != want || answer.Outage {
					t.Errorf("%s under %q, accepted %s: %s (%+v), an outage: %v; want %s and none", name, mediaType, accepted, answer.Class, answer.Cause, answer.Outage, want)
				}
			}
		}
	}
}

// No condition makes a page a reply.
func TestAPageIsNeverAccepted(t *testing.T) {
	s := spec()
	s.HTTP.Operations[0].Reply = &v1alpha1.HTTPReply{Accepted: `true`}
	for _, body := range []string{login, "<html>", "<HTML\n>", `<?xml version="1.0"?><!DOCTYPE html>`} {
		for _, mediaType := range []string{"", asJSON, asPage, "application/xhtml+xml", "text/plain"} {
			answer := http.New().Read(s, call("putOrder", ""), told{status: 200, mediaType: mediaType, body: body}.reply())
			if answer.Class != fault.Unknown || !answer.Outage {
				t.Errorf("%q under %q: %s, an outage: %v", body, mediaType, answer.Class, answer.Outage)
			}
		}
	}
}

func TestASuccessThatIsCutIsInDoubt(t *testing.T) {
	for _, operation := range []string{"putOrder", "createShipment", "createByGraph", "addBooking", "getOrder"} {
		for _, body := range []string{"", `{"id":1}`, "OK"} {
			for _, err := range []error{io.ErrUnexpectedEOF, errors.New("the reply is too large")} {
				answer := system().Check(t, call(operation, ""), connectors.Reply{Status: 200, Body: []byte(body), Err: err, Written: true, At: conformance.At})
				if answer.Class != fault.Unknown || answer.Cause.Code != "unreadable-reply" {
					t.Errorf("%s, %q and %v: %s (%+v)", operation, body, err, answer.Class, answer.Cause)
				}
			}
		}
	}
}

// What the Connector says of the replies decides, where the reply is the system's.
func TestSuccessByWhatTheConnectorSays(t *testing.T) {
	const (
		taken     = `{"data":{"orderCreate":{"order":{"id":"o-1"},"userErrors":[]}}}`
		unlike    = `{"data":{"orderCreate":{"order":null,"userErrors":[{"code":"UNKNOWN_SKU","message":"DESK-9 is not known"}]}}}`
		there     = `{"data":{"orderCreate":{"order":{"id":"o-1"},"userErrors":[{"code":"TAKEN","message":"it exists"}]}}}`
		slow      = `{"errors":[{"message":"slow down","extensions":{"code":"THROTTLED"}}],"data":null}`
		loggedOut = `{"errors":[{"message":"who are you?","extensions":{"code":"UNAUTHENTICATED"}}]}`
		broken    = `{"errors":[{"message":"it broke","extensions":{"code":"INTERNAL"}}],"data":{"orderCreate":{"order":{"id":"o-1"}}}}`
	)
	judge(t, map[string]told{
		"taken":                                     {"createByGraph", 200, asJSON, taken, understood{Class: fault.OK, Reference: "o-1"}},
		"taken, under the type of a page":           {"createByGraph", 200, asPage, taken, understood{Class: fault.OK, Reference: "o-1"}},
		"refused":                                   {"createByGraph", 200, asJSON, unlike, understood{Class: fault.Permanent, Code: "unknown-sku", Detail: "DESK-9 is not known"}},
		"there already":                             {"createByGraph", 200, asJSON, there, understood{Class: fault.AlreadyDone, Code: "taken", Detail: "it exists", Reference: "o-1"}},
		"throttled":                                 {"createByGraph", 200, asJSON, slow, understood{Class: fault.Throttled, Code: "throttled", Detail: "slow down"}},
		"throttled, by a 403":                       {"createByGraph", 403, asJSON, slow, understood{Class: fault.Throttled, Code: "throttled", Detail: "slow down"}},
		"throttled, by a 400":                       {"createByGraph", 400, asJSON, slow, understood{Class: fault.Throttled, Code: "throttled", Detail: "slow down"}},
		"throttled, says a broken server":           {"createByGraph", 500, asJSON, slow, understood{Class: fault.Unknown, Code: "throttled", Detail: "slow down"}},
		"signed out":                                {"createByGraph", 200, asJSON, loggedOut, understood{Class: fault.Auth, Code: "unauthenticated", Detail: "who are you?"}},
		"there already, by a 409":                   {"createByGraph", 409, asJSON, there, understood{Class: fault.AlreadyDone, Code: "taken", Detail: "it exists", Reference: "o-1"}},
		"there already, with a 401":                 {"createByGraph", 401, asJSON, there, understood{Class: fault.Auth, Code: "taken", Detail: "it exists"}},
		"refused, with a 401":                       {"createByGraph", 401, asJSON, unlike, understood{Class: fault.Auth, Code: "unknown-sku", Detail: "DESK-9 is not known"}},
		"refused, with a 429":                       {"createByGraph", 429, asJSON, unlike, understood{Class: fault.Throttled, Code: "unknown-sku", Detail: "DESK-9 is not known"}},
		"refused, with a 503":                       {"createByGraph", 503, asJSON, unlike, understood{Class: fault.Transient, Outage: true, Code: "unknown-sku", Detail: "DESK-9 is not known"}},
		"an error that no expression knows":         {"createByGraph", 200, asJSON, broken, understood{Class: fault.Unknown, Code: "internal", Detail: "it broke"}},
		"nothing that any expression knows":         {"createByGraph", 200, asJSON, `{}`, understood{Class: fault.Unknown, Code: "reply-not-accepted", Detail: `reply.accepted: expression line 1, column 25: no such key: data: {}`}},
		"false, and nothing else":                   {"ask", 200, asJSON, `{"data":{}}`, understood{Class: fault.Unknown, Code: "reply-not-accepted", Detail: `reply.accepted is false: {"data":{}}`}},
		"nothing at all":                            {"createByGraph", 200, asJSON, ``, understood{Class: fault.Unknown, Code: "reply-not-accepted", Detail: `reply.accepted: expression line 1, column 5: the reply's body is no JSON object or list:`}},
		"a page":                                    {"createByGraph", 200, asJSON, login, understood{Class: fault.Unknown, Outage: true, Code: "page-for-a-reply", Detail: "Sign in"}},
		"a problem, whatever the Connector says":    {"createByGraph", 200, asProblem, taken, understood{Class: fault.Unknown, Code: "problem-for-a-reply", Detail: taken}},
		"JSON that ends too early":                  {"createByGraph", 200, asJSON, taken[:40], understood{Class: fault.Unknown, Code: "unreadable-reply", Detail: "a reply that should be JSON and is none: " + taken[:40]}},
		"a query":                                   {"ask", 200, asJSON, `{"errors":[{"extensions":{"code":"THROTTLED"}}]}`, understood{Class: fault.Throttled, Code: "throttled-in-body", Detail: `{"errors":[{"extensions":{"code":"THROTTLED"}}]}`}},
		"a text, under the type of JSON":            {"addBooking", 200, asJSON, "OK", understood{Class: fault.OK}},
		"a text that refuses":                       {"addBooking", 200, "text/plain", "ERROR 17: full", understood{Class: fault.Permanent, Code: "refused-in-body", Detail: "ERROR 17: full"}},
		"a text that no expression knows":           {"addBooking", 200, "text/plain", "MAYBE", understood{Class: fault.Unknown, Code: "reply-not-accepted", Detail: "MAYBE"}},
		"no body":                                   {"addBooking", 204, "", "", understood{Class: fault.OK}},
		"a refusal by its status, in own words":     {"addBooking", 422, "text/plain", "full", understood{Class: fault.Permanent, Code: "http-422", Detail: "full"}},
		"a redirect, which says nothing of its own": {"createByGraph", 302, asJSON, unlike, understood{Class: fault.Unknown, Outage: true, Code: "unknown-sku", Detail: "DESK-9 is not known"}},
	})
}

func TestAThrottleInTheBodyHasItsWait(t *testing.T) {
	reply := told{"createByGraph", 200, asJSON, `{"errors":[{"extensions":{"code":"THROTTLED"}}]}`, understood{}}.reply()
	for after, want := range map[string]time.Duration{"3": 3 * time.Second, "0": 0} {
		reply.Header.Set("Retry-After", after)
		if answer := system().Check(t, call("createByGraph", ""), reply); answer.Class != fault.Throttled || answer.Wait != want || !answer.WaitSaid {
			t.Errorf("Retry-After %s: %s, wait %v, said %v; want %v, said", after, answer.Class, answer.Wait, answer.WaitSaid, want)
		}
	}
}

// Admission refuses such a Connector. Should one come all the same, nothing is lost.
func TestAnExpressionThatDoesNotCompileAcceptsNothing(t *testing.T) {
	s := spec()
	s.HTTP.Operations[0].Reply = &v1alpha1.HTTPReply{Accepted: `order.id ==`}
	for _, system := range []http.HTTP{http.New(), {}} {
		answer := system.Read(s, call("putOrder", ""), connectors.Reply{Status: 200, Body: []byte(`{"id":1}`), Written: true})
		if answer.Class != fault.Unknown || !strings.Contains(answer.Cause.Detail, "reply.accepted") {
			t.Errorf("%s (%+v)", answer.Class, answer.Cause)
		}
	}
}

// A look-up whose reply tells of an error finds nothing, and does not find out that
// nothing is there either.
func TestALookUpThatFailedSaysNothing(t *testing.T) {
	tests := map[string]told{
		"an error beside an empty list":   {operation: "createShipment", mediaType: asJSON, body: `{"errors":[{"message":"search is down"}],"data":{"shipments":[]}}`},
		"an error that names the order":   {operation: "book", mediaType: asJSON, body: `{"error":"not found","externalId":"shopify-5001"}`},
		"a problem that names the order":  {operation: "book", mediaType: asProblem, body: `{"title":"no such order","externalId":"shopify-5001"}`},
		"a problem beside an empty list":  {operation: "createShipment", mediaType: asProblem, body: `{"data":{"shipments":[]}}`},
		"a page":                          {operation: "book", mediaType: asPage, body: login},
		"a body that ends before its end": {operation: "createShipment", mediaType: asJSON, body: `{"data":{"shipments":[]`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.status = 200
			finding := system().CheckFound(t, http.New(), connectors.Lookup{Call: call(test.operation, `{}`), Since: conformance.Since}, test.reply())
			if finding.Presence != connectors.PresenceUnknown {
				t.Errorf("presence %d (%+v), want not known", finding.Presence, finding.Cause)
			}
		})
	}
}

// A record that names the order is there, whatever words a system has for no error.
func TestARecordIsFoundBesideWarnings(t *testing.T) {
	const order = `"id":5,"externalId":"shopify-5001"`
	for name, test := range map[string]struct {
		operation, body string
		want            connectors.Presence
		reference       string
	}{
		"a code for none":              {"book", `{"error":{"code":0,"message":"success"},"data":{` + order + `}}`, connectors.Present, ""},
		"a word for none":              {"book", `{"error":"none",` + order + `}`, connectors.Present, "5"},
		"a warning":                    {"book", `{"errors":[{"level":"warning","message":"odd"}],` + order + `}`, connectors.Present, "5"},
		"a warning that is no list":    {"book", `{"error":{"severity":"WARN","message":"odd"},` + order + `}`, connectors.Present, "5"},
		"after a byte order mark":      {"book", "\ufeff{" + order + `}`, connectors.Present, "5"},
		"a warning and an error":       {"book", `{"errors":[{"level":"warning"},{"message":"not found"}],"externalId":"shopify-5001"}`, connectors.PresenceUnknown, ""},
		"only the warning names it":    {"book", `{"errors":[{"level":"info","about":"shopify-5001"}]}`, connectors.PresenceUnknown, ""},
		"only a lone warning names it": {"book", `{"Error":{"level":"info","about":"shopify-5001"}}`, connectors.PresenceUnknown, ""},
		"an error that names it":       {"book", `{"error":{"code":1001},"externalId":"shopify-5001"}`, connectors.PresenceUnknown, ""},
		"listed, beside an error":      {"createShipment", `{"errors":[{"message":"one shard is down"}],"data":{"shipments":[{` + order + `}]}}`, connectors.Present, "5"},
		"not listed, beside an error":  {"createShipment", `{"errors":[{"message":"one shard is down"}],"data":{"shipments":[]}}`, connectors.PresenceUnknown, ""},
		"not listed, beside a warning": {"createShipment", `{"errors":[{"level":"warning"}],"data":{"shipments":[]}}`, connectors.PresenceUnknown, ""},
		"not listed, beside no error":  {"createShipment", `{"error":{"code":0,"message":"ok"},"data":{"shipments":[]}}`, connectors.Absent, ""},
		"others listed, and a warning": {"createShipment", `{"errors":[{"level":"warning"}],"data":{"shipments":[{"id":7}]}}`, connectors.PresenceUnknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			reply := told{status: 200, mediaType: asJSON, body: test.body}.reply()
			finding := system().CheckFound(t, http.New(), connectors.Lookup{Call: call(test.operation, `{}`), Since: conformance.Since}, reply)
			if finding.Presence != test.want || finding.Reference != test.reference {
				t.Errorf("presence %d, reference %q (%+v), want %d and %q", finding.Presence, finding.Reference, finding.Cause, test.want, test.reference)
			}
		})
	}
}

func BenchmarkReadByWhatTheConnectorSays(b *testing.B) {
	reply := told{"createByGraph", 200, asJSON, `{"data":{"orderCreate":{"order":{"id":"o-1"},"userErrors":[]}}}`, understood{}}.reply()
	h, s, c := http.New(), spec(), call("createByGraph", "")
	for b.Loop() {
		if answer := h.Read(s, c, reply); answer.Class != fault.OK {
			b.Fatal(answer.Class)
		}
	}
}
