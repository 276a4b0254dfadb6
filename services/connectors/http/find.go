package http

import (
	"encoding/json"
	"maps"
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
		Cost: operation.Cost,
	}, true
}

// ReadFound reads a reply by the statuses of the operation's find. Whatever they
// are, a page of HTML says nothing: it is a gateway's, or a login form's. Found is
// only what names the external id itself: a path that answers 200 to everything,
// or a search that knows no such filter, would lose the order. Absent needs words,
// JSON or a list, unless the Connector itself writes the status: a 404 without any is
// what a gateway says that knows no such path.
func (HTTP) ReadFound(spec *v1alpha1.ConnectorSpec, lookup connectors.Lookup, r connectors.Reply) connectors.Finding {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Finding{Answer: connectors.Answer{Verdict: verdict}}
	}
	r = reply.WithoutByteOrderMark(r)
	how := v1alpha1.HTTPFind{}
	if operation, ok := described(spec, lookup.Call.Operation); ok && operation.Find != nil {
		how = *operation.Find
	}
	found, absent := or(how.FoundStatus, nethttp.StatusOK), or(how.AbsentStatus, nethttp.StatusNotFound)
	verdict := reply.ByStatus(r, connectors.EffectNone)
	status := int32(min(r.Status, 999)) //nolint:gosec // three digits
	switch {
	case verdict.Class == fault.OK && slices.Contains(found, status) && typeOf(r.Header) == problemType:
		// It names the order that it does not know, or lists nothing for it.
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply that is a problem document: "+reply.Excerpt(r.Header, r.Body))}
	case verdict.Class == fault.OK && slices.Contains(found, status):
		return inBody(how.List, lookup.Call.ExternalID, r)
	case slices.Contains(absent, status) && hasOwnWords(r, slices.Contains(how.AbsentStatus, status)):
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
// none at all where the status alone is said to be enough.
func hasOwnWords(r connectors.Reply, declared bool) bool {
	if strings.TrimSpace(string(r.Body)) == "" {
		return r.Err == nil && declared
	}
	return r.Err == nil && json.Valid(r.Body)
}

// names reports whether a value of JSON holds the external id, as the whole of a
// text at any depth.
func names(value any, externalID string) bool {
	switch value := value.(type) {
	case string:
		return value == externalID
	case []any:
		return slices.ContainsFunc(value, func(item any) bool { return names(item, externalID) })
	case map[string]any:
		for _, field := range value {
			if names(field, externalID) {
				return true
			}
		}
	}
	return false
}

// inBody looks for the record, or in the list of what was found. What names the order
// is there, whatever is said beside it. Where nothing does, an error tells why: a search
// that failed lists nothing, too.
func inBody(list, externalID string, r connectors.Reply) connectors.Finding {
	var body any
	if err := json.Unmarshal(r.Body, &body); err != nil || r.Err != nil {
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply with a body that is no whole JSON: "+reply.Excerpt(r.Header, r.Body))}
	}
	var finding connectors.Finding
	if list == "" {
		finding = inRecord(body, externalID, r)
	} else {
		finding = inList(list, body, externalID, r)
	}
	if finding.Presence == connectors.Present {
		return finding
	}
	if answer, failed := errorInBody(r, isError); failed {
		return connectors.Finding{Answer: answer}
	}
	return finding
}

// inRecord looks for the external id beside the errors. Beside an error that is more
// than a warning it proves nothing: that there is no such order names it, too.
func inRecord(body any, externalID string, r connectors.Reply) connectors.Finding {
	record, isObject := body.(map[string]any)
	if !isObject {
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply that is no JSON object; where it is a list, write find.list")}
	}
	if answer, failed := errorInBody(r, isNoWarning); failed {
		return connectors.Finding{Answer: answer}
	}
	maps.DeleteFunc(record, func(name string, _ any) bool {
		return strings.EqualFold(name, "error") || strings.EqualFold(name, "errors")
	})
	if !names(record, externalID) {
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply that does not name the external id "+externalID+": "+
			reply.Excerpt(r.Header, r.Body))}
	}
	answer := reply.Told(r)
	answer.Reference = reference(r)
	return connectors.Finding{Answer: answer, Presence: connectors.Present}
}

// inList looks for an item that names the external id. Who has one has it, whatever is
// said beside the list.
func inList(list string, body any, externalID string, r connectors.Reply) connectors.Finding {
	items, ok := listAt(body, list)
	answer := reply.Told(r)
	switch {
	case !ok:
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply without the list "+list)}
	case len(items) == 0:
		return connectors.Finding{Answer: answer, Presence: connectors.Absent}
	}
	i := slices.IndexFunc(items, func(item any) bool { return names(item, externalID) })
	if i < 0 {
		return connectors.Finding{Answer: reply.Unreadable(r, "a list of which no item names the external id "+externalID+": the search finds others: "+
			reply.Excerpt(r.Header, r.Body))}
	}
	if item, err := json.Marshal(items[i]); err == nil {
		r.Body = item
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
