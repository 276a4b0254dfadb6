// Package woocommerce simulates one WooCommerce shop: it sells, sends signed webhooks as WooCommerce does, that is once,
// and serves the part of its REST API that concerns orders and webhooks. What is not said otherwise is as in the plug-in's
// source, about version 11 (class-wc-webhook.php, the REST controllers of version 3).
package woocommerce

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/outbox"
	"github.com/peppasync/peppasync/test/sim/retail"
)

// What a shop uses that declares nothing else.
const (
	DefaultConsumerKey    = "ck_0123456789abcdef0123456789abcdef01234567"
	DefaultConsumerSecret = "cs_0123456789abcdef0123456789abcdef01234567"
	DefaultWebhookSecret  = "woocommerce-webhook-secret"
	DefaultURL            = "https://woo.example/"
	// DefaultGMTOffset is not zero, so that whoever takes the shop's time for GMT is found out.
	DefaultGMTOffset = "+02:00"
)

// Config describes the shop.
type Config struct {
	// Config holds what a host allows: WooCommerce itself has no limit.
	account.Config
	// URL is the shop's own, as it stands in X-WC-Webhook-Source and in links.
	URL string `json:"url,omitempty"`
	// ConsumerKey and ConsumerSecret are the credentials of the REST API.
	ConsumerKey    string `json:"consumerKey,omitempty"`
	ConsumerSecret string `json:"consumerSecret,omitempty"`
	// Target is the URL of the webhooks that somebody made in the shop's own pages before the start: one for order.created
	// and one for order.updated, signed with WebhookSecret. Without one there are none until the API makes some.
	Target        string `json:"target,omitempty"`
	WebhookSecret string `json:"webhookSecret,omitempty"`
	// FirstOrderID is the id of the first order, 1001 by default. The number of an order is its id as text.
	FirstOrderID int64         `json:"firstOrderID,omitempty"`
	Items        []retail.Item `json:"items,omitempty"`
	Currency     string        `json:"currency,omitempty"`
	// GMTOffset is the shop's time, such as "+02:00".
	GMTOffset string `json:"gmtOffset,omitempty"`
	// CheckoutUpdates says that a checkout saves its order again when it is paid, as real ones do, so that order.updated
	// follows order.created at once with the same body.
	CheckoutUpdates bool `json:"checkoutUpdates,omitempty"`
	// Workers is how many webhooks of the queue are in delivery at once; 8 by default. A queue runner of a real shop sends
	// one after the other, and a large shop has several.
	Workers int `json:"workers,omitempty"`
	// MaxFailures is the number of consecutive failures that a webhook survives; 5 by default.
	MaxFailures int `json:"maxFailures,omitempty"`
	// Timeout bounds one delivery, 60s by default; PingTimeout a ping, 5s by default.
	Timeout     jsontime.Duration `json:"timeout,omitempty"`
	PingTimeout jsontime.Duration `json:"pingTimeout,omitempty"`
	// Mishaps of the webhooks from the start.
	Mishaps faults.Mishaps `json:"mishaps,omitzero"`
}

func (c *Config) setDefaults() {
	c.URL = cmp.Or(c.URL, DefaultURL)
	c.ConsumerKey = cmp.Or(c.ConsumerKey, DefaultConsumerKey)
	c.ConsumerSecret = cmp.Or(c.ConsumerSecret, DefaultConsumerSecret)
	c.WebhookSecret = cmp.Or(c.WebhookSecret, DefaultWebhookSecret)
	c.FirstOrderID = cmp.Or(c.FirstOrderID, 1001)
	c.Currency = cmp.Or(c.Currency, "EUR")
	c.GMTOffset = cmp.Or(c.GMTOffset, DefaultGMTOffset)
	c.Workers = cmp.Or(c.Workers, 8)
	c.MaxFailures = cmp.Or(c.MaxFailures, 5)
	c.Timeout = cmp.Or(c.Timeout, jsontime.Duration(time.Minute))
	c.PingTimeout = cmp.Or(c.PingTimeout, jsontime.Duration(5*time.Second))
}

// Shop is the simulated shop. It is the http.Handler of its REST API through its embedded Front.
type Shop struct {
	*account.Front
	cfg     Config
	zone    *time.Location
	catalog retail.Catalog
	outbox  *outbox.Outbox
	queued  *outbox.Gate

	mu       sync.Mutex
	orders   retail.Book[*record]
	next     int64
	nextMeta int64
	hooks    []*hook
	nextHook int64
	log      []Delivery
	tally    tally
}

type tally struct{ pings, pingFailures, disabled int }

// New returns a shop, or an error that names what is wrong in the configuration. Stop it with Close.
func New(cfg Config) (*Shop, error) {
	cfg.setDefaults()
	if cfg.Workers < 1 {
		return nil, fmt.Errorf("woocommerce: workers is %d; want at least 1", cfg.Workers)
	}
	at, err := time.Parse("-07:00", cfg.GMTOffset)
	if err != nil {
		return nil, fmt.Errorf("woocommerce: gmtOffset %q; want one such as \"+02:00\"", cfg.GMTOffset)
	}
	_, seconds := at.Zone()
	s := &Shop{
		cfg: cfg, zone: time.FixedZone(cfg.GMTOffset, seconds), orders: retail.NewBook[*record](),
		next: cfg.FirstOrderID, nextMeta: 1, nextHook: 1,
	}
	if s.catalog, err = retail.NewCatalog(cfg.Items, 90); err != nil {
		return nil, fmt.Errorf("woocommerce: %w", err)
	}
	if s.Front, err = account.New(s, cfg.Config); err != nil {
		return nil, fmt.Errorf("woocommerce: %w", err)
	}
	// WooCommerce makes a connection for each webhook: it speaks HTTP/1.0.
	s.outbox, err = outbox.New(outbox.Config{Workers: cfg.Workers, ConnectTimeout: cfg.Timeout.Std(), Mishaps: cfg.Mishaps})
	if err != nil {
		return nil, fmt.Errorf("woocommerce: %w", err)
	}
	s.queued = s.outbox.NewGate()
	if cfg.Target != "" {
		if err := s.SetTarget(cfg.Target); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// SetTarget directs the webhooks that were made in the shop's own pages to a URL; the first time it makes them. Those that
// the API made keep theirs.
func (s *Shop) SetTarget(target string) error {
	if !outbox.IsTarget(target) {
		return fmt.Errorf("woocommerce: webhook target %q is not an http or https URL", target)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for _, h := range s.hooks {
		if h.byHand {
			h.deliveryURL, h.status, h.failures, found = target, statusActive, 0, true
		}
	}
	if found {
		return nil
	}
	for _, topic := range []string{TopicCreated, TopicUpdated} {
		h := s.addHook(topic, "Orders", target, s.cfg.WebhookSecret)
		h.byHand, h.pending = true, false
	}
	return nil
}

// SetMishaps replaces what goes wrong with the webhooks that are made from now on.
func (s *Shop) SetMishaps(m faults.Mishaps) error { return s.outbox.SetMishaps(m) }

// Close stops deliveries and waits for those in progress to end.
func (s *Shop) Close() {
	s.outbox.Close()
	s.Front.Close()
}
