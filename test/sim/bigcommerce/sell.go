package bigcommerce

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/test/sim/retail"
)

// SellOne sells one order and queues its webhooks.
func (s *Store) SellOne(spec retail.Spec) (Order, error) {
	if err := s.catalog.Check(spec.Lines); err != nil {
		return Order{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	r := &record{
		Record: retail.Record{ID: s.next, Revision: 1, Spec: spec, Created: now, Modified: now}, status: StatusAwaitingFulfillment,
	}
	if spec.Unpaid {
		r.status = StatusAwaitingPayment
	}
	s.next++
	for _, l := range spec.Lines {
		r.lines = append(r.lines, orderLine{id: s.nextLine, article: s.catalog[l.SKU], quantity: l.Quantity, options: l.All()})
		s.nextLine++
	}
	s.orders.Add(r)
	s.trigger(r, ScopeCreated, eventData{Type: "order", ID: r.ID})
	if s.cfg.CheckoutUpdates && !spec.Unpaid {
		s.triggerStatus(r, StatusIncomplete)
		s.trigger(r, ScopeUpdated, eventData{Type: "order", ID: r.ID})
	}
	return s.document(r), nil
}

// Sell starts a burst. It returns at once; an error means that nothing was started.
func (s *Store) Sell(b retail.Burst) (*retail.Sale, error) {
	return retail.Sell(b, s.catalog, s.outbox, func(spec retail.Spec) (int64, error) {
		o, err := s.SellOne(spec)
		return o.ID, err
	})
}

// Update edits an order and queues updated, and statusUpdated if the status is another. A status is given by its name or its
// id. date_modified has whole seconds, so two edits in one second bear the same.
func (s *Store) Update(id int64, e retail.Edit) (Order, error) {
	return s.edit(id, func(r *record) error {
		if e.Status != "" {
			if err := r.setStatus(e.Status); err != nil {
				return err
			}
		}
		if e.Note != "" {
			r.Spec.Note = e.Note
		}
		if e.Quantity > 0 || e.Configuration != "" {
			r.lines = slices.Clone(r.lines)
			line := &r.lines[0]
			if e.Quantity > 0 {
				line.quantity = e.Quantity
			}
			if e.Configuration != "" {
				line.options = retail.Configure(line.options, e.Configuration)
			}
		}
		return nil
	})
}

// MarkPaid makes an order paid: it awaits its fulfillment.
func (s *Store) MarkPaid(id int64) (Order, error) {
	return s.Update(id, retail.Edit{Status: statusNames[StatusAwaitingFulfillment]})
}

// Cancel cancels an order.
func (s *Store) Cancel(id int64) (Order, error) {
	return s.Update(id, retail.Edit{Status: statusNames[StatusCancelled]})
}

// Refund gives money back, by default all of it.
func (s *Store) Refund(id int64, amount string) (Order, error) {
	return s.edit(id, func(r *record) error {
		left := r.cents() - r.refunded
		cents := left
		if amount != "" {
			value, err := strconv.ParseFloat(amount, 64)
			if err != nil {
				return fmt.Errorf("order %d: refund of %q; want an amount such as \"10.00\"", id, amount)
			}
			cents = int64(value*100 + 0.5)
		}
		if cents <= 0 || cents > left {
			return fmt.Errorf("order %d: refund of %q, %s are left", id, amount, retail.Decimal(left, 2))
		}
		r.refunded += cents
		r.status = StatusPartiallyRefunded
		if r.refunded == r.cents() {
			r.status = StatusRefunded
		}
		return nil
	})
}

// Archive puts an order away and queues archived. Lists leave it out from then on.
func (s *Store) Archive(id int64) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.orders.Find(id)
	if !ok || r.archived {
		return Order{}, fmt.Errorf("the store has no order %d that could be archived", id)
	}
	r.archived, r.Modified = true, time.Now()
	r.Revision++
	s.trigger(r, ScopeArchived, eventData{Type: "order", ID: r.ID})
	return s.document(r), nil
}

func (r *record) setStatus(text string) error {
	status, err := strconv.Atoi(text)
	if err != nil {
		status = slices.Index(statusNames, text)
	}
	switch {
	case status < 0 || status >= len(statusNames):
		return fmt.Errorf("order %d: status %q is unknown; the statuses are %q, or their numbers from 0", r.ID, text, statusNames)
	case status == StatusCancelled && r.status == StatusCancelled:
		return fmt.Errorf("order %d is cancelled already", r.ID)
	}
	r.status = status
	return nil
}

func (s *Store) edit(id int64, change func(r *record) error) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.orders.Find(id)
	if !ok {
		return Order{}, fmt.Errorf("the store has no order %d", id)
	}
	changed := *r
	if err := change(&changed); err != nil {
		return Order{}, err
	}
	before := r.status
	changed.Modified = time.Now()
	changed.Revision++
	*r = changed
	if r.status != before {
		s.triggerStatus(r, before)
	}
	s.trigger(r, ScopeUpdated, eventData{Type: "order", ID: r.ID})
	return s.document(r), nil
}

func (s *Store) triggerStatus(r *record, before int) {
	s.trigger(r, ScopeStatusUpdated, eventData{
		Type: "order", ID: r.ID, Status: &statusChange{PreviousStatusID: before, NewStatusID: r.status},
	})
}

// Order returns an order as it is now.
func (s *Store) Order(id int64) (Order, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.orders.Find(id)
	if !ok {
		return Order{}, false
	}
	return s.document(r), true
}

// Orders returns all orders as they are now, in the order in which they were made.
func (s *Store) Orders() []Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Order{}
	for _, r := range s.orders.All() {
		all = append(all, s.document(r))
	}
	return all
}
