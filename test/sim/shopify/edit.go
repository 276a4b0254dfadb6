package shopify

import (
	"fmt"
	"slices"
	"time"
)

// Edit is what Update changes in an order.
type Edit struct {
	// Note replaces the buyer's note.
	Note string `json:"note,omitempty"`
	// Quantity, if above zero, becomes the quantity of the first line.
	Quantity int `json:"quantity,omitempty"`
	// Configuration, if given, replaces that of the first line.
	Configuration string `json:"configuration,omitempty"`
	// SameSecond leaves updated_at as it is, as of an edit that was made in the second of the one before.
	SameSecond bool `json:"sameSecond,omitempty"`
}

// Update edits an order and starts the delivery of orders/updated with a later updated_at, unless the edit says otherwise.
func (s *Shop) Update(name string, e Edit) (Order, error) {
	touch := (*Order).touch
	if e.SameSecond {
		touch = (*Order).touchAgain
	}
	return s.edit(name, "orders/updated", touch, func(o *Order) error {
		if o.CancelledAt != nil {
			return fmt.Errorf("order %s is cancelled", name)
		}
		if e.Note != "" {
			note := e.Note
			o.Note = &note
		}
		line := &o.LineItems[0]
		if e.Configuration != "" {
			line.configure(e.Configuration)
		}
		if e.Quantity > 0 && e.Quantity != line.CurrentQuantity {
			return s.changeQuantity(o, line, e.Quantity)
		}
		return nil
	})
}

// changeQuantity needs the lock.
func (s *Shop) changeQuantity(o *Order, line *LineItem, quantity int) error {
	more := quantity - line.CurrentQuantity
	it := s.bySKU[line.SKU]
	if !it.continueSelling && it.available < more {
		s.tally.refusedSales++
		return fmt.Errorf("sku %q: %d more wanted, %d available: %w", line.SKU, more, it.available, ErrSoldOut)
	}
	s.change(it, -more, more, "edit", o.Name)
	line.Quantity, line.CurrentQuantity, line.FulfillableQuantity = quantity, quantity, quantity
	var cents int64
	for _, l := range o.LineItems {
		cents += s.bySKU[l.SKU].cents * int64(l.CurrentQuantity)
	}
	o.TotalPrice, o.SubtotalPrice, o.CurrentTotalPrice = decimal(cents), decimal(cents), decimal(cents)
	o.TotalPriceSet = s.money(decimal(cents))
	return nil
}

func (l *LineItem) configure(name string) {
	properties := slices.DeleteFunc(slices.Clone(l.Properties), func(p Property) bool { return p.Name == ConfigurationProperty })
	properties = append(properties, Property{Name: ConfigurationProperty, Value: name})
	l.Properties = properties
}

// MarkPaid makes an order paid and starts the delivery of orders/paid.
func (s *Shop) MarkPaid(name string) (Order, error) {
	return s.edit(name, "orders/paid", (*Order).touch, func(o *Order) error {
		o.FinancialStatus, o.TotalOutstanding = "paid", "0.00"
		return nil
	})
}

// Cancel cancels an order, puts its goods back on sale, and starts the delivery of orders/cancelled.
func (s *Shop) Cancel(name string) (Order, error) {
	return s.edit(name, "orders/cancelled", (*Order).touch, func(o *Order) error {
		if o.CancelledAt != nil {
			return fmt.Errorf("order %s is cancelled already", name)
		}
		at, reason := time.Now().Format(time.RFC3339), "customer"
		o.CancelledAt, o.CancelReason, o.FinancialStatus = &at, &reason, "refunded"
		for i := range o.LineItems {
			l := &o.LineItems[i]
			s.change(s.bySKU[l.SKU], l.CurrentQuantity, -l.CurrentQuantity, "cancel", o.Name)
			l.CurrentQuantity, l.FulfillableQuantity = 0, 0
		}
		return nil
	})
}

func (s *Shop) edit(name, topic string, touch func(*Order, time.Time), change func(*Order) error) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.byName[name]
	if o == nil {
		return Order{}, fmt.Errorf("the shop has no order %q", name)
	}
	// Payloads of earlier webhooks are bytes already; the lines are copied so that copies of the order stay as they were.
	o.LineItems = append([]LineItem(nil), o.LineItems...)
	if err := change(o); err != nil {
		return Order{}, err
	}
	now := time.Now()
	touch(o, now)
	webhooks, err := s.webhooks(slices.Compact([]string{topic, "orders/updated"}), o, now)
	if err != nil {
		return Order{}, err
	}
	s.delivery.start(webhooks)
	return *o, nil
}

// Order returns a copy of an order by name.
func (s *Shop) Order(name string) (Order, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.byName[name]
	if o == nil {
		return Order{}, false
	}
	return *o, true
}

// Orders returns copies of all orders in the order in which they were made.
func (s *Shop) Orders() []Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Order, 0, len(s.orders))
	for _, o := range s.orders {
		all = append(all, *o)
	}
	return all
}

// Names returns the names of all orders in the order in which they were made.
func (s *Shop) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.orders))
	for _, o := range s.orders {
		names = append(names, o.Name)
	}
	return names
}
