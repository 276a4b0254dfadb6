package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	nethttp "net/http"
	"slices"
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
	// unlike is said to be a page and does not begin like one, or the other way round.
	unlike
)

// problemType is the media type of RFC 9457.
const problemType = "application/problem+json"

// contentOf says what a body is. Some systems send JSON under the type of a page, which
// is PHP's default, and words under the type of JSON: declared says that the Connector
// describes the replies, so that all but a page and what has no end is read for what it
// is. Otherwise there would be replies that never count, whatever people write.
func contentOf(r connectors.Reply, declared bool) content {
	body := bytes.TrimSpace(r.Body)
	mediaType := typeOf(r.Header)
	beginsLikeJSON := len(body) > 0 && (body[0] == '{' || body[0] == '[')
	switch {
	case isPage(mediaType, body):
		return page
	case r.Err != nil:
		return cut
	case len(body) == 0:
		return nothing
	case json.Valid(body):
		return wholeJSON
	case beginsLikeJSON && mayBeJSON(mediaType) && endsTooEarly(body):
		return broken
	case declared:
		return text
	case saysJSON(mediaType), beginsLikeJSON && mediaType == "":
		return broken
	case saysHTML(mediaType), body[0] == '<' && !saysXML(mediaType) && !beginsLikeXML(body):
		return unlike
	}
	return text
}

func saysJSON(mediaType string) bool {
	return mediaType == "text/json" || mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
}

func saysHTML(mediaType string) bool { return strings.Contains(mediaType, "html") }

func saysXML(mediaType string) bool {
	return strings.HasSuffix(mediaType, "xml") && !saysHTML(mediaType)
}

// mayBeJSON says of a type whether what begins like JSON should be some: a log's line
// under text/plain begins with "[", too.
func mayBeJSON(mediaType string) bool {
	return mediaType == "" || saysJSON(mediaType) || saysHTML(mediaType)
}

// endsTooEarly says of what begins like JSON whether it is some whose end is missing,
// rather than words in brackets or JSON with a mistake in it.
func endsTooEarly(body []byte) bool {
	var value json.RawMessage
	return errors.Is(json.NewDecoder(bytes.NewReader(body)).Decode(&value), io.ErrUnexpectedEOF)
}

// isPage goes by how a body begins, not by its type alone. XML is none; XHTML begins
// like it, and is one.
func isPage(mediaType string, body []byte) bool {
	if beginsWithHTML(body) || beginsLikeXML(body) && beginsWithHTML(afterProlog(body)) {
		return true
	}
	return bytes.HasPrefix(body, []byte("<")) && !beginsLikeXML(body) && mayBeJSON(mediaType)
}

// beginsWithHTML knows a page under any type. <htmlReply> is an element of XML.
func beginsWithHTML(body []byte) bool {
	begin := strings.ToLower(string(body[:min(len(body), len("<!doctype html")+1)]))
	for _, name := range []string{"<!doctype html", "<html"} {
		if rest, ok := strings.CutPrefix(begin, name); ok && (rest == "" || strings.ContainsRune(" \t\r\n/>", rune(rest[0]))) {
			return true
		}
	}
	return false
}

func beginsLikeXML(body []byte) bool {
	return len(body) >= 5 && strings.EqualFold(string(body[:5]), "<?xml")
}

// afterProlog returns what follows the instructions and the comments before the first
// element of XML.
func afterProlog(body []byte) []byte {
	for {
		var end string
		switch {
		case bytes.HasPrefix(body, []byte("<?")):
			end = "?>"
		case bytes.HasPrefix(body, []byte("<!--")):
			end = "-->"
		default:
			return body
		}
		_, rest, ok := bytes.Cut(body, []byte(end))
		if !ok {
			return nil
		}
		body = bytes.TrimSpace(rest)
	}
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
	case unlike:
		return reply.Unreadable(r, "a reply that is a page by its type or by how it begins, and not by both; reply.accepted can say what it means: "+
			reply.Excerpt(r.Header, r.Body)), true
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
// GraphQL and many others have it, or "error", of which counts says that it is one.
// Whether it is a refusal, or a warning beside the effect, only the Connector can say.
func errorInBody(r connectors.Reply, counts func(value any) bool) (connectors.Answer, bool) {
	var body struct {
		Errors json.RawMessage `json:"errors"`
		Error  json.RawMessage `json:"error"`
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return connectors.Answer{}, false
	}
	for _, member := range []json.RawMessage{body.Errors, body.Error} {
		value, err := expr.ParseJSON(member)
		if err != nil || !counts(value) {
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

// isError: for no error, systems write null, false, 0, an empty list, a word of
// noErrors, or an object of nothing but these, such as {"code":0,"message":"OK"}.
func isError(value any) bool {
	switch v := value.(type) {
	case string:
		return !slices.Contains(noErrors(), strings.ToLower(strings.TrimSpace(v)))
	case bool:
		return v
	case int64:
		return v != 0
	case uint64:
		return v != 0
	case float64:
		return v != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		for _, field := range v {
			if isError(field) {
				return true
			}
		}
	}
	return false
}

func noErrors() []string { return []string{"", "0", "none", "false", "ok", "success"} }

// isNoWarning holds for an error that does not say of itself, or of each of its parts,
// that it is less than one.
func isNoWarning(value any) bool {
	switch v := value.(type) {
	case []any:
		return slices.ContainsFunc(v, isNoWarning)
	case map[string]any:
		for _, name := range []string{"level", "severity"} {
			level, _ := v[name].(string)
			if slices.Contains([]string{"warning", "warn", "notice", "info"}, strings.ToLower(level)) {
				return false
			}
		}
	}
	return isError(value)
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
