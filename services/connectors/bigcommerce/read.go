package bigcommerce

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

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

// listed is what the place of an order in the list goes by.
type listed struct {
	ID       integer `json:"id"`
	Modified moment  `json:"date_modified"`
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
	found := take(list)
	more := found.cut || len(list) >= ordersPerPage
	switch {
	case found.nameless:
		return reply.Unreadable(r, "a list with something in it that has no id: "+reply.Excerpt(r.Header, r.Body))
	case more && at.tied && found.id <= at.id && at.id > 0:
		return reply.Unreadable(r, "a page of orders that goes no further than its first id: min_id and sort are not heeded")
	case more:
		found.page.Next = at.after(found.last, found.id).String()
	case at.tied:
		found.page.Next = cursor{second: at.second.Add(time.Second)}.String()
	}
	value, err := found.page.Value()
	return reply.Answered(r, value, err)
}

// taken is what of a page goes into the answer.
type taken struct {
	page listing.OrderPage
	// last is when the last of them was changed, and id the largest.
	last time.Time
	id   int64
	// cut: there are more in the page than the answer holds.
	cut bool
	// nameless: there is something in the page that is no order.
	nameless bool
}

// take reads orders until the answer is full. One that cannot be read, or is larger
// than an answer, is left to readOrder, which says why, or it would hide all that
// changed after it.
func take(list []json.RawMessage) taken {
	var t taken
	size := 0
	for _, raw := range list {
		var l listed
		_ = json.Unmarshal(raw, &l) // what is not known of it says read
		order, err := read(raw)
		takes := 0
		if err == nil {
			takes = listing.Size(order)
		}
		switch {
		case errors.Is(err, errIncomplete):
		case err == nil && size+takes <= listing.MaxValueBytes:
			size += takes
			t.page.Orders = append(t.page.Orders, order)
		case err == nil && len(t.page.Orders) > 0:
			t.cut = true
			return t
		default:
			t.page.Partial = append(t.page.Partial, listing.Partial{ID: string(l.ID), UpdatedAt: l.Modified.Time})
			t.nameless = t.nameless || l.ID == ""
		}
		if l.Modified.After(t.last) {
			t.last = l.Modified.Time
		}
		id, _ := strconv.ParseInt(string(l.ID), 10, 64)
		t.id = max(t.id, id)
	}
	return t
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

func listWebhooks(r connectors.Reply) connectors.Answer {
	var list webhookList
	if err := json.Unmarshal(r.Body, &list); err != nil || list.Data == nil {
		return reply.Unreadable(r, "no list of webhooks: "+reply.Excerpt(r.Header, r.Body))
	}
	var found listing.WebhookPage
	for _, w := range list.Data {
		found.Webhooks = append(found.Webhooks, listing.Webhook{
			ID: string(w.ID), Topic: string(w.Scope), Address: string(w.Destination), Active: w.works(), Stale: w.Seal == sealBefore,
		})
	}
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
	for _, w := range list.Data {
		if put.ID == "" && string(w.Scope) == put.Topic && string(w.Destination) == put.Address && w.works() {
			answer := reply.Told(r)
			answer.Reference = string(w.ID)
			return connectors.Finding{Answer: answer, Presence: connectors.Present}
		}
	}
	return connectors.Finding{Answer: reply.Told(r), Presence: connectors.Absent}
}
