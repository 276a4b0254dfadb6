package http

import (
	"bytes"
	"encoding/json"
	"mime"
	nethttp "net/http"
	"strings"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/expr"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// content is what a reply's body is.
type content int

const (
	nothing content = iota
	wholeJSON
	// text is neither JSON nor said to be.
	text
	// page is HTML: a login's, a maintenance's, a proxy's.
	page
	// cut is a body whose end is missing.
	cut
	// broken is said to be JSON, or begins like it, and is none.
	broken
)

// problemType is the media type of RFC 9457.
const problemType = "application/problem+json"

// byteOrderMark is what some writers put before JSON. It is no part of it (RFC 8259
// section 8.1).
var byteOrderMark = []byte("\xef\xbb\xbf")

// contentOf says what a body is. Some systems send JSON under the type of a page, and
// words under the type of JSON: declared says that the Connector describes the
// replies, so that they are read for what they are.
func contentOf(r connectors.Reply, declared bool) content {
	body := bytes.TrimSpace(r.Body)
	isJSON := json.Valid(body)
	switch {
	case isPage(r.Header, body) && !(declared && isJSON):
		return page
	case r.Err != nil:
		return cut
	case len(body) == 0:
		return nothing
	case isJSON:
		return wholeJSON
	case shouldBeJSON(r.Header, body, declared):
		return broken
	}
	return text
}

// isPage: IsHTML takes all for a page that begins with "<", which XML does as well.
func isPage(header nethttp.Header, body []byte) bool {
	mediaType := typeOf(header)
	isXML := strings.HasSuffix(mediaType, "xml") && !strings.Contains(mediaType, "html")
	return len(body) > 0 && !isXML && reply.IsHTML(header, body)
}

// shouldBeJSON says of a body that is no JSON whether it is said to be, or begins so.
func shouldBeJSON(header nethttp.Header, body []byte, declared bool) bool {
	mediaType := typeOf(header)
	saysJSON := mediaType == "text/json" || mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
	if beginsSo := body[0] == '{' || body[0] == '['; beginsSo {
		return saysJSON || mediaType == ""
	}
	return saysJSON && !declared
}

func typeOf(header nethttp.Header) string {
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		mediaType, _, _ = strings.Cut(header.Get("Content-Type"), ";")
	}
	return strings.ToLower(strings.TrimSpace(mediaType))
}

// doubted returns the answer of a reply of success whose body does not bear it out,
// whatever the Connector says, and false where there is none. An order whose reply
// says no more than 200 would be lost by it.
func doubted(verdict fault.Verdict, kind content, effect connectors.Effect, r connectors.Reply) (connectors.Answer, bool) {
	verdict.Class = fault.Unknown
	switch kind {
	case page:
		if effect == connectors.EffectNone {
			verdict.Class = fault.Transient
		}
		verdict.Outage = true
		verdict.Cause.Code, verdict.Cause.Detail = "page-for-a-reply", reply.Excerpt(r.Header, r.Body)
		verdict.Wait, verdict.WaitSaid = reply.WaitOf(r, verdict.Class)
		return connectors.Answer{Verdict: verdict}, true
	case cut:
		return reply.Unreadable(r, "a reply that is cut off: "+reply.Excerpt(r.Header, r.Body)), true
	case broken:
		return reply.Unreadable(r, "a reply that should be JSON and is none: "+reply.Excerpt(r.Header, r.Body)), true
	case nothing, wholeJSON, text:
	}
	return connectors.Answer{}, false
}

// problemInBody returns the answer of a problem document that came with a status of
// success. Its own status is the one that the system meant, which something on the way
// may have changed (RFC 9457 section 3.1.2).
func problemInBody(kind content, effect connectors.Effect, r connectors.Reply) (connectors.Answer, bool) {
	if typeOf(r.Header) != problemType || kind != wholeJSON {
		return connectors.Answer{}, false
	}
	var meant struct {
		Status json.Number `json:"status"`
	}
	verdict := fault.Verdict{Class: fault.Unknown}
	if err := json.Unmarshal(r.Body, &meant); err == nil {
		if status, err := meant.Status.Int64(); err == nil && status >= 400 && status < 600 {
			as := r
			as.Status = int(status)
			verdict = reply.ByStatus(as, effect)
		}
	}
	verdict.Cause = causeOf(fault.Cause{Code: "problem-for-a-reply", Detail: reply.Excerpt(r.Header, r.Body), Status: r.Status}, r)
	return connectors.Answer{Verdict: verdict}, true
}

// errorInBody returns the answer of a reply of success that names errors: "errors" as
// GraphQL and many others have it, or "error". Whether it is a refusal, or a warning
// beside the effect, only the Connector can say.
func errorInBody(r connectors.Reply) (connectors.Answer, bool) {
	var body struct {
		Errors json.RawMessage `json:"errors"`
		Error  json.RawMessage `json:"error"`
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return connectors.Answer{}, false
	}
	for _, member := range []json.RawMessage{body.Errors, body.Error} {
		value, err := expr.ParseJSON(member)
		if err != nil || !isError(value) {
			continue
		}
		detail := firstMessage(value)
		if detail == "" {
			detail = reply.Excerpt(r.Header, r.Body)
		}
		return connectors.Answer{Verdict: fault.Verdict{Class: fault.Unknown, Cause: fault.Cause{
			Code: "error-in-body", Detail: reply.Shorten(detail), Status: r.Status,
		}}}, true
	}
	return connectors.Answer{}, false
}

// isError: systems write null, false, 0, "" and empty lists for no error.
func isError(value any) bool {
	switch v := value.(type) {
	case string:
		return v != ""
	case bool:
		return v
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

// firstMessage returns the words of the first of several errors, "" where it has none.
func firstMessage(value any) string {
	if list, ok := value.([]any); ok && len(list) > 0 {
		value = list[0]
	}
	switch v := value.(type) {
	case string:
		return v
	case map[string]any:
		for _, name := range []string{"message", "detail", "title"} {
			if words, ok := v[name].(string); ok && words != "" {
				return words
			}
		}
	}
	return ""
}
