package bigcommerce

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/outbox"
)

// The operations that arrivals, reports and fault rules name.
const (
	OpListOrders    = "orders.list"
	OpReadOrder     = "order.read"
	OpReadProducts  = "order.products"
	OpReadAddresses = "order.shippingaddresses"
	OpListWebhooks  = "webhooks.list"
	OpReadWebhook   = "webhook.read"
	OpCreateWebhook = "webhook.create"
	OpUpdateWebhook = "webhook.update"
	OpDeleteWebhook = "webhook.delete"
	OpOther         = "other"
)

var (
	ordersPath = regexp.MustCompile(`^/stores/([^/]+)/v2/orders(?:/(\d+)(?:/(products|shippingaddresses))?)?(?:\.json)?/?$`)
	hooksPath  = regexp.MustCompile(`^/stores/([^/]+)/v3/hooks(?:/(\d+))?/?$`)
)

// Classify names the operation and the id that it is about.
func (s *Store) Classify(r *http.Request, _ []byte) (operation, key string) {
	if found := ordersPath.FindStringSubmatch(r.URL.Path); len(found) > 0 && found[1] == s.cfg.Hash {
		switch {
		case r.Method != http.MethodGet:
			return OpOther, found[2]
		case found[2] == "":
			return OpListOrders, ""
		default:
			return map[string]string{"": OpReadOrder, "products": OpReadProducts, "shippingaddresses": OpReadAddresses}[found[3]], found[2]
		}
	}
	found := hooksPath.FindStringSubmatch(r.URL.Path)
	if len(found) == 0 || found[1] != s.cfg.Hash {
		return OpOther, ""
	}
	operations := map[string]string{http.MethodGet: OpListWebhooks, http.MethodPost: OpCreateWebhook}
	if found[2] != "" {
		operations = map[string]string{http.MethodGet: OpReadWebhook, http.MethodPut: OpUpdateWebhook, http.MethodDelete: OpDeleteWebhook}
	}
	if operation = operations[r.Method]; operation == "" {
		operation = OpOther
	}
	return operation, found[2]
}

// Serve carries out one call of the API, if the quota has room for it. Every reply tells the state of the quota.
func (s *Store) Serve(c account.Call, r *http.Request, body []byte) account.Reply {
	header, ok := s.spend(time.Now())
	if !ok {
		return withHeader(tooMany(), header)
	}
	return withHeader(s.serve(c, r, body), header)
}

// spend takes one call out of the window's quota and returns the headers that tell of it. Calls that are refused take none.
func (s *Store) spend(now time.Time) (http.Header, bool) {
	quota, window := s.cfg.Quota.Requests, s.cfg.Quota.Window.Std()
	s.mu.Lock()
	defer s.mu.Unlock()
	since := now.Sub(s.started)
	if number := int64(since / window); number != s.window {
		s.window, s.used = number, 0
	}
	ok := s.used < quota
	if ok {
		s.used++
	} else {
		s.tally.throttled++
	}
	header := make(http.Header)
	for name, value := range map[string]int64{
		"X-Rate-Limit-Requests-Left": int64(quota - s.used), "X-Rate-Limit-Requests-Quota": int64(quota),
		"X-Rate-Limit-Time-Reset-Ms": (window - since%window).Milliseconds(), "X-Rate-Limit-Time-Window-Ms": window.Milliseconds(),
	} {
		header.Set(name, strconv.FormatInt(value, 10))
	}
	return header, ok
}

func withHeader(r account.Reply, header http.Header) account.Reply {
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	maps.Copy(r.Header, header)
	return r
}

// tooMany is the refusal of a call beyond the quota. Its body is not documented.
func tooMany() account.Reply {
	return failure(http.StatusTooManyRequests, "You have made too many requests to the API. Please try again later.")
}

func (s *Store) serve(c account.Call, r *http.Request, body []byte) account.Reply {
	if r.Header.Get("X-Auth-Token") != s.cfg.Token {
		return failure(http.StatusUnauthorized,
			"Unauthorized - the v3 Auth client ID or token in the request are not a valid combination for this store.")
	}
	id, _ := strconv.ParseInt(c.Key, 10, 64)
	query := r.URL.Query()
	switch c.Operation {
	case OpListOrders:
		return s.listOrders(query)
	case OpReadOrder, OpReadProducts, OpReadAddresses:
		return s.readOrder(c.Operation, id, query)
	case OpListWebhooks:
		return s.listWebhooks(query)
	case OpReadWebhook:
		return s.withHook(id, s.hookReply)
	case OpCreateWebhook:
		return s.createWebhook(body)
	case OpUpdateWebhook:
		return s.updateWebhook(id, body)
	case OpDeleteWebhook:
		return s.withHook(id, func(h *hook) account.Reply {
			s.hooks = slices.DeleteFunc(s.hooks, func(other *hook) bool { return other == h })
			out := s.hookReply(h)
			out.Write = true
			return out
		})
	}
	return failure(http.StatusNotFound, "The requested resource was not found.")
}

// Refuse returns the store's form of a refusal by the platform.
func (s *Store) Refuse(reason account.Reason) account.Reply {
	switch reason {
	case account.InMaintenance, account.InjectedUnavailable:
		return failure(http.StatusServiceUnavailable, "Service Unavailable")
	case account.InjectedServerError:
		return failure(http.StatusInternalServerError, "Internal Server Error")
	default:
		quota, window := int64(s.cfg.Quota.Requests), s.cfg.Quota.Window.Std().Milliseconds()
		header := make(http.Header)
		for name, value := range map[string]int64{
			"X-Rate-Limit-Requests-Left": 0, "X-Rate-Limit-Requests-Quota": quota, "X-Rate-Limit-Time-Window-Ms": window,
			"X-Rate-Limit-Time-Reset-Ms": 1000,
		} {
			header.Set(name, strconv.FormatInt(value, 10))
		}
		return withHeader(tooMany(), header)
	}
}

// readOrder is GET /orders/{id} and what is below it.
func (s *Store) readOrder(operation string, id int64, query url.Values) account.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.orders.Find(id)
	if !ok {
		return failureV2(http.StatusNotFound, "The requested resource was not found.")
	}
	switch operation {
	case OpReadProducts:
		p, refusal := readPage(query)
		if refusal != nil {
			return *refusal
		}
		return listReply(cut(r.products(), p))
	case OpReadAddresses:
		return reply(http.StatusOK, r.shippingAddresses())
	}
	return reply(http.StatusOK, s.included(r, query))
}

// listWebhooks is GET /hooks, filtered by is_active, scope and destination.
func (s *Store) listWebhooks(query url.Values) account.Reply {
	p, refusal := readPage(query)
	if refusal != nil {
		return *refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []Hook{}
	for _, h := range s.hooks {
		active, scope, destination := query.Get("is_active"), query.Get("scope"), query.Get("destination")
		if active != "" && active != strconv.FormatBool(h.IsActive) || scope != "" && scope != h.Scope ||
			destination != "" && destination != h.Destination {
			continue
		}
		found = append(found, s.toldHook(h))
	}
	shown := cut(found, p)
	return reply(http.StatusOK, map[string]any{"data": shown, "meta": map[string]any{"pagination": map[string]any{
		"total": len(found), "count": len(shown), "per_page": p.size, "current_page": p.number, "total_pages": (len(found) + p.size - 1) / p.size,
	}}})
}

// hookInput is what may be written of a webhook; what is absent stays.
type hookInput struct {
	Scope       *string            `json:"scope"`
	Destination *string            `json:"destination"`
	IsActive    *bool              `json:"is_active"`
	Headers     *map[string]string `json:"headers"`
}

func (in hookInput) check(whole bool) (field, problem string) {
	switch {
	case whole && in.Scope == nil:
		return "scope", "error.path.missing"
	case whole && in.Destination == nil:
		return "destination", "error.path.missing"
	case in.Scope != nil && !slices.Contains(scopes, *in.Scope):
		return "scope", "error.invalid.scope"
	case in.Destination != nil && !outbox.IsTarget(*in.Destination):
		return "destination", "error.invalid.destination"
	}
	return "", ""
}

func (in hookInput) apply(h *Hook) {
	if in.Scope != nil {
		h.Scope = *in.Scope
	}
	if in.Destination != nil {
		h.Destination = *in.Destination
	}
	if in.IsActive != nil {
		h.IsActive = *in.IsActive
	}
	if in.Headers != nil {
		h.Headers = *in.Headers
	}
}

func readHook(body []byte, whole bool) (hookInput, *account.Reply) {
	var in hookInput
	if err := json.Unmarshal(body, &in); err != nil {
		refusal := failure(http.StatusBadRequest, "Input is invalid.")
		return in, &refusal
	}
	if field, problem := in.check(whole); problem != "" {
		refusal := failure(http.StatusUnprocessableEntity, "JSON data is missing or invalid")
		refusal.Body = encode(map[string]any{
			"status": http.StatusUnprocessableEntity, "title": "JSON data is missing or invalid", "type": errorType,
			"errors": map[string]string{field: problem},
		})
		return in, &refusal
	}
	return in, nil
}

// createWebhook is POST /hooks. A new webhook is active unless told otherwise.
func (s *Store) createWebhook(body []byte) account.Reply {
	in, refusal := readHook(body, true)
	if refusal != nil {
		return *refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := Hook{IsActive: true}
	in.apply(&h)
	out := s.hookReply(s.addHook(h, time.Now()))
	out.Write = true
	return out
}

// updateWebhook is PUT /hooks/{id}. Webhooks that wait for their repetition keep the destination that they had.
func (s *Store) updateWebhook(id int64, body []byte) account.Reply {
	in, refusal := readHook(body, false)
	if refusal != nil {
		return *refusal
	}
	return s.withHook(id, func(h *hook) account.Reply {
		in.apply(&h.Hook)
		h.UpdatedAt = time.Now().Unix()
		out := s.hookReply(h)
		out.Write = true
		return out
	})
}

func (s *Store) withHook(id int64, do func(h *hook) account.Reply) account.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hookByID(id)
	if h == nil {
		return failure(http.StatusNotFound, fmt.Sprintf("Webhook with id [%d] not found", id))
	}
	return do(h)
}

func (s *Store) hookReply(h *hook) account.Reply {
	return reply(http.StatusOK, map[string]any{"data": s.toldHook(h), "meta": map[string]any{}})
}

func reply(status int, value any) account.Reply {
	return account.JSON(status, "application/json", value)
}

const errorType = "/api-docs/getting-started/api-status-codes"

// failure is an error of version 3 of the API, and of the gateway before both versions.
func failure(status int, title string) account.Reply {
	return refused(reply(status, map[string]any{"status": status, "title": title, "type": errorType}))
}

// failureV2 is an error of version 2: a list.
func failureV2(status int, message string) account.Reply {
	return refused(reply(status, []map[string]any{{"status": status, "message": message}}))
}

func refused(r account.Reply) account.Reply {
	if r.Status < 500 && r.Status != http.StatusTooManyRequests {
		r.Outcome = arrivals.Refused
	}
	return r
}
