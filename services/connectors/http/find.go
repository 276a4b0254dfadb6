package http

import (
	"encoding/json"
	nethttp "net/http"
	"slices"
	"strings"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// Find builds the request that the operation's find describes.
func (HTTP) Find(spec *v1alpha1.ConnectorSpec, lookup connectors.Lookup) (connectors.Request, bool) {
	operation, ok := described(spec, lookup.Call.Operation)
	if !ok || operation.Find == nil || lookup.Call.ExternalID == "" || !strings.Contains(operation.Find.Path, externalIDVariable) {
		return connectors.Request{}, false
	}
	path, err := fill(operation.Find.Path, lookup.Call.ExternalID)
	if err != nil {
		return connectors.Request{}, false
	}
	method := operation.Find.Method
	if method == "" {
		method = nethttp.MethodGet
	}
	return connectors.Request{
		Method: method, Path: path, Header: nethttp.Header{"Accept": {"application/json, application/problem+json"}},
	}, true
}

// ReadFound reads a reply by the statuses of the operation's find. Whatever they
// are, a page of HTML says nothing: it is a gateway's, or a login form's.
func (HTTP) ReadFound(spec *v1alpha1.ConnectorSpec, lookup connectors.Lookup, r connectors.Reply) connectors.Finding {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Finding{Answer: connectors.Answer{Verdict: verdict}}
	}
	how := v1alpha1.HTTPFind{}
	if operation, ok := described(spec, lookup.Call.Operation); ok && operation.Find != nil {
		how = *operation.Find
	}
	found, absent := or(how.FoundStatus, nethttp.StatusOK), or(how.AbsentStatus, nethttp.StatusNotFound)
	verdict := reply.ByStatus(r, connectors.EffectNone)
	status := int32(min(r.Status, 999)) //nolint:gosec // three digits
	switch {
	case verdict.Class == fault.OK && slices.Contains(found, status) && how.Method == nethttp.MethodHead:
		return connectors.Finding{Answer: reply.Told(r), Presence: connectors.Present}
	case verdict.Class == fault.OK && slices.Contains(found, status):
		return inBody(how.List, r)
	case slices.Contains(absent, status) && hasOwnWords(r):
		return connectors.Finding{Answer: reply.Told(r), Presence: connectors.Absent}
	case verdict.Class == fault.OK, slices.Contains(absent, status):
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply that find does not describe: "+reply.Excerpt(r.Header, r.Body))}
	}
	verdict.Cause = causeOf(verdict.Cause, r)
	return connectors.Finding{Answer: connectors.Answer{Verdict: verdict}}
}

func or(statuses []int32, otherwise int32) []int32 {
	if len(statuses) == 0 {
		return []int32{otherwise}
	}
	return statuses
}

// hasOwnWords reports whether a body is the system's, not a gateway's: JSON, or
// none at all.
func hasOwnWords(r connectors.Reply) bool {
	return r.Err == nil && (strings.TrimSpace(string(r.Body)) == "" || json.Valid(r.Body))
}

// inBody looks for the record, or for the list of what was found.
func inBody(list string, r connectors.Reply) connectors.Finding {
	var body any
	if err := json.Unmarshal(r.Body, &body); err != nil || r.Err != nil {
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply with a body that is no whole JSON: "+reply.Excerpt(r.Header, r.Body))}
	}
	answer := reply.Told(r)
	if list == "" {
		if _, isObject := body.(map[string]any); !isObject {
			return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply that is no JSON object; where it is a list, write find.list")}
		}
		answer.Reference = reference(r)
		return connectors.Finding{Answer: answer, Presence: connectors.Present}
	}
	items, ok := listAt(body, list)
	switch {
	case !ok:
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply without the list "+list)}
	case len(items) == 0:
		return connectors.Finding{Answer: answer, Presence: connectors.Absent}
	}
	if first, err := json.Marshal(items[0]); err == nil {
		r.Body = first
		answer.Reference = reference(r)
	}
	return connectors.Finding{Answer: answer, Presence: connectors.Present}
}

// listAt follows a path of fields to a list.
func listAt(body any, path string) ([]any, bool) {
	if path != "." {
		for name := range strings.SplitSeq(path, ".") {
			object, ok := body.(map[string]any)
			if !ok {
				return nil, false
			}
			body = object[name]
		}
	}
	items, ok := body.([]any)
	return items, ok
}
