// Package wms simulates a warehouse management system behind a plain JSON interface: idempotent upserts of orders by
// external id, creations that are not, look-ups by external id, and a list of build-to-order configurations that it
// knows. A line with any other is refused.
package wms

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/arrivals"
)

// DefaultToken is the token of a system that declares none.
const DefaultToken = "wms-token"

// Config describes the system.
type Config struct {
	account.Config
	// Token is the bearer token that calls must carry.
	Token string `json:"token,omitempty"`
	// Configurations are the build-to-order configurations that are known from the start.
	Configurations []string `json:"configurations,omitempty"`
	// SKUs are the articles that are known; empty means all are.
	SKUs []string `json:"skus,omitempty"`
}

// Line is one line of an order. Configuration is set for build-to-order goods.
type Line struct {
	SKU           string `json:"sku"`
	Quantity      int    `json:"quantity"`
	Configuration string `json:"configuration,omitempty"`
}

// Order is the body of PUT /orders/{externalId}.
type Order struct {
	ExternalID string          `json:"externalId"`
	Reference  string          `json:"reference"`
	Lines      []Line          `json:"lines"`
	ShipTo     json.RawMessage `json:"shipTo,omitempty"`
}

// Refusal is an order that was refused, newest cause, with the number of times it was.
type Refusal struct {
	ExternalID string    `json:"externalId"`
	Reference  string    `json:"reference,omitempty"`
	Cause      string    `json:"cause"`
	Times      int       `json:"times"`
	At         time.Time `json:"at"`
}

// System is the simulated warehouse system. It is an http.Handler through its embedded Front.
type System struct {
	*account.Front
	cfg Config

	mu             sync.Mutex
	configurations map[string]bool
	orders         map[string]*record
	refusals       map[string]*Refusal
	writes         int
	rewrites       int
	doubled        int
	undone         int
	first, last    time.Time
}

type record struct {
	id       int
	order    Order
	raw      []byte
	revision int
	// arrived is when the newest write that counts arrived.
	arrived time.Time
}

// New returns a system, or an error that names what is wrong in the configuration.
func New(cfg Config) (*System, error) {
	if cfg.Token == "" {
		cfg.Token = DefaultToken
	}
	s := &System{
		cfg: cfg, configurations: make(map[string]bool), orders: make(map[string]*record), refusals: make(map[string]*Refusal),
	}
	for _, c := range cfg.Configurations {
		s.AddConfiguration(c)
	}
	front, err := account.New(s, cfg.Config)
	if err != nil {
		return nil, fmt.Errorf("wms: %w", err)
	}
	s.Front = front
	return s, nil
}

// AddConfiguration makes a build-to-order configuration known from now on.
func (s *System) AddConfiguration(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configurations[name] = true
}

// The operations that arrivals, reports and fault rules name.
const (
	OpUpsert = "order.upsert"
	OpCreate = "order.create"
	OpRead   = "order.read"
	OpSearch = "order.search"
	OpHealth = "health"
	OpOther  = "other"
)

// Classify names the operation and the external id.
func (s *System) Classify(r *http.Request, body []byte) (operation, externalID string) {
	escaped, isOrder := strings.CutPrefix(r.URL.EscapedPath(), "/orders/")
	id, err := url.PathUnescape(escaped)
	switch {
	case isOrder && err == nil && r.Method == http.MethodPut:
		return OpUpsert, id
	case isOrder && err == nil && r.Method == http.MethodGet:
		return OpRead, id
	case r.URL.Path == "/orders" && r.Method == http.MethodPost:
		var o Order
		if json.Unmarshal(body, &o) != nil {
			return OpCreate, ""
		}
		return OpCreate, o.ExternalID
	case r.URL.Path == "/orders" && r.Method == http.MethodGet:
		return OpSearch, r.URL.Query().Get("externalId")
	case r.URL.Path == "/health" && r.Method == http.MethodGet:
		return OpHealth, ""
	}
	return OpOther, ""
}

// Serve carries out one call. The health page needs no credentials.
func (s *System) Serve(c account.Call, r *http.Request, body []byte) account.Reply {
	if c.Operation == OpHealth {
		return account.JSON(http.StatusOK, "application/json", map[string]string{"status": "ok"})
	}
	if r.Header.Get("Authorization") != "Bearer "+s.cfg.Token {
		return problem(http.StatusUnauthorized, "unauthorized", "Unauthorized", "the bearer token is missing or wrong")
	}
	switch c.Operation {
	case OpUpsert:
		return s.write(c, body, s.accept)
	case OpCreate:
		return s.write(c, body, s.create)
	case OpRead:
		return s.read(c.Key)
	case OpSearch:
		return s.search(c.Key)
	}
	return problem(http.StatusNotFound, "not-found", "Not found", "there is nothing at "+r.Method+" "+r.URL.Path)
}

func (s *System) read(externalID string) account.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.orders[externalID]
	if known == nil {
		return problem(http.StatusNotFound, "unknown-order", "Unknown order", fmt.Sprintf("order %q is not known", externalID))
	}
	return account.JSON(http.StatusOK, "application/json", known.document())
}

// document is an order as it is read; id is the system's own name for it.
func (r *record) document() map[string]any {
	return map[string]any{
		"id": strconv.Itoa(r.id), "externalId": r.order.ExternalID, "reference": r.order.Reference, "lines": r.order.Lines,
		"shipTo": r.order.ShipTo, "revision": r.revision,
	}
}

// search is GET /orders?externalId=..., which answers an unknown order with an empty list.
func (s *System) search(externalID string) account.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []map[string]any{}
	if known := s.orders[externalID]; known != nil {
		found = append(found, known.document())
	}
	return account.JSON(http.StatusOK, "application/json", map[string]any{"orders": found, "total": len(found)})
}

// write checks an order and hands it to accept or create, which take effect.
func (s *System) write(c account.Call, body []byte, take func(account.Call, Order, []byte) account.Reply) account.Reply {
	o, err := decode(c.Key, body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.refuse(c, o, err.Error())
		return problem(http.StatusBadRequest, "invalid-order", "Invalid order", err.Error())
	}
	for i, line := range o.Lines {
		if line.Configuration != "" && !s.configurations[line.Configuration] {
			detail := fmt.Sprintf("line %d: configuration '%s' is not known", i+1, line.Configuration)
			s.refuse(c, o, detail)
			return problem(http.StatusUnprocessableEntity, "unknown-configuration", "Unknown build-to-order configuration", detail)
		}
		if len(s.cfg.SKUs) > 0 && !slices.Contains(s.cfg.SKUs, line.SKU) {
			detail := fmt.Sprintf("line %d: sku '%s' is not known", i+1, line.SKU)
			s.refuse(c, o, detail)
			return problem(http.StatusUnprocessableEntity, "unknown-sku", "Unknown SKU", detail)
		}
	}
	return take(c, o, body)
}

// create is POST /orders: a second one for an external id is a second order, as in systems without a key. The lock is
// needed.
func (s *System) create(c account.Call, o Order, body []byte) account.Reply {
	if s.orders[c.Key] != nil {
		s.doubled++
	}
	reply := s.accept(c, o, body)
	reply.Status = http.StatusCreated
	return reply
}

// accept needs the lock.
func (s *System) accept(c account.Call, o Order, body []byte) account.Reply {
	status := http.StatusOK
	known := s.orders[c.Key]
	switch {
	case known == nil:
		status = http.StatusCreated
		known = &record{id: len(s.orders) + 1}
		s.orders[c.Key] = known
	case bytes.Equal(known.raw, body):
		s.rewrites++
	case c.Arrived.Before(known.arrived):
		s.undone++
	}
	known.order, known.raw = o, bytes.Clone(body)
	if c.Arrived.After(known.arrived) {
		known.arrived = c.Arrived
	}
	known.revision++
	s.writes++
	if s.first.IsZero() {
		s.first = c.Arrived
	}
	if c.Arrived.After(s.last) {
		s.last = c.Arrived
	}
	reply := account.JSON(status, "application/json", map[string]any{
		"id": strconv.Itoa(known.id), "externalId": c.Key, "revision": known.revision, "status": "accepted",
	})
	reply.Write = true
	return reply
}

// decode reads an order. Fields that the system does not know are ignored, as a generic interface does.
func decode(externalID string, body []byte) (Order, error) {
	var o Order
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&o); err != nil {
		return o, fmt.Errorf("the body is not an order: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return o, errors.New("there is more after the order")
	}
	if o.ExternalID == "" {
		o.ExternalID = externalID
	}
	switch {
	case externalID == "":
		return o, errors.New("the external id in the path is empty")
	case o.ExternalID != externalID:
		return o, fmt.Errorf("externalId %q differs from %q in the path", o.ExternalID, externalID)
	case len(o.Lines) == 0:
		return o, errors.New("an order needs at least one line")
	}
	for i, line := range o.Lines {
		if line.SKU == "" || line.Quantity <= 0 {
			return o, fmt.Errorf("line %d: a sku and a quantity above zero are needed", i+1)
		}
	}
	return o, nil
}

// refuse needs the lock.
func (s *System) refuse(c account.Call, o Order, cause string) {
	r := s.refusals[c.Key]
	if r == nil {
		r = &Refusal{ExternalID: c.Key}
		s.refusals[c.Key] = r
	}
	r.Reference, r.Cause, r.At = o.Reference, cause, c.Arrived
	r.Times++
}

// Refuse returns the system's form of a refusal.
func (s *System) Refuse(reason account.Reason) account.Reply {
	switch reason {
	case account.InMaintenance, account.InjectedUnavailable:
		return problem(http.StatusServiceUnavailable, "unavailable", "Service unavailable", "the system is down for maintenance")
	case account.InjectedServerError:
		return problem(http.StatusInternalServerError, "internal", "Internal server error", "something went wrong")
	case account.InjectedThrottleInBody: // as GraphQL APIs say it
		reply := account.JSON(http.StatusOK, "application/json", map[string]any{"errors": []any{map[string]any{
			"message": "the request limit of the account is exceeded", "extensions": map[string]string{"code": "THROTTLED"},
		}}})
		reply.Outcome = arrivals.Throttled
		return reply
	default:
		return problem(http.StatusTooManyRequests, "too-many-requests", "Too many requests", "the request limit of the account is exceeded")
	}
}

// problem is an RFC 9457 problem document.
func problem(status int, kind, title, detail string) account.Reply {
	return account.JSON(status, "application/problem+json", map[string]any{
		"type": "https://wms.example/problems/" + kind, "title": title, "status": status, "detail": detail,
	})
}

// Report is what the system holds and what it saw.
type Report struct {
	account.Report
	// Accepted is the number of orders; Updates counts accepted writes beyond the first of each.
	Accepted int `json:"accepted"`
	Updates  int `json:"updates"`
	// IdenticalRewrites counts updates that repeated the last payload byte for byte.
	IdenticalRewrites int `json:"identicalRewrites"`
	// DuplicateReferences counts orders beyond the first with the same reference.
	DuplicateReferences int `json:"duplicateReferences"`
	// DuplicateOrders counts creations of an order that was there.
	DuplicateOrders int `json:"duplicateOrders"`
	// Undone counts writes that took effect after one with another payload that had arrived later: they undid it.
	Undone int `json:"undone"`
	Lines  int `json:"lines"`
	// Refused lists orders that were refused and are not accepted since.
	Refused        []Refusal  `json:"refused"`
	FirstAccepted  *time.Time `json:"firstAccepted,omitempty"`
	LastAccepted   *time.Time `json:"lastAccepted,omitempty"`
	Configurations []string   `json:"configurations,omitempty"`
}

// Report returns the state of the system now.
func (s *System) Report() Report {
	r := Report{Report: s.Front.Report(), Refused: []Refusal{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Accepted, r.Updates, r.IdenticalRewrites = len(s.orders), s.writes-len(s.orders), s.rewrites
	r.DuplicateOrders, r.Undone = s.doubled, s.undone
	references := make(map[string]int)
	for _, known := range s.orders {
		r.Lines += len(known.order.Lines)
		if known.order.Reference != "" {
			references[known.order.Reference]++
		}
	}
	for _, n := range references {
		r.DuplicateReferences += n - 1
	}
	for _, id := range slices.Sorted(maps.Keys(s.refusals)) {
		if s.orders[id] == nil {
			r.Refused = append(r.Refused, *s.refusals[id])
		}
	}
	r.Configurations = slices.Sorted(maps.Keys(s.configurations))
	if !s.first.IsZero() {
		first, last := s.first, s.last
		r.FirstAccepted, r.LastAccepted = &first, &last
	}
	return r
}

// Orders returns the accepted orders by external id.
func (s *System) Orders() map[string]Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]Order, len(s.orders))
	for id, known := range s.orders {
		all[id] = known.order
	}
	return all
}
