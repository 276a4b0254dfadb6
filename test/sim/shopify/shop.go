// Package shopify simulates one Shopify shop: it sells, which lowers available and raises committed, delivers signed
// webhooks with Shopify's timeouts and retries, and serves the part of the GraphQL Admin API that concerns inventory.
package shopify

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/outbox"
)

// What a shop uses that declares nothing else.
const (
	DefaultToken         = "shopify-token"
	DefaultWebhookSecret = "shopify-webhook-secret"
	DefaultDomain        = "demo.myshopify.com"
	DefaultAPIVersion    = "2026-10"
)

// Item is one product variant with its inventory item at the shop's location.
type Item struct {
	SKU string `json:"sku"`
	// Available is what the shop sells from the start; Committed what is sold and not shipped.
	Available int `json:"available"`
	Committed int `json:"committed,omitempty"`
	// ContinueSelling lets available go below zero (inventory policy CONTINUE); by default a sale of what is not there
	// is refused.
	ContinueSelling bool `json:"continueSelling,omitempty"`
	// Price of one unit as a decimal text; "25.00" by default.
	Price string `json:"price,omitempty"`
}

// Bucket is the leaky bucket of GraphQL costs.
type Bucket struct {
	MaximumAvailable float64 `json:"maximumAvailable"`
	RestoreRate      float64 `json:"restoreRate"`
}

// Config describes the shop.
type Config struct {
	account.Config
	Domain     string `json:"domain,omitempty"`
	APIVersion string `json:"apiVersion,omitempty"`
	// Token is the access token of the Admin API; WebhookSecret is the key of the webhook signatures.
	Token         string `json:"token,omitempty"`
	WebhookSecret string `json:"webhookSecret,omitempty"`
	// Target is the URL to which webhooks of all topics go, by a subscription that the API does not show, as those are that
	// were made in the shop's own pages. SetTarget can give it later. Subscriptions that the API makes get theirs beside it.
	Target string `json:"target,omitempty"`
	// FirstOrderNumber is the number of the first order, 1001 by default: its name is "#1001".
	FirstOrderNumber int64 `json:"firstOrderNumber,omitempty"`
	// OrderIDBase plus an order's number is its id.
	OrderIDBase int64 `json:"orderIDBase,omitempty"`
	// LocationID is the shop's only location.
	LocationID int64  `json:"locationID,omitempty"`
	Items      []Item `json:"items,omitempty"`
	Currency   string `json:"currency,omitempty"`
	// Bucket of GraphQL costs; 2000 points, restored at 100 a second, by default.
	Bucket Bucket `json:"bucket,omitzero"`
	// Connections is how many webhooks are in delivery at once when a burst does not say; 64 by default.
	Connections int `json:"connections,omitempty"`
	// Retries are the waits before each repetition of a failed delivery. When the last has failed too, its subscription is
	// deleted: that of the API, or Target, to which nothing more is delivered then.
	Retries []jsontime.Duration `json:"retries,omitempty"`
	// SearchDelay is how long a change takes to be found by a search of orders, which an index answers; 0 by default. Shopify
	// publishes none.
	SearchDelay jsontime.Duration `json:"searchDelay,omitempty"`
	// Mishaps of the webhooks from the start.
	Mishaps faults.Mishaps `json:"mishaps,omitzero"`
	// ConnectTimeout and Timeout bound one attempt; 1s and 5s by default.
	ConnectTimeout jsontime.Duration `json:"connectTimeout,omitempty"`
	Timeout        jsontime.Duration `json:"timeout,omitempty"`
}

// DefaultRetries are eight waits that add up to about four hours. Shopify publishes the number and the sum, not the waits.
func DefaultRetries() []jsontime.Duration {
	return []jsontime.Duration{
		seconds(10), seconds(30), seconds(120), seconds(300), seconds(900), seconds(1800), seconds(3600), seconds(7200),
	}
}

func seconds(n int) jsontime.Duration { return jsontime.Duration(time.Duration(n) * time.Second) }

func (c *Config) setDefaults() {
	c.Domain = cmp.Or(c.Domain, DefaultDomain)
	c.APIVersion = cmp.Or(c.APIVersion, DefaultAPIVersion)
	c.Token = cmp.Or(c.Token, DefaultToken)
	c.WebhookSecret = cmp.Or(c.WebhookSecret, DefaultWebhookSecret)
	c.FirstOrderNumber = cmp.Or(c.FirstOrderNumber, 1001)
	c.OrderIDBase = cmp.Or(c.OrderIDBase, 5_000_000_000_000)
	c.LocationID = cmp.Or(c.LocationID, 1)
	c.Currency = cmp.Or(c.Currency, "USD")
	c.Bucket = cmp.Or(c.Bucket, Bucket{MaximumAvailable: 2000, RestoreRate: 100})
	c.Connections = cmp.Or(c.Connections, 64)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, seconds(1))
	c.Timeout = cmp.Or(c.Timeout, seconds(5))
	if c.Retries == nil {
		c.Retries = DefaultRetries()
	}
}

// Shop is the simulated shop. It is the http.Handler of its Admin API through its embedded Front.
type Shop struct {
	*account.Front
	cfg      Config
	delivery *deliverer
	admin    *admin

	mu     sync.Mutex
	items  []*item
	bySKU  map[string]*item
	byID   map[int64]*item
	orders []*Order
	byName map[string]*Order
	next   int64
	tally  tally
}

type tally struct {
	refusedSales   int
	oversold       int
	sets           int
	staleSets      int
	repeatedSets   int
	graphThrottled int
	polls, reads   int
	changes        []Change
}

// New returns a shop, or an error that names what is wrong in the configuration. Stop it with Close.
func New(cfg Config) (*Shop, error) {
	cfg.setDefaults()
	if cfg.Connections < 1 {
		return nil, fmt.Errorf("shopify: connections is %d; want at least 1", cfg.Connections)
	}
	s := &Shop{
		cfg: cfg, next: cfg.FirstOrderNumber, bySKU: make(map[string]*item), byID: make(map[int64]*item),
		byName: make(map[string]*Order),
	}
	for i, it := range cfg.Items {
		if err := s.addItem(int64(i), it); err != nil {
			return nil, fmt.Errorf("shopify: items[%d]: %w", i, err)
		}
	}
	var err error
	if s.admin, err = newAdmin(s); err != nil {
		return nil, fmt.Errorf("shopify: %w", err)
	}
	if s.Front, err = account.New(s, cfg.Config); err != nil {
		return nil, fmt.Errorf("shopify: %w", err)
	}
	if s.delivery, err = newDeliverer(cfg); err != nil {
		return nil, fmt.Errorf("shopify: %w", err)
	}
	if cfg.Target != "" {
		if err := s.SetTarget(cfg.Target); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// SetTarget directs later webhooks to a URL. Retries of earlier ones stay with the old URL, as with Shopify.
func (s *Shop) SetTarget(target string) error {
	if !outbox.IsTarget(target) {
		return fmt.Errorf("shopify: webhook target %q is not an http or https URL", target)
	}
	s.delivery.setTarget(target)
	return nil
}

// SetMishaps replaces what goes wrong with the webhooks that are made from now on.
func (s *Shop) SetMishaps(m faults.Mishaps) error {
	return s.delivery.outbox.SetMishaps(m)
}

// Close stops deliveries and waits for those in progress to end.
func (s *Shop) Close() {
	s.delivery.outbox.Close()
	s.Front.Close()
}
