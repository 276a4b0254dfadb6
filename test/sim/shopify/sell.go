package shopify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// ErrSoldOut is why a sale of goods that are not there is refused.
var ErrSoldOut = errors.New("sold out")

// SellOne sells one order and starts the delivery of its orders/create webhook. The order returned is a copy.
func (s *Shop) SellOne(spec OrderSpec) (Order, error) {
	o, webhooks, err := s.sell(spec, nil)
	if err != nil {
		return Order{}, err
	}
	s.delivery.start(webhooks)
	return o, nil
}

// sell makes the order and its webhooks. They are encoded and signed without the shop's lock, so that many
// connections can sell at once; that is sound because an edit replaces the lines of an order and never writes into them.
func (s *Shop) sell(spec OrderSpec, configurations map[int64]string) (Order, []*delivery, error) {
	now := time.Now()
	o, err := s.record(spec, configurations, now)
	if err != nil {
		return Order{}, nil, err
	}
	webhooks, err := s.webhooks([]string{"orders/create"}, &o, now)
	return o, webhooks, err
}

// record makes the order and moves the stock. A configuration for its number, if there is one, goes to the first line.
func (s *Shop) record(spec OrderSpec, configurations map[int64]string, now time.Time) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkLines(spec.Lines); err != nil {
		return Order{}, err
	}
	number := s.next
	if name := configurations[number]; name != "" {
		spec.Lines = slices.Clone(spec.Lines)
		spec.Lines[0].Configuration = name
	}
	s.next++
	o := s.build(number, spec, now)
	for _, l := range spec.Lines {
		s.change(s.bySKU[l.SKU], -l.Quantity, l.Quantity, "sale", o.Name)
	}
	s.orders = append(s.orders, o)
	s.byName[o.Name] = o
	return *o, nil
}

// checkLines refuses what cannot be sold; it needs the lock.
func (s *Shop) checkLines(lines []LineSpec) error {
	if len(lines) == 0 {
		return errors.New("an order needs at least one line")
	}
	wanted := make(map[string]int)
	for _, l := range lines {
		it := s.bySKU[l.SKU]
		switch {
		case it == nil:
			return fmt.Errorf("the shop has no item with the sku %q", l.SKU)
		case l.Quantity < 1:
			return fmt.Errorf("sku %q: quantity is %d; want at least 1", l.SKU, l.Quantity)
		}
		wanted[l.SKU] += l.Quantity
		if !it.continueSelling && it.available < wanted[l.SKU] {
			s.tally.refusedSales++
			return fmt.Errorf("sku %q: %d wanted, %d available: %w", l.SKU, wanted[l.SKU], it.available, ErrSoldOut)
		}
	}
	return nil
}

func (s *Shop) webhooks(topics []string, o *Order, at time.Time) ([]*delivery, error) {
	payload, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("order %s: %w", o.Name, err)
	}
	return s.delivery.prepare(happening{topics, o.Name, o.updated, payload, at}), nil
}

// Burst is many sales at once or spread over a time.
type Burst struct {
	// Count is the number of orders.
	Count int `json:"count"`
	// SKU and Quantity (1 by default) are the line of every order; Lines, if given, replace them.
	SKU      string     `json:"sku,omitempty"`
	Quantity int        `json:"quantity,omitempty"`
	Lines    []LineSpec `json:"lines,omitempty"`
	// Connections is how many webhooks are in delivery at once; by default that of the shop.
	Connections int `json:"connections,omitempty"`
	// Over spreads the sales evenly; by default they are made as fast as webhooks are taken.
	Over jsontime.Duration `json:"over,omitempty"`
	// Configurations by order number: the first line of that order gets the property "_configuration".
	Configurations map[int64]string `json:"configurations,omitempty"`
	// Duplicates is the share (0 to 1) of webhooks that are delivered once more after they were acknowledged.
	Duplicates float64 `json:"duplicates,omitempty"`
	// Reorder is the share of webhooks that are held back by up to ReorderDelay (1s by default), so that later ones
	// overtake them.
	Reorder      float64           `json:"reorder,omitempty"`
	ReorderDelay jsontime.Duration `json:"reorderDelay,omitempty"`
	// Seed of the choice of duplicates and of those held back.
	Seed uint64 `json:"seed,omitempty"`
}

// BurstResult says what became of a burst.
type BurstResult struct {
	// Sold is the number of orders made, Refused of sales refused because nothing was there.
	Sold    int `json:"sold"`
	Refused int `json:"refused"`
	// FirstOrder and LastOrder are the lowest and the highest order name of the burst.
	FirstOrder string `json:"firstOrder,omitempty"`
	LastOrder  string `json:"lastOrder,omitempty"`
}

// Sale is a burst in progress.
type Sale struct {
	done   chan struct{}
	mu     sync.Mutex
	result BurstResult
}

// Done is closed when every order of the burst was made and every webhook was tried at least once, except those held back.
func (s *Sale) Done() <-chan struct{} { return s.done }

// Result returns what became of the burst so far.
func (s *Sale) Result() BurstResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result
}

// Sell starts a burst. It returns at once; an error means that nothing was started.
func (s *Shop) Sell(b Burst) (*Sale, error) {
	if len(b.Lines) == 0 {
		b.Lines = []LineSpec{{SKU: b.SKU, Quantity: cmp.Or(b.Quantity, 1)}}
	}
	b.Connections = cmp.Or(b.Connections, s.cfg.Connections)
	b.ReorderDelay = cmp.Or(b.ReorderDelay, seconds(1))
	if err := s.checkBurst(b); err != nil {
		return nil, err
	}
	sale := &Sale{done: make(chan struct{})}
	start := time.Now()
	var next atomic.Int64
	var workers sync.WaitGroup
	worker := func() {
		for {
			i := next.Add(1) - 1
			if i >= int64(b.Count) || !s.delivery.outbox.Sleep(time.Until(start.Add(b.Over.Std()*time.Duration(i)/time.Duration(b.Count)))) {
				return
			}
			s.sellNext(sale, b)
		}
	}
	if !s.delivery.outbox.Run(func() {
		for range min(b.Connections, b.Count) {
			workers.Go(worker)
		}
		workers.Wait()
		close(sale.done)
	}) {
		return nil, errors.New("the shop is closed")
	}
	return sale, nil
}

func (s *Shop) checkBurst(b Burst) error {
	switch {
	case b.Count < 1:
		return fmt.Errorf("burst: count is %d; want at least 1", b.Count)
	case b.Connections < 1:
		return fmt.Errorf("burst: connections is %d; want at least 1", b.Connections)
	case b.Duplicates < 0 || b.Duplicates > 1 || b.Reorder < 0 || b.Reorder > 1:
		return errors.New("burst: duplicates and reorder are shares between 0 and 1")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range b.Lines {
		if s.bySKU[l.SKU] == nil {
			return fmt.Errorf("burst: the shop has no item with the sku %q", l.SKU)
		}
		if l.Quantity < 1 {
			return fmt.Errorf("burst: sku %q: quantity is %d; want at least 1", l.SKU, l.Quantity)
		}
	}
	return nil
}

// sellNext makes one sale of a burst and tries its webhooks.
func (s *Shop) sellNext(sale *Sale, b Burst) {
	o, webhooks, err := s.sell(OrderSpec{Lines: b.Lines}, b.Configurations)
	sale.count(o, err)
	if err != nil {
		return
	}
	duplicate := draw(b.Seed, o.OrderNumber, "duplicate") < b.Duplicates
	var delay time.Duration
	if draw(b.Seed, o.OrderNumber, "reorder") < b.Reorder {
		delay = time.Duration(draw(b.Seed, o.OrderNumber, "delay") * float64(b.ReorderDelay))
	}
	for _, w := range webhooks {
		twice, wait := duplicate || w.fate.Twice, max(delay, w.fate.Delay)
		if wait > 0 {
			s.delivery.later(wait, w, twice)
			continue
		}
		s.delivery.attempt(w)
		if twice {
			s.delivery.repeat(w)
		}
	}
}

func (s *Sale) count(o Order, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.result.Refused++
		return
	}
	s.result.Sold++
	if n := len(o.Name); s.result.FirstOrder == "" || n < len(s.result.FirstOrder) || n == len(s.result.FirstOrder) && o.Name < s.result.FirstOrder {
		s.result.FirstOrder = o.Name
	}
	if n := len(o.Name); n > len(s.result.LastOrder) || n == len(s.result.LastOrder) && o.Name > s.result.LastOrder {
		s.result.LastOrder = o.Name
	}
}

// draw is a number in [0, 1) that depends on its arguments only, so that a seed repeats whatever goroutine sells what.
func draw(seed uint64, number int64, what string) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", number, what)
	return rand.New(rand.NewPCG(seed, h.Sum64())).Float64()
}

// Resend delivers the newest webhook of an order and topic once more, with the same webhook id and payload.
func (s *Shop) Resend(name, topic string) error {
	d := s.delivery.find(name, topic)
	if d == nil {
		return fmt.Errorf("order %q has had no webhook %q", name, topic)
	}
	if !s.delivery.outbox.Run(func() { s.delivery.repeat(d) }) {
		return errors.New("the shop is closed")
	}
	return nil
}

// Replay delivers what the newest webhook of an order and topic said once more under new ids, as a shop does that is told to
// send its orders anew: nothing but its content tells that it is old.
func (s *Shop) Replay(name, topic string) error {
	d := s.delivery.find(name, topic)
	if d == nil {
		return fmt.Errorf("order %q has had no webhook %q", name, topic)
	}
	again := s.delivery.renamed(d)
	if !s.delivery.outbox.Run(func() { s.delivery.repeat(again) }) {
		return errors.New("the shop is closed")
	}
	return nil
}
