package bigcommerce

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// Read reads a reply of the REST API.
func (b BigCommerce) Read(spec *v1alpha1.ConnectorSpec, call connectors.Call, r connectors.Reply) connectors.Answer {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Answer{Verdict: verdict}
	}
	r = withoutSecret(r)
	verdict := reply.ByStatus(r, b.Operations(spec)[call.Operation].Effect)
	if verdict.Class != fault.OK {
		return connectors.Answer{Verdict: refused(verdict, call, r)}
	}
	if call.Operation == connectors.OperationListOrders && r.Status == http.StatusNoContent {
		r.Body = []byte(`[]`) // a list of nothing
	}
	if r.Err != nil || !json.Valid(r.Body) {
		return reply.Unreadable(r, "a body that is no whole JSON: "+reply.Excerpt(r.Header, r.Body))
	}
	switch call.Operation {
	case connectors.OperationReadOrder:
		return readOrder(r)
	case connectors.OperationListOrders:
		return listOrders(call, r)
	case connectors.OperationListWebhooks:
		return listWebhooks(r)
	case connectors.OperationPutWebhook:
		return madeWebhook(r)
	}
	return reply.Unreadable(r, "the reply to an operation that BigCommerce does not have")
}

// failureV3 is an error of version 3, and of the gateway before both versions.
type failureV3 struct {
	Title  text            `json:"title"`
	Errors json.RawMessage `json:"errors"`
}

// failureV2 is one of the errors that version 2 lists.
type failureV2 struct {
	Message text `json:"message"`
}

// refused reads the store's own word for a refusal.
func refused(verdict fault.Verdict, call connectors.Call, r connectors.Reply) fault.Verdict {
	var listed []failureV2
	var one failureV3
	switch {
	case json.Unmarshal(r.Body, &listed) == nil && len(listed) > 0 && listed[0].Message != "":
		verdict.Cause.Detail = reply.Shorten(string(listed[0].Message))
		// Only the store's own word counts: a gateway that knows no such path says 404 too.
		if call.Operation == connectors.OperationReadOrder && r.Status == http.StatusNotFound {
			return conflict(verdict, r, connectors.CodeNoSuchOrder)
		}
	case json.Unmarshal(r.Body, &one) == nil && one.Title != "":
		detail := string(one.Title)
		if len(one.Errors) > 0 && string(one.Errors) != "{}" {
			detail += " " + string(one.Errors)
		}
		verdict.Cause.Detail = reply.Shorten(detail)
	default:
		return verdict
	}
	// The token is known, and has not the scope: what else it is asked goes on.
	if r.Status == http.StatusForbidden && call.Operation != connectors.OperationReadOrder {
		return conflict(verdict, r, connectors.CodeNoRight)
	}
	return verdict
}

func conflict(verdict fault.Verdict, r connectors.Reply, code string) fault.Verdict {
	verdict.Class, verdict.Cause.Code = fault.Conflict, code
	verdict.Wait, verdict.WaitSaid = reply.WaitOf(r, verdict.Class)
	return verdict
}

func readOrder(r connectors.Reply) connectors.Answer {
	order, err := read(r.Body)
	if err != nil {
		if errors.Is(err, errIncomplete) {
			return reply.Refused(r, fault.Conflict, connectors.CodeNoSuchOrder, err.Error())
		}
		return reply.Refused(r, fault.Permanent, "order-unreadable", err.Error())
	}
	value, err := listing.OrderValue(order)
	return reply.Answered(r, value, err)
}

// entriesOf reads a page. What cannot be read of an order is its place in the list at least.
func entriesOf(list []json.RawMessage) []listing.Entry {
	entries := make([]listing.Entry, len(list))
	for i, raw := range list {
		var place struct {
			ID       integer `json:"id"`
			Modified moment  `json:"date_modified"`
		}
		_ = json.Unmarshal(raw, &place) // what is not known of it says read
		order, err := read(raw)
		entries[i] = listing.Entry{ID: string(place.ID), ChangedAt: place.Modified.Time, Order: order, None: errors.Is(err, errIncomplete)}
	}
	return entries
}

func listOrders(call connectors.Call, r connectors.Reply) connectors.Answer {
	var list []json.RawMessage
	at, err := cursorOf(call)
	if err == nil {
		err = json.Unmarshal(r.Body, &list)
	}
	if err != nil || list == nil {
		return reply.Unreadable(r, "no list of orders: "+reply.Excerpt(r.Header, r.Body))
	}
	entries := entriesOf(list)
	// Within a second the next page begins with the last order of this one: two that are
	// too large for one answer would be no further each time.
	found := listing.Take(entries, at.Tied)
	more := found.Cut || len(list) >= ordersPerPage
	id := largestID(entries[:found.Count])
	switch {
	case found.Nameless:
		return reply.Unreadable(r, "a list with something in it that has no id: "+reply.Excerpt(r.Header, r.Body))
	case more && at.Tied && id <= at.Within && at.Within > 0:
		return reply.Unreadable(r, "a page of orders that goes no further than its first id: min_id and sort are not heeded")
	case more && at.Tied:
		found.Page.Next = at.From(id).String()
	case more && found.Last.IsZero():
		return reply.Unreadable(r, "a page of orders none of which has a date_modified, and there are more: "+reply.Excerpt(r.Header, r.Body))
	case more:
		found.Page.Next = at.After(found.Last).String()
	case at.Tied:
		found.Page.Next = at.Later().String()
	}
	value, err := found.Page.Value()
	return reply.Answered(r, value, err)
}

// largestID is that of the orders of a page which were taken.
func largestID(entries []listing.Entry) int64 {
	largest := int64(0)
	for _, entry := range entries {
		id, _ := strconv.ParseInt(entry.ID, 10, 64)
		largest = max(largest, id)
	}
	return largest
}

type webhook struct {
	ID          integer `json:"id"`
	Scope       text    `json:"scope"`
	Destination text    `json:"destination"`
	IsActive    flag    `json:"is_active"`
	// Headers are what it sends along, null for none.
	Headers json.RawMessage `json:"headers"`
	// Seal is what Unseal found of them, empty where it did not look.
	Seal seal `json:"peppasync_seal"`
}

// works says that it is sent, and shows a secret: without one, which a person who makes a
// webhook may leave out, all that it sends is refused until the store gives up on it, after
// two days.
func (w *webhook) works() bool {
	switch w.Seal {
	case sealNone:
		return false
	case sealToday, sealBefore, sealBeforeAmongOthers, sealHidden:
		return bool(w.IsActive)
	}
	headers := map[string]json.RawMessage{}
	if w.Headers == nil || json.Unmarshal(w.Headers, &headers) != nil {
		return bool(w.IsActive) // the store does not say
	}
	for name := range headers {
		if strings.EqualFold(name, headerToken) {
			return bool(w.IsActive)
		}
	}
	return false
}

// webhookList is a page of webhooks.
type webhookList struct {
	Data []webhook `json:"data"`
	Meta struct {
		Pagination struct {
			CurrentPage int `json:"current_page"`
			TotalPages  int `json:"total_pages"`
		} `json:"pagination"`
	} `json:"meta"`
}

func (l *webhookList) page() listing.WebhookPage {
	var page listing.WebhookPage
	for _, w := range l.Data {
		page.Webhooks = append(page.Webhooks, listing.Webhook{
			ID: string(w.ID), Topic: string(w.Scope), Address: string(w.Destination), Active: w.works(), Stale: w.Seal == sealBefore,
		})
	}
	return page
}

func listWebhooks(r connectors.Reply) connectors.Answer {
	var list webhookList
	if err := json.Unmarshal(r.Body, &list); err != nil || list.Data == nil {
		return reply.Unreadable(r, "no list of webhooks: "+reply.Excerpt(r.Header, r.Body))
	}
	found := list.page()
	if at := list.Meta.Pagination; at.CurrentPage > 0 && at.CurrentPage < at.TotalPages {
		found.Next = strconv.Itoa(at.CurrentPage + 1)
	}
	return reply.Answered(r, found.Value(), nil)
}

func madeWebhook(r connectors.Reply) connectors.Answer {
	var made struct {
		Data webhook `json:"data"`
	}
	if err := json.Unmarshal(r.Body, &made); err != nil || made.Data.ID == "" {
		return reply.Unreadable(r, "no webhook: "+reply.Excerpt(r.Header, r.Body))
	}
	answer := reply.Told(r)
	answer.Reference = string(made.Data.ID)
	return answer
}

// ReadFound looks for a new webhook by what it is sent for and where to. One that was
// to be mended is mended once more, which changes nothing if it was.
func (BigCommerce) ReadFound(_ *v1alpha1.ConnectorSpec, lookup connectors.Lookup, r connectors.Reply) connectors.Finding {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Finding{Answer: connectors.Answer{Verdict: verdict}}
	}
	r = withoutSecret(r)
	verdict := reply.ByStatus(r, connectors.EffectNone)
	if verdict.Class != fault.OK {
		return connectors.Finding{Answer: connectors.Answer{Verdict: refused(verdict, lookup.Call, r)}}
	}
	var list webhookList
	put, err := listing.ParseWebhook(lookup.Call.Arguments)
	if err == nil {
		err = json.Unmarshal(r.Body, &list)
	}
	if err != nil || r.Err != nil || list.Data == nil {
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply that is no whole list of webhooks: "+reply.Excerpt(r.Header, r.Body))}
	}
	answer := reply.Told(r)
	id, made := list.page().Made(put)
	if !made {
		return connectors.Finding{Answer: answer, Presence: connectors.Absent}
	}
	answer.Reference = id
	return connectors.Finding{Answer: answer, Presence: connectors.Present}
}
