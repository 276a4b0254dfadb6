package woocommerce

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
func (w WooCommerce) Read(spec *v1alpha1.ConnectorSpec, call connectors.Call, r connectors.Reply) connectors.Answer {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Answer{Verdict: verdict}
	}
	r = reply.WithoutByteOrderMark(r)
	verdict := reply.ByStatus(r, w.Operations(spec)[call.Operation].Effect)
	if verdict.Class != fault.OK {
		return connectors.Answer{Verdict: refused(verdict, call, r)}
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
		return listWebhooks(call, r)
	case connectors.OperationPutWebhook:
		return madeWebhook(r)
	}
	return reply.Unreadable(r, "the reply to an operation that WooCommerce does not have")
}

// refused reads the shop's own word for a refusal.
func refused(verdict fault.Verdict, call connectors.Call, r connectors.Reply) fault.Verdict {
	var body struct {
		Code    text `json:"code"`
		Message text `json:"message"`
	}
	if json.Unmarshal(r.Body, &body) != nil || body.Code == "" {
		return verdict
	}
	if verdict.Class == fault.Auth && call.Operation != connectors.OperationReadOrder && lacksRight(string(body.Code), string(body.Message)) {
		verdict.Class = fault.Conflict
		verdict.Cause = fault.Cause{Code: connectors.CodeNoRight, Detail: reply.Shorten(string(body.Message)), Status: r.Status}
		verdict.Wait, verdict.WaitSaid = reply.WaitOf(r, verdict.Class)
		return verdict
	}
	verdict.Cause.Code, verdict.Cause.Detail = reply.Slug(string(body.Code), verdict.Cause.Code), reply.Shorten(string(body.Message))
	// Only the shop's own word counts: a path that nobody knows is 404 too.
	if call.Operation == connectors.OperationReadOrder && r.Status == http.StatusNotFound && strings.HasSuffix(string(body.Code), "_invalid_id") {
		verdict.Class, verdict.Cause.Code = fault.Conflict, connectors.CodeNoSuchOrder
	}
	return verdict
}

// lacksRight tells a key that may not do this from one that is not known.
func lacksRight(code, message string) bool {
	return strings.HasPrefix(code, "woocommerce_rest_cannot_") || strings.Contains(message, "does not have")
}

func readOrder(r connectors.Reply) connectors.Answer {
	order, err := read(r.Body)
	if err != nil {
		if errors.Is(err, connectors.ErrNotAnOrder) {
			return reply.Refused(r, fault.Conflict, connectors.CodeNoSuchOrder, err.Error())
		}
		return reply.Refused(r, fault.Permanent, "order-unreadable", err.Error())
	}
	value, err := listing.OrderValue(order)
	if err != nil {
		return reply.Refused(r, fault.Permanent, "order-unreadable", err.Error())
	}
	return reply.Answered(r, value, nil)
}

// entriesOf reads a page. What cannot be read of an order is its place in the list at least.
func entriesOf(list []json.RawMessage) []listing.Entry {
	entries := make([]listing.Entry, len(list))
	for i, raw := range list {
		var place struct {
			ID       integer `json:"id"`
			Modified moment  `json:"date_modified_gmt"`
		}
		_ = json.Unmarshal(raw, &place) // what is not known of it says read
		order, err := read(raw)
		entries[i] = listing.Entry{ID: string(place.ID), ChangedAt: place.Modified.Time, Order: order, None: errors.Is(err, connectors.ErrNotAnOrder)}
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
	pages, known := totalPages(r.Header)
	found := listing.Take(entriesOf(list), at.Tied || at.trash != nil)
	more := found.Cut || len(list) >= ordersPerPage
	if known {
		// A shop leaves out what the key may not see, so that a page may be short.
		more = found.Cut || pages > 1
	}
	if problem := goOn(&found, at, more, pages, known); problem != "" {
		return reply.Unreadable(r, problem+": "+reply.Excerpt(r.Header, r.Body))
	}
	value, err := found.Page.Value()
	return reply.Answered(r, value, err)
}

// goOn writes which page comes behind what was taken of one, or says why it cannot be told.
func goOn(t *listing.Taken, at cursor, more bool, pages int, known bool) (problem string) {
	t.Page.Open = true
	switch {
	case t.Nameless:
		return "a list with something in it that has no id"
	case (at.Tied || at.trash != nil) && !known:
		return "a page of orders without X-WP-TotalPages"
	case at.trash != nil:
		if t.Page.Next = at.trash.after(pages); t.Page.Next == at.trash.then {
			t.Page.Through = at.trash.to
		}
	case at.Tied:
		t.Page.Next = at.behind(new(at.afterTied(pages)), t.Last)
	case more && t.Last.IsZero():
		return "a page of orders none of which has a date_modified_gmt, and there are more pages"
	case more:
		t.Page.Next = at.behind(new(at.After(t.Last)), t.Last)
	default:
		t.Page.Next = at.behind(nil, t.Last)
	}
	return ""
}

// totalPages reads X-WP-TotalPages; false where it is not there.
func totalPages(header http.Header) (int, bool) {
	pages, err := strconv.Atoi(header.Get("X-Wp-Totalpages"))
	return pages, err == nil && pages >= 0
}

// webhookActive is the status of a webhook that is sent.
const webhookActive = "active"

type webhook struct {
	ID      integer `json:"id"`
	Topic   text    `json:"topic"`
	Address text    `json:"delivery_url"`
	Status  text    `json:"status"`
}

func pageOf(list []webhook) listing.WebhookPage {
	var page listing.WebhookPage
	for _, w := range list {
		page.Webhooks = append(page.Webhooks, listing.Webhook{
			ID: string(w.ID), Topic: string(w.Topic), Address: string(w.Address), Active: w.Status == webhookActive,
		})
	}
	return page
}

func listWebhooks(call connectors.Call, r connectors.Reply) connectors.Answer {
	var list []webhook
	page, err := listing.ParsePageNumber(call.Arguments)
	if err == nil {
		err = json.Unmarshal(r.Body, &list)
	}
	if err != nil || list == nil {
		return reply.Unreadable(r, "no list of webhooks: "+reply.Excerpt(r.Header, r.Body))
	}
	found := pageOf(list)
	if !isLast(page, len(list), r.Header) {
		found.Next = strconv.Itoa(page + 1)
	}
	return reply.Answered(r, found.Value(), nil)
}

func isLast(page, listed int, header http.Header) bool {
	if pages, known := totalPages(header); known {
		return page >= pages
	}
	return listed < webhooksPerPage
}

func madeWebhook(r connectors.Reply) connectors.Answer {
	var made webhook
	if err := json.Unmarshal(r.Body, &made); err != nil || made.ID == "" {
		return reply.Unreadable(r, "no webhook: "+reply.Excerpt(r.Header, r.Body))
	}
	answer := reply.Told(r)
	answer.Reference = string(made.ID)
	return answer
}

// ReadFound looks for a new webhook by what it is sent for and where to. One that was
// to be mended is mended once more, which changes nothing if it was: whether its
// secret is the new one, the list does not say.
func (WooCommerce) ReadFound(_ *v1alpha1.ConnectorSpec, lookup connectors.Lookup, r connectors.Reply) connectors.Finding {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Finding{Answer: connectors.Answer{Verdict: verdict}}
	}
	r = reply.WithoutByteOrderMark(r)
	verdict := reply.ByStatus(r, connectors.EffectNone)
	if verdict.Class != fault.OK {
		return connectors.Finding{Answer: connectors.Answer{Verdict: refused(verdict, lookup.Call, r)}}
	}
	var list []webhook
	put, err := listing.ParseWebhook(lookup.Call.Arguments)
	if err == nil {
		err = json.Unmarshal(r.Body, &list)
	}
	if err != nil || r.Err != nil || list == nil {
		return connectors.Finding{Answer: reply.Unreadable(r, "a look-up's reply that is no whole list of webhooks: "+reply.Excerpt(r.Header, r.Body))}
	}
	answer := reply.Told(r)
	// A new one is among the newest, which come first.
	id, made := pageOf(list).Made(put)
	if !made {
		return connectors.Finding{Answer: answer, Presence: connectors.Absent}
	}
	answer.Reference = id
	return connectors.Finding{Answer: answer, Presence: connectors.Present}
}
