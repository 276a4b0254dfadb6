package netsuite

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// errorBody is the error form of SuiteTalk REST.
type errorBody struct {
	Title   string        `json:"title"`
	Details []errorDetail `json:"o:errorDetails"`
}

type errorDetail struct {
	Detail string `json:"detail"`
	Code   string `json:"o:errorCode"`
}

// classes is the table of o:errorCode, for codes that mean the same under
// whatever status they come (RESTlets refuse for pace with 400). Others go by
// the status.
var classes = map[string]fault.Class{
	"CONCURRENCY_LIMIT_EXCEEDED": fault.Throttled,
	"REQUEST_LIMIT_EXCEEDED":     fault.Throttled,
	"SSS_REQUEST_LIMIT_EXCEEDED": fault.Throttled,
	"WS_REQUEST_BLOCKED":         fault.Throttled,
	"INVALID_LOGIN":              fault.Auth,
	"INVALID_LOGIN_ATTEMPT":      fault.Auth,
	"RCRD_HAS_BEEN_CHANGED":      fault.Transient,
	"SESSION_TIMED_OUT":          fault.Transient,
	"IDEMPOTENCY_ERROR":          fault.AlreadyDone,
	"SSS_TIME_LIMIT_EXCEEDED":    fault.Unknown,
	"UNEXPECTED_ERROR":           fault.Unknown,
	"USER_ERROR":                 fault.Permanent,
	"INVALID_CONTENT":            fault.Permanent,
	"NONEXISTENT_ID":             fault.Permanent,
	// One record that the role may not touch, though it comes with 403: the
	// rest of the account works.
	"INSUFFICIENT_PERMISSION": fault.Permanent,
}

// Read reads a reply of SuiteTalk REST.
func (n NetSuite) Read(spec *v1alpha1.ConnectorSpec, call connectors.Call, r connectors.Reply) connectors.Answer {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Answer{Verdict: verdict}
	}
	effect := n.Operations(spec)[call.Operation].Effect
	verdict := reply.ByStatus(r, effect)
	if verdict.Class != fault.OK {
		answer := connectors.Answer{Verdict: refine(verdict, r, effect)}
		if answer.Class == fault.AlreadyDone {
			answer.Reference = reply.LastOfLocation(r.Header)
		}
		return answer
	}
	if answer, refused := refusedInBody(verdict, r, effect); refused {
		return answer
	}
	if call.Operation == connectors.OperationReadStock {
		return readStock(call, r)
	}
	if r.Status == http.StatusAccepted {
		// An asynchronous job, which was not asked for: whether it will do is open.
		return reply.Refused(r, fault.Unknown, "accepted-asynchronously", "status 202 for a synchronous request")
	}
	return connectors.Answer{Verdict: verdict, Reference: reference(call, r)}
}

// refusedInBody reads what a status of success hides: an error body, as gateways send
// it that answer every call with 200, or a page, as logins and maintenances do. An
// order whose reply says no more than 200 would be lost by it.
func refusedInBody(verdict fault.Verdict, r connectors.Reply, effect connectors.Effect) (connectors.Answer, bool) {
	open := fault.Unknown
	if effect == connectors.EffectNone {
		open = fault.Transient
	}
	if len(r.Body) > 0 && reply.IsHTML(r.Header, r.Body) {
		return connectors.Answer{Verdict: fault.Verdict{Class: open, Outage: true, Cause: fault.Cause{
			Code: "page-for-a-reply", Detail: reply.Excerpt(r.Header, r.Body), Status: r.Status,
		}}}, true
	}
	var body errorBody
	err := json.Unmarshal(r.Body, &body)
	if r.Err != nil || err != nil && len(r.Body) > 0 {
		// It may be an error that was cut off.
		return reply.Unreadable(r, reply.Excerpt(r.Header, r.Body)), true
	}
	if len(body.Details) == 0 {
		return connectors.Answer{}, false
	}
	verdict.Cause.Code = "error-in-body"
	answer := connectors.Answer{Verdict: refine(verdict, r, effect)}
	switch answer.Class {
	case fault.OK: // a code that no table has
		answer.Class = open
	case fault.AlreadyDone:
		answer.Reference = reply.LastOfLocation(r.Header)
	case fault.Throttled, fault.Transient, fault.Auth, fault.Permanent, fault.Unknown, fault.Conflict:
	}
	return answer, true
}

// refine replaces what the status says by what the error code says.
func refine(verdict fault.Verdict, r connectors.Reply, effect connectors.Effect) fault.Verdict {
	var body errorBody
	if json.Unmarshal(r.Body, &body) != nil || len(body.Details) == 0 {
		return verdict
	}
	// Of several details one with a known class decides, else the first.
	deciding := body.Details[0]
	if i := slices.IndexFunc(body.Details, func(d errorDetail) bool { _, known := classes[d.Code]; return known }); i >= 0 {
		deciding = body.Details[i]
	}
	verdict.Cause.Code = reply.Slug(deciding.Code, verdict.Cause.Code)
	verdict.Cause.Detail = reply.Shorten(deciding.Detail)
	class, known := classes[deciding.Code]
	if deciding.Code == "USER_ERROR" && strings.Contains(deciding.Detail, "record already exists") {
		// Another request for the same external id was faster, perhaps an earlier
		// one of this call. NetSuite has no code of its own for it.
		class = fault.AlreadyDone
	}
	if !known || r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests {
		// These two statuses say more than any code below them.
		return verdict
	}
	if class == fault.Unknown && effect == connectors.EffectNone {
		class = fault.Transient
	}
	if (class == fault.Permanent || class == fault.AlreadyDone) && verdict.Class == fault.Unknown {
		// A server error is never the request's fault for certain.
		return verdict
	}
	verdict.Class = class
	verdict.Wait, verdict.WaitSaid = reply.WaitOf(r, class)
	return verdict
}

// reference is the internal id, or the external id where the reply has no
// Location: both find the record.
func reference(call connectors.Call, r connectors.Reply) string {
	if last := reply.LastOfLocation(r.Header); last != "" {
		return last
	}
	return "eid:" + call.ExternalID
}

type queryBody struct {
	HasMore bool `json:"hasMore"`
	Items   []struct {
		SKU       string `json:"sku"`
		Available figure `json:"quantityavailable"`
	} `json:"items"`
}

// figure is a number that SuiteQL sends as a text; null where a location has
// none of an item.
type figure float64

func (f *figure) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" || text == "" {
		*f = 0
		return nil
	}
	value, err := strconv.ParseFloat(text, 64)
	*f = figure(value)
	return err
}

func readStock(call connectors.Call, r connectors.Reply) connectors.Answer {
	var body queryBody
	if err := json.Unmarshal(r.Body, &body); err != nil || r.Err != nil || body.Items == nil {
		return reply.Unreadable(r, "status 200 with a body that is no whole SuiteQL reply: "+reply.Excerpt(r.Header, r.Body))
	}
	if body.HasMore {
		return reply.Refused(r, fault.Permanent, "ambiguous-sku", "the account has more items with these names than one page holds: make them unique")
	}
	read, err := stock.ParseRead(call.Arguments)
	if err != nil {
		return reply.Refused(r, fault.Unknown, "unreadable-arguments", err.Error())
	}
	figures := make([]stock.Figure, 0, len(body.Items))
	for _, item := range body.Items {
		available, ok := stock.Whole(float64(item.Available))
		if !ok {
			return reply.Unreadable(r, "quantityavailable of "+item.SKU+" is no figure of stock")
		}
		if slices.Contains(read.SKUs, item.SKU) {
			figures = append(figures, stock.Figure{SKU: item.SKU, Available: available})
		}
	}
	return reply.Answered(r, stock.Value(figures), nil)
}
