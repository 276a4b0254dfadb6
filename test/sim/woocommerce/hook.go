package woocommerce

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The topics of order webhooks that the shop triggers.
const (
	TopicCreated = "order.created"
	TopicUpdated = "order.updated"
	TopicDeleted = "order.deleted"
)

// hooksOf are the plug-in's own names of what sets off a topic.
var hooksOf = map[string][]string{
	TopicCreated:     {"woocommerce_new_order"},
	TopicUpdated:     {"woocommerce_update_order", "woocommerce_order_refunded"},
	TopicDeleted:     {"wp_trash_post", "woocommerce_trash_order"},
	"order.restored": {"untrashed_post", "woocommerce_untrash_order"},
}

// The statuses of webhooks.
const (
	statusActive   = "active"
	statusPaused   = "paused"
	statusDisabled = "disabled"
)

var hookStatuses = []string{statusActive, statusPaused, statusDisabled}

// hook is one webhook; the shop's lock guards it.
type hook struct {
	id                         int64
	name, status, topic        string
	deliveryURL, secret        string
	created, modified          time.Time
	failures                   int  // consecutive ones
	pending                    bool // no ping was answered with 200 yet
	byHand                     bool // made in the shop's own pages
	attempts, delivered, fails int
}

// Webhook is a webhook in the REST shape. The secret is never told.
type Webhook struct {
	ID              int64            `json:"id"`
	Name            string           `json:"name"`
	Status          string           `json:"status"`
	Topic           string           `json:"topic"`
	Resource        string           `json:"resource"`
	Event           string           `json:"event"`
	Hooks           []string         `json:"hooks"`
	DeliveryURL     string           `json:"delivery_url"`
	DateCreated     *string          `json:"date_created"`
	DateCreatedGMT  *string          `json:"date_created_gmt"`
	DateModified    *string          `json:"date_modified"`
	DateModifiedGMT *string          `json:"date_modified_gmt"`
	Links           map[string][]any `json:"_links"`
}

func (s *Shop) webhook(h *hook) Webhook {
	resource, event, _ := strings.Cut(h.topic, ".")
	w := Webhook{
		ID: h.id, Name: h.name, Status: h.status, Topic: h.topic, Resource: resource, Event: event, Hooks: hooksOf[h.topic],
		DeliveryURL: h.deliveryURL, Links: s.links("webhooks", h.id),
	}
	w.DateCreated, w.DateCreatedGMT = s.dates(h.created)
	w.DateModified, w.DateModifiedGMT = s.dates(h.modified)
	return w
}

// addHook makes an active webhook; it needs the lock.
func (s *Shop) addHook(topic, name, target, secret string) *hook {
	now := time.Now()
	h := &hook{
		id: s.nextHook, name: name, status: statusActive, topic: topic, deliveryURL: target, secret: secret,
		created: now, modified: now, pending: true,
	}
	s.nextHook++
	s.hooks = append(s.hooks, h)
	return h
}

// hookByID needs the lock.
func (s *Shop) hookByID(id int64) *hook {
	i := slices.IndexFunc(s.hooks, func(h *hook) bool { return h.id == id })
	if i < 0 {
		return nil
	}
	return s.hooks[i]
}

// ping tells a new address that it is about to get webhooks: a form, neither signed nor with a topic. Only 200 is taken for
// an answer. A webhook without one is pinged again whenever it is saved, and works all the same.
func (s *Shop) ping(id int64) {
	s.mu.Lock()
	h := s.hookByID(id)
	if h == nil {
		s.mu.Unlock()
		return
	}
	target := h.deliveryURL
	s.mu.Unlock()
	header := http.Header{"User-Agent": {userAgent}, "Content-Type": {"application/x-www-form-urlencoded"}}
	status, _, err := s.outbox.Post(target, header, fmt.Appendf(nil, "webhook_id=%d", id), s.cfg.PingTimeout.Std())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.pings++
	if err != nil || status != http.StatusOK {
		s.tally.pingFailures++
		return
	}
	h.pending = false
}

const userAgent = "WooCommerce/11.2.0 Hookshot (WordPress/7.0)"

// encode writes JSON as PHP does, with escaped slashes: whoever signs or compares anything but the raw bytes is found out.
func encode(value any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(fmt.Sprintf("simulator: %T cannot be JSON: %v", value, err)) // a defect of the simulator
	}
	return bytes.ReplaceAll(bytes.TrimSpace(out.Bytes()), []byte("/"), []byte(`\/`))
}

// secretText is text that looks like chance and depends on its arguments only.
func secretText(of string, length int) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:])[:length]
}
