// Package conformance is the suite that every external system passes: what the
// engine relies on, whatever the system. A system's test describes a subject
// and calls it; what only that system does is tested beside it.
package conformance

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/retryafter"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// System is a system under test, with a case for each of its operations.
type System struct {
	System connectors.System
	Spec   *v1alpha1.ConnectorSpec
	// Secret signs in; its values are long enough not to occur by chance.
	Secret connectors.Secret
	Cases  []Case
}

// Case is one operation: a valid call, and a reply that accepts it.
type Case struct {
	Call     connectors.Call
	Accepted connectors.Reply
	// Reference is what the accepted reply names the record.
	Reference string
	// HasValue says that the accepted reply answers a question.
	HasValue bool
	// Lookups are replies to a look-up of the call, by what they show; for systems
	// that are a connectors.Finder.
	Lookups map[string]Lookup
}

// At is when replies are in, unless a case says otherwise.
var At = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Test runs the suite.
func (s System) Test(t *testing.T) {
	t.Helper()
	t.Run("every operation has a case", s.testComplete)
	t.Run("signing in", s.testAuthorize)
	t.Run("a probe stays inside the endpoint and without effect", s.testProbe)
	for _, c := range s.Cases {
		t.Run(c.Call.Operation, func(t *testing.T) {
			t.Run("its request", func(t *testing.T) { s.testRequest(t, c) })
			t.Run("an accepting reply", func(t *testing.T) { s.testAccepted(t, c) })
			t.Run("replies that every system may give", func(t *testing.T) { s.testTable(t, c) })
			t.Run("hostile input", func(t *testing.T) { s.testHostile(t, c) })
			t.Run("look-ups", func(t *testing.T) { s.testLookups(t, c) })
		})
	}
	t.Run("an operation that does not exist", func(t *testing.T) {
		if _, err := s.System.Request(s.Spec, connectors.Call{Operation: "fly"}); err == nil {
			t.Error("a request was built")
		}
		s.Check(t, connectors.Call{Operation: "fly"}, connectors.Reply{Status: 200, Written: true, Body: []byte(`{}`)})
	})
}

func (s System) testComplete(t *testing.T) {
	covered := make(map[string]bool)
	operations := s.System.Operations(s.Spec)
	for _, c := range s.Cases {
		covered[c.Call.Operation] = true
		operation, known := operations[c.Call.Operation]
		if !known {
			t.Errorf("%s: a case of an operation that is not listed", c.Call.Operation)
		}
		if operation.NeedsMapping != (c.Call.Payload != nil) {
			t.Errorf("%s: NeedsMapping is %v, and the case's payload has %d bytes", c.Call.Operation, operation.NeedsMapping, len(c.Call.Payload))
		}
		if (operation.Effect == connectors.EffectNone) != c.HasValue {
			t.Errorf("%s: a query has a value, and only a query", c.Call.Operation)
		}
	}
	for name := range operations {
		if !covered[name] {
			t.Errorf("operation %s has no case", name)
		}
	}
}

func (s System) testAuthorize(t *testing.T) {
	header, err := s.System.Authorize(s.Spec, s.Secret)
	if err != nil || len(header) == 0 {
		t.Fatalf("Authorize gave %d headers and the error %v", len(header), err)
	}
	for _, missing := range []connectors.Secret{nil, {}, blank(s.Secret)} {
		header, err := s.System.Authorize(s.Spec, missing)
		if !errors.Is(err, connectors.ErrSecret) || header != nil {
			t.Errorf("with an incomplete secret Authorize gave %d headers and the error %v, want ErrSecret", len(header), err)
		}
	}
}

func blank(secret connectors.Secret) connectors.Secret {
	blanked := maps.Clone(secret)
	for key := range blanked {
		blanked[key] = ""
	}
	return blanked
}

func (s System) testProbe(t *testing.T) {
	prober, ok := s.System.(connectors.Prober)
	if !ok {
		t.Skip("the system has no probe")
	}
	s.checkRequest(t, prober.Probe(s.Spec))
	if !reflect.DeepEqual(prober.Probe(s.Spec), prober.Probe(s.Spec)) {
		t.Error("two probes differ")
	}
}

func (s System) testRequest(t *testing.T, c Case) {
	spec, arguments := s.Spec.DeepCopy(), proto.Clone(c.Call.Arguments)
	payload := bytes.Clone(c.Call.Payload)
	request, err := s.System.Request(s.Spec, c.Call)
	if err != nil {
		t.Fatal(err)
	}
	s.checkRequest(t, request)
	again, err := s.System.Request(spec, c.Call)
	if err != nil || !reflect.DeepEqual(request, again) {
		t.Errorf("the same call gave another request (error %v):\n%+v\n%+v", err, request, again)
	}
	if !reflect.DeepEqual(spec, s.Spec) || !proto.Equal(arguments, c.Call.Arguments) || !bytes.Equal(payload, c.Call.Payload) {
		t.Error("Request changed what it was given")
	}
	if s.System.Operations(s.Spec)[c.Call.Operation].NeedsMapping {
		c.Call.Payload = []byte(`{"cut`)
		if _, err := s.System.Request(s.Spec, c.Call); err == nil {
			t.Error("a payload that is no JSON is sent")
		}
	}
}

// checkRequest checks what holds for every request: it goes to the endpoint and
// nowhere else, is well-formed, and holds no credentials.
func (s System) checkRequest(t *testing.T, request connectors.Request) {
	t.Helper()
	endpoint, err := url.Parse(s.Spec.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(strings.TrimRight(s.Spec.Endpoint, "/") + request.Path)
	if err != nil {
		t.Errorf("path %q makes no URL: %v", request.Path, err)
		return
	}
	if !strings.HasPrefix(request.Path, "/") || target.Host != endpoint.Host || target.Scheme != endpoint.Scheme ||
		target.User != nil || target.Fragment != "" {
		t.Errorf("path %q leads out of the endpoint, to %q", request.Path, target)
	}
	if slices.Contains(strings.Split(target.Path, "/"), "..") && slices.Contains(strings.Split(target.EscapedPath(), "/"), "..") {
		t.Errorf("path %q climbs out of the endpoint", request.Path)
	}
	if _, err := http.NewRequestWithContext(t.Context(), request.Method, target.String(), bytes.NewReader(request.Body)); err != nil {
		t.Errorf("no HTTP request: %v", err)
	}
	var written strings.Builder
	written.WriteString(request.Method + "\n" + request.Path + "\n" + string(request.Body))
	for name, values := range request.Header {
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("header %q is not in canonical form, %q, so others do not find it", name, http.CanonicalHeaderKey(name))
		}
		written.WriteString("\n" + name + ": " + strings.Join(values, ", "))
		if strings.ContainsAny(strings.Join(values, ""), "\r\n") {
			t.Errorf("header %q breaks its line", name)
		}
	}
	if request.Header.Get("Authorization") != "" {
		t.Error("the request signs itself in: that is Authorize's part")
	}
	for key, value := range s.Secret {
		if value != "" && strings.Contains(written.String(), value) {
			t.Errorf("the request holds the secret's %q", key)
		}
	}
}

func (s System) testAccepted(t *testing.T, c Case) {
	accepted := c.Accepted
	accepted.Written, accepted.At = true, At
	answer := s.Check(t, c.Call, accepted)
	if answer.Class != fault.OK || answer.Reference != c.Reference {
		t.Errorf("class %s, reference %q (cause %+v); want ok, %q", answer.Class, answer.Reference, answer.Cause, c.Reference)
	}
	if (answer.Value != nil) != c.HasValue {
		t.Errorf("value %v, want one: %v", answer.Value, c.HasValue)
	}
	// The status is in and the body breaks off: what is missing may say that it was
	// refused.
	for cut := range len(accepted.Body) {
		broken := accepted
		broken.Body, broken.Err = accepted.Body[:cut], io.ErrUnexpectedEOF
		if class := s.Check(t, c.Call, broken).Class; class != fault.Unknown {
			t.Fatalf("cut after %d bytes: %s, want unknown", cut, class)
		}
	}
}

func (s System) testTable(t *testing.T, c Case) {
	page := []byte("<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Sorry</h1></body></html>")
	html := http.Header{"Content-Type": {"text/html"}}
	throttled := func(wait string) connectors.Reply {
		return connectors.Reply{Status: 429, Header: http.Header{"Retry-After": {wait}}, Written: true}
	}
	cut := connectors.Reply{Status: 429, Body: page[:9], Err: io.ErrUnexpectedEOF, Written: true}
	elsewhere := http.Header{"Location": {"https://elsewhere.example/"}}
	query := s.System.Operations(s.Spec)[c.Call.Operation].Effect == connectors.EffectNone
	uncertain := fault.Unknown
	if query {
		uncertain = fault.Transient
	}
	tests := map[string]struct {
		reply  connectors.Reply
		want   fault.Class
		wait   time.Duration
		outage bool
	}{
		"not written":                         {connectors.Reply{Err: errors.New("send time has passed")}, fault.Transient, 0, false},
		"cut after it was written":            {connectors.Reply{Err: io.EOF, Written: true}, fault.Unknown, 0, false},
		"unauthorized":                        {connectors.Reply{Status: 401, Written: true}, fault.Auth, 0, false},
		"throttled by a page":                 {connectors.Reply{Status: 429, Header: html, Body: page, Written: true}, fault.Throttled, 0, false},
		"throttled for no time":               {throttled("0"), fault.Throttled, 0, false},
		"throttled with a decimal wait":       {throttled("2.5"), fault.Throttled, 2500 * time.Millisecond, false},
		"throttled until a date":              {throttled("Mon, 23 Nov 2026 12:00:09 GMT"), fault.Throttled, 9 * time.Second, false},
		"throttled with a body that is cut":   {cut, fault.Throttled, 0, false},
		"maintenance by a page":               {connectors.Reply{Status: 503, Header: html, Body: page, Written: true}, fault.Transient, 0, true},
		"a gateway gave up waiting":           {connectors.Reply{Status: 504, Header: html, Body: page, Written: true}, uncertain, 0, true},
		"a server error":                      {connectors.Reply{Status: 500, Body: page, Written: true}, uncertain, 0, false},
		"a server error without a body":       {connectors.Reply{Status: 500, Written: true}, uncertain, 0, false},
		"a refusal that no table has":         {connectors.Reply{Status: 418, Written: true}, fault.Permanent, 0, false},
		"a page that says that all is well":   {connectors.Reply{Status: 999, Header: html, Body: page, Written: true}, fault.Unknown, 0, false},
		"a status line that makes no sense":   {connectors.Reply{Status: 7, Written: true}, fault.Unknown, 0, false},
		"a redirect, which is never followed": {connectors.Reply{Status: 307, Header: elsewhere, Written: true}, uncertain, 0, true},
	}
	t.Run("a login page with the status of success", func(t *testing.T) {
		got := s.Check(t, c.Call, connectors.Reply{Status: 200, Header: html, Body: page, Written: true, At: At})
		if got.Class != fault.Unknown && got.Class != fault.Transient || got.Class == fault.Transient && !query {
			t.Errorf("class %s (cause %+v): whether the call was taken is open", got.Class, got.Cause)
		}
	})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.reply.At = At
			got := s.Check(t, c.Call, test.reply)
			if got.Class != test.want || got.Wait != test.wait || got.Outage != test.outage {
				t.Errorf("class %s, wait %v, outage %v (cause %+v); want %s, %v, %v",
					got.Class, got.Wait, got.Outage, got.Cause, test.want, test.wait, test.outage)
			}
			if said := test.reply.Header.Get("Retry-After") != ""; got.WaitSaid != said {
				t.Errorf("it says that the reply named a wait: %v, want %v", got.WaitSaid, said)
			}
		})
	}
}

var hostile = []string{
	"", ".", "..", "../../admin", "a/../../b", "a/b", "a?b=c", "a#b", "//evil.example/x", "@evil.example",
	"a\r\nX: y", "a b", "\x00", "ä\xff", "%2e%2e", "'; DROP", `"}`, strings.Repeat("x", 10_000),
}

// testHostile checks that no external id and no argument leads a request astray.
func (s System) testHostile(t *testing.T, c Case) {
	for _, text := range hostile {
		call := c.Call
		call.ExternalID = text
		if request, err := s.System.Request(s.Spec, call); err == nil {
			s.checkRequest(t, request)
		}
		call.ExternalID, call.IdempotencyKey = c.Call.ExternalID, text
		if request, err := s.System.Request(s.Spec, call); err == nil {
			s.checkRequest(t, request)
		}
		s.Check(t, c.Call, connectors.Reply{Status: 200, Body: []byte(text), Written: true})
		s.Check(t, c.Call, connectors.Reply{Status: 400, Body: []byte(text), Header: http.Header{"Location": {text}, "Retry-After": {text}}, Written: true})
	}
	call := c.Call
	call.Arguments, call.Payload = nil, nil
	if _, err := s.System.Request(s.Spec, call); err == nil && (c.Call.Arguments != nil || c.Call.Payload != nil) {
		t.Error("a call without its arguments and payload is sent")
	}
}

var causeCode = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Check reads a reply and checks what holds for every answer to every reply.
func (s System) Check(t *testing.T, call connectors.Call, reply connectors.Reply) connectors.Answer {
	t.Helper()
	body := bytes.Clone(reply.Body)
	answer := s.System.Read(s.Spec, call, reply)
	if !bytes.Equal(body, reply.Body) {
		t.Error("Read changed the reply's body")
	}
	if answer.Class < fault.Unknown || answer.Class > fault.Conflict {
		t.Errorf("class %d does not exist", answer.Class)
	}
	if answer.Class == fault.OK && (reply.Status < 200 || reply.Status > 299) {
		t.Errorf("status %d is called ok", reply.Status)
	}
	if answer.Wait < 0 || answer.Wait > retryafter.Max || answer.Wait > 0 && !answer.WaitSaid {
		t.Errorf("a wait of %v", answer.Wait)
	}
	if answer.Value != nil && answer.Class != fault.OK {
		t.Errorf("a value with class %s", answer.Class)
	}
	if answer.Cause.Status != reply.Status {
		t.Errorf("cause status %d for a reply of status %d", answer.Cause.Status, reply.Status)
	}
	checkTexts(t, answer)
	s.checkFigures(t, reply)
	if _, err := proto.Marshal(answer.Value); err != nil {
		t.Errorf("the value cannot be stored: %v", err)
	}
	return answer
}

// checkFigures checks that what a body tells of a quota can be calculated with.
func (s System) checkFigures(t *testing.T, reply connectors.Reply) {
	t.Helper()
	metered, ok := s.System.(connectors.Metered)
	if !ok {
		return
	}
	for _, figure := range metered.Quota(reply) {
		if figure.Name == "" || figure.Remaining < 0 || figure.Limit < 0 || figure.Per < 0 || figure.Limit > 0 && figure.Remaining > figure.Limit {
			t.Errorf("a figure that nobody can calculate with: %+v", figure)
		}
		if figure.ResetsAt.Sub(reply.At) > retryafter.Max {
			t.Errorf("%+v resets in more than %v", figure, retryafter.Max)
		}
	}
}

// checkTexts checks what people read.
func checkTexts(t *testing.T, answer connectors.Answer) {
	t.Helper()
	if answer.Class != fault.OK && (!causeCode.MatchString(answer.Cause.Code) || len(answer.Cause.Code) > 64) {
		t.Errorf("cause code %q of class %s: want short lower-case words joined by '-'", answer.Cause.Code, answer.Class)
	}
	for _, text := range []string{answer.Cause.Detail, answer.Reference} {
		if len(text) > 300 || !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("text %q: want one short line of UTF-8", text)
		}
	}
}

// FuzzRead feeds arbitrary replies to every operation.
func (s System) FuzzRead(f *testing.F) {
	for _, c := range s.Cases {
		f.Add(c.Accepted.Status, c.Accepted.Body, "2.0", "application/json")
	}
	f.Add(429, []byte("<html>"), "Mon, 23 Nov 2026 12:00:09 GMT", "text/html")
	f.Add(0, []byte(nil), "", "")
	f.Fuzz(func(t *testing.T, status int, body []byte, retryAfter, contentType string) {
		header := http.Header{"Retry-After": {retryAfter}, "Content-Type": {contentType}, "Location": {retryAfter}}
		for _, c := range s.Cases {
			reply := connectors.Reply{Status: max(status, 0), Header: header, Body: body, Written: true, At: At}
			s.Check(t, c.Call, reply)
			if finder, ok := s.System.(connectors.Finder); ok {
				s.CheckFound(t, finder, connectors.Lookup{Call: c.Call, Since: Since}, reply)
			}
		}
	})
}
