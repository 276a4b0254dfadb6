package woocommerce

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/outbox"
)

// The operations that arrivals, reports and fault rules name.
const (
	OpListOrders    = "orders.list"
	OpReadOrder     = "order.read"
	OpListWebhooks  = "webhooks.list"
	OpReadWebhook   = "webhook.read"
	OpCreateWebhook = "webhook.create"
	OpUpdateWebhook = "webhook.update"
	OpDeleteWebhook = "webhook.delete"
	OpOther         = "other"
)

const apiPath = "/wp-json/wc/v3/"

var resourcePath = regexp.MustCompile(`^(orders|webhooks)(?:/(\d+))?/?$`)

// Classify names the operation and the id that it is about.
func (s *Shop) Classify(r *http.Request, _ []byte) (operation, key string) {
	rest, ok := strings.CutPrefix(r.URL.Path, apiPath)
	found := resourcePath.FindStringSubmatch(rest)
	if !ok || found == nil {
		return OpOther, ""
	}
	collection, id := found[1], found[2]
	single := id != ""
	switch {
	case r.Method == http.MethodGet && collection == "orders" && single:
		return OpReadOrder, id
	case r.Method == http.MethodGet && collection == "orders":
		return OpListOrders, ""
	case collection == "orders": // what the shop does not serve of the API
		return OpOther, id
	case r.Method == http.MethodGet && single:
		return OpReadWebhook, id
	case r.Method == http.MethodGet:
		return OpListWebhooks, ""
	case r.Method == http.MethodPost && !single:
		return OpCreateWebhook, ""
	case single && slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, r.Method):
		return OpUpdateWebhook, id
	case single && r.Method == http.MethodDelete:
		return OpDeleteWebhook, id
	}
	return OpOther, id
}

// Serve carries out one call of the REST API.
func (s *Shop) Serve(c account.Call, r *http.Request, body []byte) account.Reply {
	if refusal, ok := s.authenticate(r); !ok {
		return refusal
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return failure(http.StatusBadRequest, "rest_invalid_param", "The query cannot be read: "+err.Error())
	}
	id, _ := strconv.ParseInt(c.Key, 10, 64)
	switch c.Operation {
	case OpListOrders:
		return s.listOrders(query)
	case OpReadOrder:
		return s.readOrder(id)
	case OpListWebhooks:
		return s.listWebhooks(query)
	case OpReadWebhook:
		return s.readWebhook(id)
	case OpCreateWebhook:
		return s.createWebhook(body)
	case OpUpdateWebhook:
		return s.updateWebhook(id, body)
	case OpDeleteWebhook:
		return s.deleteWebhook(id, query)
	}
	return failure(http.StatusNotFound, "rest_no_route", "No route was found matching the URL and request method.")
}

// authenticate takes the key and the secret by HTTP Basic. The form in the query string, which is for servers that lose the
// header, is not served: it puts the secret into logs.
func (s *Shop) authenticate(r *http.Request) (account.Reply, bool) {
	key, secret, given := r.BasicAuth()
	switch {
	case !given:
		return failure(http.StatusUnauthorized, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources."), false
	case key != s.cfg.ConsumerKey:
		return failure(http.StatusUnauthorized, "woocommerce_rest_authentication_error", "Consumer key is invalid."), false
	case secret != s.cfg.ConsumerSecret:
		return failure(http.StatusUnauthorized, "woocommerce_rest_authentication_error", "Consumer secret is invalid."), false
	}
	return account.Reply{}, true
}

// Refuse returns the refusal of the shop or of its host. WooCommerce has no limits, so a 429 comes from the host's proxy, as
// a page; in maintenance WordPress sends a page and asks for ten minutes.
func (s *Shop) Refuse(reason account.Reason) account.Reply {
	switch reason {
	case account.InMaintenance:
		page := account.HTML(http.StatusServiceUnavailable)
		page.Header.Set("Retry-After", "600")
		return page
	case account.InjectedUnavailable:
		return account.HTML(http.StatusServiceUnavailable)
	case account.InjectedServerError:
		return failure(http.StatusInternalServerError, "internal_server_error",
			"<p>There has been a critical error on this website.</p><p><a href=\"https://wordpress.org/support/\">Learn more.</a></p>")
	default:
		return account.HTML(http.StatusTooManyRequests)
	}
}

// readOrder is GET /orders/{id}.
func (s *Shop) readOrder(id int64) account.Reply {
	o, ok := s.Order(id)
	if !ok {
		return failure(http.StatusNotFound, "woocommerce_rest_shop_order_invalid_id", "Invalid ID.")
	}
	return reply(http.StatusOK, o)
}

// listWebhooks is GET /webhooks: newest first unless order=asc, of all statuses unless one is given.
func (s *Shop) listWebhooks(query url.Values) account.Reply {
	p, refusal := readPage(query)
	if refusal != nil {
		return *refusal
	}
	status := query.Get("status")
	if status != "" && status != "all" && !slices.Contains(hookStatuses, status) {
		return invalid("status", "status is not one of all, active, paused, and disabled.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []Webhook{}
	for _, h := range s.hooks {
		if status == "" || status == "all" || h.status == status {
			found = append(found, s.webhook(h))
		}
	}
	if p.descending {
		slices.Reverse(found)
	}
	return pageReply(s, "webhooks", query, p, found)
}

func (s *Shop) readWebhook(id int64) account.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hookByID(id)
	if h == nil {
		return failure(http.StatusNotFound, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID.")
	}
	return reply(http.StatusOK, s.webhook(h))
}

type webhookInput struct {
	Name        string `json:"name"`
	Status      string `json:"status"`
	Topic       string `json:"topic"`
	DeliveryURL string `json:"delivery_url"`
	Secret      string `json:"secret"`
}

func decodeWebhook(body []byte) (webhookInput, *account.Reply) {
	var in webhookInput
	if len(body) == 0 {
		return in, nil
	}
	if err := json.Unmarshal(body, &in); err != nil {
		refusal := failure(http.StatusBadRequest, "rest_invalid_json", "Invalid JSON body passed.")
		return in, &refusal
	}
	return in, nil
}

// createWebhook is POST /webhooks. The status is not looked at: a new webhook is active. The ping is sent before the reply,
// and what comes of it does not change the reply.
func (s *Shop) createWebhook(body []byte) account.Reply {
	in, refusal := decodeWebhook(body)
	switch {
	case refusal != nil:
		return *refusal
	case hooksOf[strings.ToLower(in.Topic)] == nil:
		return failure(http.StatusBadRequest, "woocommerce_rest_shop_webhook_invalid_topic", "Webhook topic is required and must be valid.")
	case !outbox.IsTarget(in.DeliveryURL):
		return failure(http.StatusBadRequest, "woocommerce_rest_shop_webhook_invalid_delivery_url",
			"Webhook delivery URL must be a valid URL starting with http:// or https://.")
	}
	s.mu.Lock()
	if in.Secret == "" {
		in.Secret = secretText(fmt.Sprintf("webhook %d", s.nextHook), 50)
	}
	if in.Name == "" {
		in.Name = "Webhook created on Nov 26, 2026 @ 10:00 AM"
	}
	h := s.addHook(strings.ToLower(in.Topic), in.Name, in.DeliveryURL, in.Secret)
	document := s.webhook(h)
	s.mu.Unlock()
	s.ping(document.ID)
	out := reply(http.StatusCreated, document)
	out.Header.Set("Location", fmt.Sprintf("%swp-json/wc/v3/webhooks/%d", s.cfg.URL, document.ID))
	out.Write = true
	return out
}

// updateWebhook is PUT /webhooks/{id}. It does not reset the count of failures. A webhook that is active, and has a new
// address or never had a ping answered, is pinged.
func (s *Shop) updateWebhook(id int64, body []byte) account.Reply {
	in, refusal := decodeWebhook(body)
	if refusal != nil {
		return *refusal
	}
	s.mu.Lock()
	h := s.hookByID(id)
	problem := ""
	switch {
	case h == nil:
		problem = "woocommerce_rest_shop_webhook_invalid_id"
	case in.Topic != "" && hooksOf[strings.ToLower(in.Topic)] == nil:
		problem = "woocommerce_rest_shop_webhook_invalid_topic"
	case in.DeliveryURL != "" && !outbox.IsTarget(in.DeliveryURL):
		problem = "woocommerce_rest_shop_webhook_invalid_delivery_url"
	case in.Status != "" && !slices.Contains(hookStatuses, strings.ToLower(in.Status)):
		problem = "woocommerce_rest_shop_webhook_invalid_status"
	}
	if problem != "" {
		s.mu.Unlock()
		return failure(http.StatusBadRequest, problem, "The webhook cannot be changed so.")
	}
	ping := h.change(in)
	document := s.webhook(h)
	s.mu.Unlock()
	if ping {
		s.ping(id)
	}
	out := reply(http.StatusOK, document)
	out.Write = true
	return out
}

// change needs the shop's lock.
func (h *hook) change(in webhookInput) (ping bool) {
	moved := in.DeliveryURL != "" && in.DeliveryURL != h.deliveryURL
	for _, field := range []struct {
		of    *string
		value string
	}{
		{&h.name, in.Name}, {&h.topic, strings.ToLower(in.Topic)}, {&h.deliveryURL, in.DeliveryURL}, {&h.secret, in.Secret},
		{&h.status, strings.ToLower(in.Status)},
	} {
		if field.value != "" {
			*field.of = field.value
		}
	}
	return h.status == statusActive && (moved || h.pending)
}

// deleteWebhook is DELETE /webhooks/{id}, which needs force=true, since webhooks have no trash.
func (s *Shop) deleteWebhook(id int64, query url.Values) account.Reply {
	if force := query.Get("force"); force != "true" && force != "1" {
		return failure(http.StatusNotImplemented, "woocommerce_rest_trash_not_supported", "Webhooks do not support trashing.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hookByID(id)
	if h == nil {
		return failure(http.StatusNotFound, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID.")
	}
	s.hooks = slices.DeleteFunc(s.hooks, func(other *hook) bool { return other == h })
	out := reply(http.StatusOK, s.webhook(h))
	out.Write = true
	return out
}

func reply(status int, value any) account.Reply {
	return account.Reply{Status: status, Header: http.Header{"Content-Type": {"application/json; charset=UTF-8"}}, Body: encode(value)}
}

// failure is an error of the REST API. A failure to trash is a refusal, although it has a status of the 500s.
func failure(status int, code, message string) account.Reply {
	out := reply(status, map[string]any{"code": code, "message": message, "data": map[string]any{"status": status}})
	if status < 500 || status == http.StatusNotImplemented {
		out.Outcome = arrivals.Refused
	}
	return out
}

// invalid is the refusal of a parameter.
func invalid(name, detail string) account.Reply {
	out := reply(http.StatusBadRequest, map[string]any{
		"code": "rest_invalid_param", "message": "Invalid parameter(s): " + name,
		"data": map[string]any{"status": http.StatusBadRequest, "params": map[string]string{name: detail}, "details": map[string]any{}},
	})
	out.Outcome = arrivals.Refused
	return out
}
