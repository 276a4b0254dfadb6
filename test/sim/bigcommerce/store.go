// Package bigcommerce simulates one BigCommerce store: it sells, tells of each order by thin webhooks that it repeats over
// two days, and serves the part of its REST API that concerns orders and webhooks, with its quota. It follows the vendor's
// documentation; where that is silent, a comment says so.
package bigcommerce

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

// What a store uses that declares nothing else.
const (
	DefaultHash         = "sftg45fsd"
	DefaultStoreID      = "1025646"
	DefaultToken        = "bigcommerce-token"
	DefaultClientID     = "m9r6keqmo7h7f23btnpwernbez1kglkl"
	DefaultClientSecret = "bigcommerce-client-secret"
)

// Quota is how many calls each window of a fixed length may hold. The documentation names the headers that tell of it, and
// not where windows begin; here the first begins with the store.
type Quota struct {
	Requests int               `json:"requests"`
	Window   jsontime.Duration `json:"window"`
}

// Blocklist is when a domain gets no webhooks: its share of successes in Window is below Ratio, out of at least Minimum.
// While it is blocked, for For, webhooks go to the queue of retries unsent. A negative Minimum never blocks.
type Blocklist struct {
	Window  jsontime.Duration `json:"window,omitempty"`
	Minimum int               `json:"minimum,omitempty"`
	Ratio   float64           `json:"ratio,omitempty"`
	For     jsontime.Duration `json:"for,omitempty"`
}

// Config describes the store.
type Config struct {
	account.Config
	// Hash and StoreID name the store: in URLs and in webhooks.
	Hash    string `json:"hash,omitempty"`
	StoreID string `json:"storeID,omitempty"`
	// Token is the access token of the API; ClientID and ClientSecret are those of the account that it belongs to. Webhooks
	// are signed with the secret as Standard Webhooks are.
	Token        string `json:"token,omitempty"`
	ClientID     string `json:"clientID,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"`
	// Target is the URL of webhooks that the account made before the start: one each for created, updated and statusUpdated,
	// with the headers TargetHeaders. Without one there are none until the API makes some. Ports other than 443 and http,
	// which the real one refuses, are taken.
	Target        string            `json:"target,omitempty"`
	TargetHeaders map[string]string `json:"targetHeaders,omitempty"`
	// FirstOrderID is the id of the first order, 100 by default.
	FirstOrderID int64         `json:"firstOrderID,omitempty"`
	Items        []retail.Item `json:"items,omitempty"`
	Currency     string        `json:"currency,omitempty"`
	// Quota of the API; 150 calls in 30s by default, as the plans Standard and Plus have.
	Quota Quota `json:"quota,omitzero"`
	// CheckoutUpdates says that a checkout makes an order that is incomplete and has its payment change the status, as at
	// real stores, so that statusUpdated and updated follow created at once.
	CheckoutUpdates bool `json:"checkoutUpdates,omitempty"`
	// Activation is how long a new webhook does not work yet. The documentation says up to a minute; 0 by default.
	Activation jsontime.Duration `json:"activation,omitempty"`
	// CoverHeaders has the API show asterisks in place of the values of a webhook's headers. The documentation shows the values.
	CoverHeaders bool `json:"coverHeaders,omitempty"`
	// Workers is how many webhooks are in delivery at once; 32 by default.
	Workers int `json:"workers,omitempty"`
	// Retries are the waits before each repetition of a failed delivery. When the last has failed too, the webhook is
	// deactivated.
	Retries   []jsontime.Duration `json:"retries,omitempty"`
	Blocklist Blocklist           `json:"blocklist,omitzero"`
	// Timeout bounds one delivery; 10s by default. The documentation says only that a remote server may time out.
	Timeout jsontime.Duration `json:"timeout,omitempty"`
	// Mishaps of the webhooks from the start.
	Mishaps faults.Mishaps `json:"mishaps,omitzero"`
}

// DefaultRetries are the eleven waits of the documentation, which add up to 48 hours.
func DefaultRetries() []jsontime.Duration {
	waits := make([]jsontime.Duration, 0, 11)
	for _, n := range []int{60, 180, 300, 600, 900, 1800, 3600, 7200, 21600, 50400, 86400} {
		waits = append(waits, seconds(n))
	}
	return waits
}

func seconds(n int) jsontime.Duration { return jsontime.Duration(time.Duration(n) * time.Second) }

func (c *Config) setDefaults() {
	c.Hash = cmp.Or(c.Hash, DefaultHash)
	c.StoreID = cmp.Or(c.StoreID, DefaultStoreID)
	c.Token = cmp.Or(c.Token, DefaultToken)
	c.ClientID = cmp.Or(c.ClientID, DefaultClientID)
	c.ClientSecret = cmp.Or(c.ClientSecret, DefaultClientSecret)
	c.FirstOrderID = cmp.Or(c.FirstOrderID, 100)
	c.Currency = cmp.Or(c.Currency, "USD")
	c.Quota = cmp.Or(c.Quota, Quota{Requests: 150, Window: seconds(30)})
	c.Workers = cmp.Or(c.Workers, 32)
	c.Blocklist.Window = cmp.Or(c.Blocklist.Window, seconds(120))
	c.Blocklist.Minimum = cmp.Or(c.Blocklist.Minimum, 100)
	c.Blocklist.Ratio = cmp.Or(c.Blocklist.Ratio, 0.9)
	c.Blocklist.For = cmp.Or(c.Blocklist.For, seconds(180))
	c.Timeout = cmp.Or(c.Timeout, seconds(10))
	if c.Retries == nil {
		c.Retries = DefaultRetries()
	}
}

// Store is the simulated store. It is the http.Handler of its REST API through its embedded Front.
type Store struct {
	*account.Front
	cfg     Config
	started time.Time
	catalog retail.Catalog
	outbox  *outbox.Outbox
	// open counts webhooks that are neither acknowledged nor given up, untried those that were not even tried.
	open, untried *outbox.Gate

	mu       sync.Mutex
	orders   retail.Book[*record]
	next     int64
	nextLine int64
	hooks    []*hook
	nextHook int64
	events   int64
	log      []*event
	domains  map[string]*domain
	window   int64 // number of the quota's window that used is about
	used     int
	tally    tally
}

type tally struct{ throttled, deactivated, blocked int }

// New returns a store, or an error that names what is wrong in the configuration. Stop it with Close.
func New(cfg Config) (*Store, error) {
	cfg.setDefaults()
	switch {
	case cfg.Workers < 1:
		return nil, fmt.Errorf("bigcommerce: workers is %d; want at least 1", cfg.Workers)
	case cfg.Quota.Requests < 1 || cfg.Quota.Window <= 0:
		return nil, fmt.Errorf("bigcommerce: quota of %d requests in %v; want at least 1 in some time", cfg.Quota.Requests, cfg.Quota.Window.Std())
	}
	s := &Store{
		cfg: cfg, started: time.Now(), orders: retail.NewBook[*record](), next: cfg.FirstOrderID, nextLine: 1,
		nextHook: 18_048_287, domains: make(map[string]*domain),
	}
	var err error
	if s.catalog, err = retail.NewCatalog(cfg.Items, 77); err != nil {
		return nil, fmt.Errorf("bigcommerce: %w", err)
	}
	if s.Front, err = account.New(s, cfg.Config); err != nil {
		return nil, fmt.Errorf("bigcommerce: %w", err)
	}
	s.outbox, err = outbox.New(outbox.Config{
		Workers: cfg.Workers, ConnectTimeout: cfg.Timeout.Std(), KeepAlive: true, Mishaps: cfg.Mishaps,
	})
	if err != nil {
		return nil, fmt.Errorf("bigcommerce: %w", err)
	}
	s.open, s.untried = s.outbox.NewGate(), s.outbox.NewGate()
	if cfg.Target != "" {
		if err := s.SetTarget(cfg.Target); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// SetTarget directs the webhooks that were made before the start to a URL; the first time it makes them. Those that the API
// made keep theirs.
func (s *Store) SetTarget(target string) error {
	if !outbox.IsTarget(target) {
		return fmt.Errorf("bigcommerce: webhook target %q is not an http or https URL", target)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for _, h := range s.hooks {
		if h.before {
			h.Destination, h.IsActive, found = target, true, true
		}
	}
	if found {
		return nil
	}
	for _, scope := range []string{ScopeCreated, ScopeUpdated, ScopeStatusUpdated} {
		h := s.addHook(Hook{Scope: scope, Destination: target, IsActive: true, Headers: s.cfg.TargetHeaders}, time.Now())
		h.before, h.works = true, time.Time{}
	}
	return nil
}

// SetMishaps replaces what goes wrong with the webhooks that are made from now on.
func (s *Store) SetMishaps(m faults.Mishaps) error { return s.outbox.SetMishaps(m) }

// Close stops deliveries and waits for those in progress to end.
func (s *Store) Close() {
	s.outbox.Close()
	s.Front.Close()
}
