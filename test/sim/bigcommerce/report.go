package bigcommerce

import (
	"maps"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/outbox"
)

// Report is what the store sold, what became of its webhooks, and how it was polled.
type Report struct {
	account.Report
	// Sold is the number of orders made; Cancelled of those that are cancelled now.
	Sold      int `json:"sold"`
	Cancelled int `json:"cancelled"`
	// Captured is the number of orders of which at least one webhook was acknowledged, Missed that of those of whose newest
	// change no acknowledged webhook told: only a poll finds it.
	Captured int `json:"captured"`
	Missed   int `json:"missed"`
	// Polls counts calls of the order list, Reads of single orders and of what is below them.
	Polls int `json:"polls"`
	Reads int `json:"reads"`
	// QuotaThrottled counts calls that the quota refused.
	QuotaThrottled int           `json:"quotaThrottled"`
	Webhooks       outbox.Report `json:"webhooks"`
	Hooks          []HookReport  `json:"hooks"`
	// Deactivated counts how often a webhook was deactivated for its failures, Blocked how often one was not sent since its
	// domain was on the blocklist.
	Deactivated int `json:"deactivated"`
	Blocked     int `json:"blocked"`
}

// HookReport is one webhook.
type HookReport struct {
	ID          int64  `json:"id"`
	Scope       string `json:"scope"`
	Destination string `json:"destination"`
	IsActive    bool   `json:"isActive"`
	// Headers are what it sends along.
	Headers   map[string]string `json:"headers,omitempty"`
	Attempts  int               `json:"attempts"`
	Delivered int               `json:"delivered"`
	Failures  int               `json:"failures"`
}

// Report returns the state of the store now.
func (s *Store) Report() Report {
	r := Report{Report: s.Front.Report(), Webhooks: s.outbox.Report(), Hooks: []HookReport{}}
	r.Webhooks.Open = s.open.Count()
	r.Polls = r.ByOperation[OpListOrders]
	r.Reads = r.ByOperation[OpReadOrder] + r.ByOperation[OpReadProducts] + r.ByOperation[OpReadAddresses]
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Sold, r.QuotaThrottled, r.Deactivated, r.Blocked = len(s.orders.All()), s.tally.throttled, s.tally.deactivated, s.tally.blocked
	r.Captured, r.Missed = len(s.orders.Captured()), len(s.orders.Missed())
	for _, o := range s.orders.All() {
		if o.status == StatusCancelled {
			r.Cancelled++
		}
	}
	for _, h := range s.hooks {
		r.Hooks = append(r.Hooks, HookReport{
			ID: h.ID, Scope: h.Scope, Destination: h.Destination, IsActive: h.IsActive, Headers: maps.Clone(h.Headers),
			Attempts: h.attempts, Delivered: h.delivered, Failures: h.failures,
		})
	}
	return r
}

// Captured returns the ids of the orders of which at least one webhook was acknowledged.
func (s *Store) Captured() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders.Captured()
}

// Missed returns the ids of the orders of whose newest change no acknowledged webhook told.
func (s *Store) Missed() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders.Missed()
}
