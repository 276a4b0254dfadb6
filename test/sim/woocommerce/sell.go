package woocommerce

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/test/sim/retail"
)

// SellOne sells one order and queues its order.created webhooks.
func (s *Shop) SellOne(spec retail.Spec) (Order, error) {
	if err := s.catalog.Check(spec.Lines); err != nil {
		return Order{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	r := &record{
		Record: retail.Record{ID: s.next, Revision: 1, Spec: spec, Created: now, Modified: now},
		status: StatusProcessing, paid: now, metaID: s.meta(1),
	}
	if spec.Unpaid {
		r.status, r.paid = StatusPending, time.Time{}
	}
	s.next++
	for i, l := range spec.Lines {
		options := l.All()
		r.lines = append(r.lines, orderLine{
			id: r.ID*100 + int64(i) + 1, metaID: s.meta(len(options)), article: s.catalog[l.SKU], quantity: l.Quantity, options: options,
		})
	}
	s.orders.Add(r)
	s.trigger(r, TopicCreated)
	if s.cfg.CheckoutUpdates && !spec.Unpaid {
		s.trigger(r, TopicUpdated)
	}
	return s.document(r), nil
}

// meta reserves ids for so many entries; it needs the lock.
func (s *Shop) meta(n int) int64 {
	first := s.nextMeta
	s.nextMeta += int64(n)
	return first
}

// Sell starts a burst. It returns at once; an error means that nothing was started.
func (s *Shop) Sell(b retail.Burst) (*retail.Sale, error) {
	return retail.Sell(b, s.catalog, s.outbox, func(spec retail.Spec) (int64, error) {
		o, err := s.SellOne(spec)
		return o.ID, err
	})
}

// Update edits an order and queues order.updated. date_modified has whole seconds, so two edits in one second bear the
// same, with different bodies.
func (s *Shop) Update(id int64, e retail.Edit) (Order, error) {
	return s.edit(id, TopicUpdated, func(r *record, now time.Time) error {
		if e.Status != "" {
			if err := r.setStatus(e.Status, now); err != nil {
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
				line.metaID = s.meta(len(line.options))
			}
		}
		return nil
	})
}

// MarkPaid makes an order paid: it goes to processing.
func (s *Shop) MarkPaid(id int64) (Order, error) {
	return s.Update(id, retail.Edit{Status: StatusProcessing})
}

// Cancel cancels an order. WooCommerce has no topic of its own for that.
func (s *Shop) Cancel(id int64) (Order, error) {
	return s.Update(id, retail.Edit{Status: StatusCancelled})
}

// Refund gives money back, by default all of it, which makes the order refunded.
func (s *Shop) Refund(id int64, amount string) (Order, error) {
	return s.edit(id, TopicUpdated, func(r *record, now time.Time) error {
		full := retail.Decimal(r.cents(), 2)
		if amount == "" || amount == full {
			amount = full
			if err := r.setStatus(StatusRefunded, now); err != nil {
				return err
			}
		}
		if value, err := strconv.ParseFloat(amount, 64); err != nil || value <= 0 {
			return fmt.Errorf("order %d: refund of %q; want an amount such as \"10.00\"", id, amount)
		}
		r.refunds = append(slices.Clone(r.refunds), Refund{ID: s.next, Total: "-" + amount})
		s.next++ // a refund is an entry among the orders, with an id of theirs
		return nil
	})
}

// Trash puts an order into the trash and queues order.deleted, whose body is the id alone.
func (s *Shop) Trash(id int64) (Order, error) {
	return s.edit(id, TopicDeleted, func(r *record, now time.Time) error { return r.setStatus(StatusTrash, now) })
}

func (r *record) setStatus(status string, now time.Time) error {
	switch {
	case !slices.Contains(statuses, status):
		return fmt.Errorf("order %d: status %q is unknown; the statuses are %v", r.ID, status, statuses)
	case r.status == StatusTrash:
		return fmt.Errorf("order %d is in the trash", r.ID)
	case r.status == StatusCancelled && status == StatusCancelled:
		return fmt.Errorf("order %d is cancelled already", r.ID)
	}
	r.status = status
	if (status == StatusProcessing || status == StatusCompleted) && r.paid.IsZero() {
		r.paid = now
	}
	if status == StatusCompleted {
		r.completed = now
	}
	return nil
}

func (s *Shop) edit(id int64, topic string, change func(r *record, now time.Time) error) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.orders.Find(id)
	if !ok {
		return Order{}, fmt.Errorf("the shop has no order %d", id)
	}
	changed, now := *r, time.Now()
	if err := change(&changed, now); err != nil {
		return Order{}, err
	}
	changed.Modified = now
	changed.Revision++
	*r = changed
	s.trigger(r, topic)
	return s.document(r), nil
}

// Order returns an order as it is now.
func (s *Shop) Order(id int64) (Order, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.orders.Find(id)
	if !ok {
		return Order{}, false
	}
	return s.document(r), true
}

// Orders returns all orders as they are now, in the order in which they were made.
func (s *Shop) Orders() []Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Order{}
	for _, r := range s.orders.All() {
		all = append(all, s.document(r))
	}
	return all
}
