package http

import (
	"encoding/json"
	nethttp "net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// problem is a problem detail of RFC 9457, with the fields under which other
// systems say the same.
type problem struct {
	Type    looseText `json:"type"`
	Title   looseText `json:"title"`
	Detail  looseText `json:"detail"`
	Code    looseText `json:"code"`
	Message looseText `json:"message"`
}

// looseText is a text; anything else in its place is as good as nothing.
type looseText string

func (t *looseText) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = looseText(s)
	}
	return nil
}

// Read reads a reply by what the operation says of its replies and by its status, and
// its cause from problem details. A status of success alone does not do: see doubted.
func (h HTTP) Read(spec *v1alpha1.ConnectorSpec, call connectors.Call, r connectors.Reply) connectors.Answer {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Answer{Verdict: verdict}
	}
	r = reply.WithoutByteOrderMark(r)
	operation, _ := described(spec, call.Operation)
	effect := effects[operation.Effect]
	verdict := reply.ByStatus(r, effect)
	kind := contentOf(r, operation.Reply != nil)
	said := h.wordsOf(operation.Reply, kind, call.ExternalID, r)
	if answer, other := said.otherwise(verdict, effect); other {
		return answer
	}
	if verdict.Class != fault.OK {
		verdict.Cause = said.cause(causeOf(verdict.Cause, r))
		return connectors.Answer{Verdict: verdict}
	}
	answer, isDoubted := doubted(verdict, kind, effect, r)
	if !isDoubted {
		answer, isDoubted = problemInBody(kind, effect, r)
	}
	switch {
	case isDoubted:
	case said != nil:
		answer, isDoubted = said.notAccepted()
	case effect != connectors.EffectNone: // to a query an error may be part of the answer
		answer, isDoubted = errorInBody(r, isError)
	}
	switch {
	case isDoubted:
		return answer
	case effect == connectors.EffectNone:
		return value(verdict, r)
	}
	return connectors.Answer{Verdict: verdict, Reference: said.reference(reference(r))}
}

// value reads what a query asked for: a JSON object.
func value(verdict fault.Verdict, r connectors.Reply) connectors.Answer {
	object := new(structpb.Struct)
	if err := protojson.Unmarshal(r.Body, object); err != nil || r.Err != nil {
		return connectors.Answer{Verdict: fault.Verdict{Class: fault.Unknown, Cause: fault.Cause{
			Code: "unreadable-reply", Detail: reply.Shorten("a body that is no whole JSON object: " + reply.Excerpt(r.Header, r.Body)), Status: r.Status,
		}}}
	}
	return connectors.Answer{Verdict: verdict, Value: object}
}

// causeOf reads the code from the last segment of type, and the detail.
func causeOf(cause fault.Cause, r connectors.Reply) fault.Cause {
	var p problem
	if json.Unmarshal(r.Body, &p) != nil {
		return cause
	}
	if code := lastSegment(string(p.Type)); code != "" && p.Type != "about:blank" {
		cause.Code = reply.Slug(code, cause.Code)
	} else {
		cause.Code = reply.Slug(string(p.Code), cause.Code)
	}
	for _, text := range []looseText{p.Detail, p.Message, p.Title} {
		if text != "" {
			cause.Detail = reply.Shorten(string(text))
			break
		}
	}
	return cause
}

// lastSegment of a type, which is a URI: after the last "/", "#" or ":".
func lastSegment(uri string) string {
	uri = strings.TrimRight(uri, "/#:")
	return uri[strings.LastIndexAny(uri, "/#:")+1:]
}

// reference is where the reply says that the record is, or the id in its body.
func reference(r connectors.Reply) string {
	if r.Status == nethttp.StatusCreated || r.Status == nethttp.StatusNoContent {
		if last := reply.LastOfLocation(r.Header); last != "" {
			return last
		}
	}
	var body struct {
		ID        json.RawMessage `json:"id"`
		Reference looseText       `json:"reference"`
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return ""
	}
	if id := strings.Trim(string(body.ID), `"`); id != "" && id != "null" && !strings.ContainsAny(id, "{}[]") {
		return reply.Shorten(id)
	}
	return reply.Shorten(string(body.Reference))
}
