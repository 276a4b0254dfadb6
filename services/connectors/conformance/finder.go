package conformance

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// Lookup is a reply to a look-up, and what it shows.
type Lookup struct {
	Reply     connectors.Reply
	Presence  connectors.Presence
	Reference string
}

// Since is from when on the effect of a case's call may be there.
var Since = At.Add(-10 * time.Minute)

// testLookups checks what the resolver of unknown outcomes relies on: to take an
// effect for absent that is there sends it twice, and to take one for present
// that is not loses it.
func (s System) testLookups(t *testing.T, c Case) {
	finder, ok := s.System.(connectors.Finder)
	operation := s.System.Operations(s.Spec)[c.Call.Operation]
	if operation.CommitHorizon < 0 || operation.CommitHorizon > 24*time.Hour {
		t.Errorf("a commit horizon of %v", operation.CommitHorizon)
	}
	if operation.Overwrites && operation.Effect != connectors.EffectIdempotent {
		t.Error("only what is idempotent overwrites")
	}
	if !ok {
		if len(c.Lookups) > 0 {
			t.Error("the case has look-ups, and the system is no Finder")
		}
		return
	}
	lookup := connectors.Lookup{Call: c.Call, Since: Since}
	request, ok := finder.Find(s.Spec, lookup)
	if !ok {
		if len(c.Lookups) > 0 {
			t.Error("the case has look-ups, and there is no request to ask with")
		}
		return
	}
	if operation.Effect == connectors.EffectNone {
		t.Error("a query has no effect to be found")
	}
	s.checkFind(t, request)
	again, _ := finder.Find(s.Spec, lookup)
	if !reflect.DeepEqual(request, again) {
		t.Errorf("the same look-up gave another request:\n%+v\n%+v", request, again)
	}
	shown := make(map[connectors.Presence]bool)
	for name, l := range c.Lookups {
		t.Run(name, func(t *testing.T) { s.testLookup(t, finder, lookup, l) })
		shown[l.Presence] = true
	}
	if !shown[connectors.Present] || !shown[connectors.Absent] {
		t.Error("want a reply that shows the effect, and one that shows that it is not there")
	}
	s.testLookupTable(t, finder, lookup)
	for _, text := range hostile {
		call := c.Call
		call.ExternalID = text
		if request, ok := finder.Find(s.Spec, connectors.Lookup{Call: call, Since: Since}); ok {
			s.checkFind(t, request)
		}
		s.CheckFound(t, finder, lookup, connectors.Reply{Status: 404, Body: []byte(text), Header: http.Header{"Location": {text}}, Written: true})
	}
	call := c.Call
	call.ExternalID, call.Arguments, call.Payload = "", nil, nil
	if _, ok := finder.Find(s.Spec, connectors.Lookup{Call: call}); ok {
		t.Error("a call without a natural key is looked up")
	}
}

func (s System) checkFind(t *testing.T, request connectors.Request) {
	t.Helper()
	s.checkRequest(t, request)
	if request.Header.Get("Idempotency-Key") != "" {
		t.Error("a look-up has an idempotency key, which would make it a call with an effect")
	}
	if !slices.Contains([]string{http.MethodGet, http.MethodHead}, request.Method) {
		t.Errorf("a look-up by %s: want a method without effect", request.Method)
	}
}

func (s System) testLookup(t *testing.T, finder connectors.Finder, lookup connectors.Lookup, l Lookup) {
	l.Reply.Written, l.Reply.At = true, At
	got := s.CheckFound(t, finder, lookup, l.Reply)
	if got.Presence != l.Presence || got.Reference != l.Reference {
		t.Errorf("presence %d, reference %q (class %s, cause %+v); want %d, %q", got.Presence, got.Reference, got.Class, got.Cause, l.Presence, l.Reference)
	}
	// A body that breaks off may leave out what was looked for.
	for cut := range len(l.Reply.Body) {
		broken := l.Reply
		broken.Body, broken.Err = l.Reply.Body[:cut], io.ErrUnexpectedEOF
		if got := s.CheckFound(t, finder, lookup, broken); got.Presence == connectors.Absent {
			t.Fatalf("cut after %d bytes, the effect counts as absent", cut)
		}
	}
}

func (s System) testLookupTable(t *testing.T, finder connectors.Finder, lookup connectors.Lookup) {
	page := []byte("<!DOCTYPE html><html><head><title>Not found</title></head><body><h1>Sorry</h1></body></html>")
	html := http.Header{"Content-Type": {"text/html"}}
	tests := map[string]struct {
		reply connectors.Reply
		want  fault.Class
	}{
		"not written":                       {connectors.Reply{Err: errors.New("send time has passed")}, fault.Transient},
		"cut after it was written":          {connectors.Reply{Err: io.EOF, Written: true}, fault.Unknown},
		"unauthorized":                      {connectors.Reply{Status: 401, Written: true}, fault.Auth},
		"throttled by a page":               {connectors.Reply{Status: 429, Header: html, Body: page, Written: true}, fault.Throttled},
		"maintenance by a page":             {connectors.Reply{Status: 503, Header: html, Body: page, Written: true}, fault.Transient},
		"a server error":                    {connectors.Reply{Status: 500, Body: page, Written: true}, fault.Transient},
		"a gateway gave up waiting":         {connectors.Reply{Status: 504, Header: html, Body: page, Written: true}, fault.Transient},
		"a page that says that all is well": {connectors.Reply{Status: 200, Header: html, Body: page, Written: true}, fault.Unknown},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.reply.At = At
			got := s.CheckFound(t, finder, lookup, test.reply)
			if got.Class != test.want || got.Presence != connectors.PresenceUnknown {
				t.Errorf("class %s, presence %d (cause %+v); want %s and not known", got.Class, got.Presence, got.Cause, test.want)
			}
		})
	}
	t.Run("a gateway that knows no such path", func(t *testing.T) {
		got := s.CheckFound(t, finder, lookup, connectors.Reply{Status: 404, Header: html, Body: page, Written: true, At: At})
		if got.Presence != connectors.PresenceUnknown {
			t.Errorf("presence %d: a page of HTML is not the system's word", got.Presence)
		}
	})
}

// CheckFound reads a look-up's reply and checks what holds for every finding.
func (s System) CheckFound(t *testing.T, finder connectors.Finder, lookup connectors.Lookup, reply connectors.Reply) connectors.Finding {
	t.Helper()
	body := bytes.Clone(reply.Body)
	finding := finder.ReadFound(s.Spec, lookup, reply)
	if !bytes.Equal(body, reply.Body) {
		t.Error("ReadFound changed the reply's body")
	}
	if finding.Presence < connectors.PresenceUnknown || finding.Presence > connectors.Present {
		t.Errorf("presence %d does not exist", finding.Presence)
	}
	if (finding.Class == fault.OK) != (finding.Presence != connectors.PresenceUnknown) {
		t.Errorf("class %s with presence %d: a look-up is answered when it says whether the effect is there", finding.Class, finding.Presence)
	}
	if finding.Presence == connectors.Present && (reply.Status < 200 || reply.Status > 299) {
		t.Errorf("status %d counts as found", reply.Status)
	}
	if finding.Reference != "" && finding.Presence != connectors.Present {
		t.Error("a reference to what was not found")
	}
	if finding.Value != nil {
		t.Error("a look-up has no value")
	}
	checkTexts(t, finding.Answer)
	return finding
}
