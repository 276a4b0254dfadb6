package shopify

import (
	"context"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/outbox"
)

// Report is what the shop sold, what became of its webhooks, and what it shows.
type Report struct {
	account.Report
	// Sold is the number of orders made; Cancelled of those cancelled since; RefusedSales of sales refused because
	// nothing was there.
	Sold         int `json:"sold"`
	Cancelled    int `json:"cancelled"`
	RefusedSales int `json:"refusedSales"`
	// Captured is the number of orders whose orders/create webhook was acknowledged with 2xx.
	Captured int            `json:"captured"`
	Webhooks WebhooksReport `json:"webhooks"`
	Stock    []Stock        `json:"stock"`
	// OversoldUnits counts units that were sold while available was zero or less.
	OversoldUnits int `json:"oversoldUnits"`
	// Sets counts inventorySetQuantities that took effect, StaleSets those refused because changeFromQuantity was not
	// what the shop had, RepeatedSets replays of an idempotency key.
	Sets         int `json:"sets"`
	StaleSets    int `json:"staleSets"`
	RepeatedSets int `json:"repeatedSets"`
	// GraphQLThrottled counts calls that the cost bucket refused.
	GraphQLThrottled int `json:"graphQLThrottled"`
	// Polls counts queries of the order list, Reads of single orders.
	Polls int `json:"polls"`
	Reads int `json:"reads"`
	// Missed is the number of orders whose newest state no acknowledged webhook told: only a poll finds it.
	Missed        int                  `json:"missed"`
	Subscriptions []SubscriptionReport `json:"subscriptions"`
}

// WebhooksReport is what became of the webhooks. Undelivered were never tried, for want of a target or a subscription.
type WebhooksReport struct {
	outbox.Report
	Created      int `json:"created"`
	Acknowledged int `json:"acknowledged"`
	// SubscriptionDeleted is about Target's, SubscriptionsDeleted counts those of the API that were deleted for their failures.
	SubscriptionDeleted  bool `json:"subscriptionDeleted"`
	SubscriptionsDeleted int  `json:"subscriptionsDeleted"`
	// FirstAttempt and LastAcknowledged bound the time in which webhooks were taken.
	FirstAttempt     *time.Time `json:"firstAttempt,omitempty"`
	LastAcknowledged *time.Time `json:"lastAcknowledged,omitempty"`
}

// Delivery is one webhook in the log.
type Delivery struct {
	WebhookID      string     `json:"webhookId"`
	EventID        string     `json:"eventId"`
	Topic          string     `json:"topic"`
	Target         string     `json:"target,omitempty"`
	Order          string     `json:"order"`
	FirstAttempt   *time.Time `json:"firstAttempt,omitempty"`
	Acknowledged   *time.Time `json:"acknowledged,omitempty"`
	AcknowledgedMs float64    `json:"acknowledgedMs,omitempty"`
	Attempts       int        `json:"attempts"`
	Status         int        `json:"status,omitempty"`
	Problem        string     `json:"problem,omitempty"`
	GivenUp        bool       `json:"givenUp,omitempty"`
}

// Deliveries returns the log of all webhooks in the order in which they were made.
func (s *Shop) Deliveries() []Delivery {
	d := s.delivery
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Delivery, 0, len(d.deliveries))
	for _, w := range d.deliveries {
		all = append(all, Delivery{
			WebhookID: w.webhookID, EventID: w.eventID, Topic: w.topic, Target: w.target, Order: w.order, FirstAttempt: timeOrNil(w.firstAttempt),
			Acknowledged: timeOrNil(w.acknowledged), AcknowledgedMs: milliseconds(w.latency), Attempts: w.attempts,
			Status: w.status, Problem: w.problem, GivenUp: w.givenUp,
		})
	}
	return all
}

// WaitDelivered returns when every webhook is acknowledged or given up, or with the error of the context.
func (s *Shop) WaitDelivered(ctx context.Context) error { return s.delivery.open.Wait(ctx) }

// Captured returns the names of the orders whose orders/create webhook was acknowledged.
func (s *Shop) Captured() []string {
	d := s.delivery
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	seen := make(map[string]bool)
	for _, w := range d.deliveries {
		if w.topic == "orders/create" && !w.acknowledged.IsZero() && !seen[w.order] {
			seen[w.order] = true
			names = append(names, w.order)
		}
	}
	return names
}

// Missed returns the names of the orders whose newest state no acknowledged webhook told.
func (s *Shop) Missed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missed()
}

// missed needs the lock.
func (s *Shop) missed() []string {
	d := s.delivery
	d.mu.Lock()
	defer d.mu.Unlock()
	names := []string{}
	for _, o := range s.orders {
		if d.told[o.Name].Before(o.updated) {
			names = append(names, o.Name)
		}
	}
	return names
}

// Report returns the state of the shop now.
func (s *Shop) Report() Report {
	r := Report{
		Report: s.Front.Report(), Captured: len(s.Captured()), Webhooks: s.delivery.report(), Subscriptions: s.delivery.subscriptionReports(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tally
	r.Sold, r.RefusedSales, r.OversoldUnits, r.Stock = len(s.orders), t.refusedSales, t.oversold, s.stock()
	r.Sets, r.StaleSets, r.RepeatedSets, r.GraphQLThrottled = t.sets, t.staleSets, t.repeatedSets, t.graphThrottled
	r.Polls, r.Reads, r.Missed = t.polls, t.reads, len(s.missed())
	for _, o := range s.orders {
		if o.CancelledAt != nil {
			r.Cancelled++
		}
	}
	return r
}

func (d *deliverer) report() WebhooksReport {
	sent := d.outbox.Report()
	sent.Open = d.open.Count()
	d.mu.Lock()
	defer d.mu.Unlock()
	r := WebhooksReport{
		Report: sent, Created: len(d.deliveries), Acknowledged: sent.Delivered,
		SubscriptionDeleted: d.deleted, SubscriptionsDeleted: d.subscriptionsDeleted,
	}
	for _, w := range d.deliveries {
		if !w.firstAttempt.IsZero() && (r.FirstAttempt == nil || w.firstAttempt.Before(*r.FirstAttempt)) {
			r.FirstAttempt = timeOrNil(w.firstAttempt)
		}
		if r.LastAcknowledged == nil && !w.acknowledged.IsZero() || r.LastAcknowledged != nil && w.acknowledged.After(*r.LastAcknowledged) {
			r.LastAcknowledged = timeOrNil(w.acknowledged)
		}
	}
	return r
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
