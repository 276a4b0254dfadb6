// Package netsuite simulates one NetSuite account as its SuiteTalk REST interface shows it: sales orders by external id,
// stock by SuiteQL, governance, maintenance and errors in NetSuite's own form. Accepting a new order lowers
// quantityAvailable and not quantityOnHand; that is the figure an order engine must not count twice.
package netsuite

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
)

// Item is one record of the item master with its stock at one location.
type Item struct {
	// ID is the internal id; by default 1, 2, 3... in the order of the list.
	ID string `json:"id,omitempty"`
	// SKU is the item's itemid.
	SKU string `json:"sku"`
	// Location is the internal id of the location; by default that of the Config.
	Location string `json:"location,omitempty"`
	// OnHand is quantityOnHand. Available is quantityAvailable; as OnHand when not given.
	OnHand    int  `json:"onHand"`
	Available *int `json:"available,omitempty"`
}

// Config describes the account.
type Config struct {
	account.Config
	// Token is the bearer token that calls must carry.
	Token string `json:"token,omitempty"`
	// Location is where orders without a location take their stock; "1" by default.
	Location string `json:"location,omitempty"`
	Items    []Item `json:"items,omitempty"`
	// MaintenanceHTML answers maintenance with a web page instead of JSON.
	MaintenanceHTML bool `json:"maintenanceHTML,omitempty"`
	// AllowDuplicateExternalID lets POST make a second order with an external id that exists. A real account refuses
	// it; one with a user event script or a renamed key may not.
	AllowDuplicateExternalID bool `json:"allowDuplicateExternalID,omitempty"`
}

// DefaultToken is the token of an account that declares none.
const DefaultToken = "netsuite-token"

// Account is the simulated account. It is an http.Handler through its embedded Front.
type Account struct {
	*account.Front
	cfg Config

	mu     sync.Mutex
	items  []*item
	bySKU  map[string]*item
	byID   map[string]*item
	stock  map[place]*level
	moves  []Movement
	orders []*order
	byKey  map[string]*order
	// refNums are the otherRefNum values in use, the second way to see that one sale became two orders.
	refNums map[string]bool
	lastID  int
	tally   tally
}

type item struct{ id, sku string }

// place is one item at one location.
type place struct{ item, location string }

type level struct{ onHand, available, lowest int }

type tally struct {
	first, last     time.Time
	accepted        []time.Time
	updates         int
	duplicateOrders int
	duplicateLines  int
	undone          int
	refused         []Refusal
	receipts        []Receipt
	// oversold is the number of units that are promised and not there.
	oversold, largestOversold int
	identicalRewrite          int
}

// New returns an account, or an error that names what is wrong in the configuration.
func New(cfg Config) (*Account, error) {
	if cfg.Token == "" {
		cfg.Token = DefaultToken
	}
	if cfg.Location == "" {
		cfg.Location = "1"
	}
	a := &Account{
		cfg: cfg, bySKU: make(map[string]*item), byID: make(map[string]*item),
		stock: make(map[place]*level), byKey: make(map[string]*order), refNums: make(map[string]bool), lastID: 1000,
	}
	for i, it := range cfg.Items {
		if err := a.addItem(i, it); err != nil {
			return nil, fmt.Errorf("netsuite: items[%d]: %w", i, err)
		}
	}
	front, err := account.New(a, cfg.Config)
	if err != nil {
		return nil, fmt.Errorf("netsuite: %w", err)
	}
	a.Front = front
	return a, nil
}

// AddItem adds to the item master while the account is in use: what was refused for its item is not any more.
func (a *Account) AddItem(it Item) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.addItem(len(a.items), it)
}

func (a *Account) addItem(i int, it Item) error {
	if it.SKU == "" {
		return errors.New("sku is missing")
	}
	known := a.bySKU[it.SKU]
	if known == nil {
		id := it.ID
		if id == "" {
			id = strconv.Itoa(i + 1)
		}
		if a.byID[id] != nil {
			return fmt.Errorf("internal id %q is taken by %q", id, a.byID[id].sku)
		}
		known = &item{id: id, sku: it.SKU}
		a.items = append(a.items, known)
		a.bySKU[it.SKU], a.byID[id] = known, known
	} else if it.ID != "" && it.ID != known.id {
		return fmt.Errorf("sku %q has internal id %q already", it.SKU, known.id)
	}
	at := place{known.id, it.Location}
	if at.location == "" {
		at.location = a.cfg.Location
	}
	if a.stock[at] != nil {
		return fmt.Errorf("sku %q is listed twice at location %q", it.SKU, at.location)
	}
	available := it.OnHand
	if it.Available != nil {
		available = *it.Available
	}
	a.stock[at] = &level{onHand: it.OnHand, available: available, lowest: available}
	a.move(at, 0, 0, "start")
	return nil
}

// Movement is one change of stock.
type Movement struct {
	At       time.Time `json:"at"`
	SKU      string    `json:"sku"`
	Location string    `json:"location"`
	// Cause is "start", "receipt" or the order that moved the stock.
	Cause string `json:"cause"`
	// OnHand and Available are the figures after the change.
	OnHand    int `json:"onHand"`
	Available int `json:"available"`
}

// move changes stock; it needs the lock.
func (a *Account) move(at place, onHand, available int, cause string) {
	l := a.stock[at]
	if l == nil {
		l = &level{}
		a.stock[at] = l
	}
	a.tally.oversold -= max(0, -l.available)
	l.onHand += onHand
	l.available += available
	l.lowest = min(l.lowest, l.available)
	a.tally.oversold += max(0, -l.available)
	a.tally.largestOversold = max(a.tally.largestOversold, a.tally.oversold)
	a.moves = append(a.moves, Movement{
		At: time.Now(), SKU: a.byID[at.item].sku, Location: at.location, Cause: cause, OnHand: l.onHand, Available: l.available,
	})
}

// Receipt is goods that came in.
type Receipt struct {
	At       time.Time `json:"at"`
	SKU      string    `json:"sku"`
	Location string    `json:"location"`
	Quantity int       `json:"quantity"`
}

// BookReceipt raises on hand and available of a SKU at the account's default location.
func (a *Account) BookReceipt(sku string, quantity int) (Receipt, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	it := a.bySKU[sku]
	if it == nil {
		return Receipt{}, fmt.Errorf("receipt: no item has the sku %q", sku)
	}
	if quantity <= 0 {
		return Receipt{}, fmt.Errorf("receipt of %q: quantity is %d; want a number above zero", sku, quantity)
	}
	at := place{it.id, a.cfg.Location}
	r := Receipt{At: time.Now(), SKU: sku, Location: at.location, Quantity: quantity}
	a.move(at, quantity, quantity, "receipt")
	a.tally.receipts = append(a.tally.receipts, r)
	return r, nil
}

// Movements returns every change of stock so far, in order.
func (a *Account) Movements() []Movement {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Movement(nil), a.moves...)
}

func key(externalID string) string { return strings.ToLower(externalID) }
