package woocommerce

import (
	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/outbox"
)

// Report is what the shop sold, what became of its webhooks, and how it was polled.
type Report struct {
	account.Report
	// Sold is the number of orders made; Cancelled of those that are cancelled now.
	Sold      int `json:"sold"`
	Cancelled int `json:"cancelled"`
	// Captured is the number of orders of which at least one webhook was acknowledged, Missed that of those whose newest
	// state no acknowledged webhook told: only a poll finds it.
	Captured int `json:"captured"`
	Missed   int `json:"missed"`
	// Polls counts calls of the order list, Reads of single orders.
	Polls    int           `json:"polls"`
	Reads    int           `json:"reads"`
	Webhooks outbox.Report `json:"webhooks"`
	Hooks    []HookReport  `json:"hooks"`
	// Disabled counts how often a webhook was disabled for its failures. Pings and PingFailures count unsigned pings.
	Disabled     int `json:"disabled"`
	Pings        int `json:"pings"`
	PingFailures int `json:"pingFailures"`
}

// HookReport is one webhook.
type HookReport struct {
	ID          int64  `json:"id"`
	Topic       string `json:"topic"`
	Status      string `json:"status"`
	DeliveryURL string `json:"deliveryUrl"`
	// Pending says that no ping was answered with 200.
	Pending   bool `json:"pending,omitempty"`
	Attempts  int  `json:"attempts"`
	Delivered int  `json:"delivered"`
	Failures  int  `json:"failures"`
	// InARow is the number of failures since the last success.
	InARow int `json:"inARow"`
}

// Report returns the state of the shop now.
func (s *Shop) Report() Report {
	r := Report{Report: s.Front.Report(), Webhooks: s.outbox.Report(), Hooks: []HookReport{}}
	r.Polls, r.Reads = r.ByOperation[OpListOrders], r.ByOperation[OpReadOrder]
	r.Webhooks.Open = s.queued.Count()
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Sold, r.Disabled, r.Pings, r.PingFailures = len(s.orders.All()), s.tally.disabled, s.tally.pings, s.tally.pingFailures
	r.Captured, r.Missed = len(s.orders.Captured()), len(s.orders.Missed())
	for _, o := range s.orders.All() {
		if o.status == StatusCancelled {
			r.Cancelled++
		}
	}
	for _, h := range s.hooks {
		r.Hooks = append(r.Hooks, HookReport{
			ID: h.id, Topic: h.topic, Status: h.status, DeliveryURL: h.deliveryURL, Pending: h.pending,
			Attempts: h.attempts, Delivered: h.delivered, Failures: h.fails, InARow: h.failures,
		})
	}
	return r
}

// Captured returns the ids of the orders of which at least one webhook was acknowledged.
func (s *Shop) Captured() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders.Captured()
}

// Missed returns the ids of the orders of whose newest change no acknowledged webhook told.
func (s *Shop) Missed() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders.Missed()
}
