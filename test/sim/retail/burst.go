package retail

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/peppasync/peppasync/test/sim/jsontime"
)

// Burst is many sales at once or spread over a time.
type Burst struct {
	// Count is the number of orders.
	Count int `json:"count"`
	// SKU and Quantity (1 by default) are the line of every order; Lines, if given, replace them.
	SKU      string `json:"sku,omitempty"`
	Quantity int    `json:"quantity,omitempty"`
	Lines    []Line `json:"lines,omitempty"`
	// Over spreads the sales evenly; by default they are made at once. Webhooks follow at the shop's own pace.
	Over   jsontime.Duration `json:"over,omitempty"`
	Unpaid bool              `json:"unpaid,omitempty"`
}

// BurstResult says what became of a burst.
type BurstResult struct {
	// Sold is the number of orders made, FirstOrder and LastOrder the ids of the first and the last.
	Sold       int   `json:"sold"`
	FirstOrder int64 `json:"firstOrder,omitempty"`
	LastOrder  int64 `json:"lastOrder,omitempty"`
}

// Spec is one order of the burst.
func (b Burst) Spec() Spec {
	lines := b.Lines
	if len(lines) == 0 {
		lines = []Line{{SKU: b.SKU, Quantity: cmp.Or(b.Quantity, 1)}}
	}
	return Spec{Lines: lines, Unpaid: b.Unpaid}
}

// Check refuses a burst that cannot be.
func (b Burst) Check(c Catalog) error {
	if b.Count < 1 {
		return fmt.Errorf("burst: count is %d; want at least 1", b.Count)
	}
	if err := c.Check(b.Spec().Lines); err != nil {
		return fmt.Errorf("burst: %w", err)
	}
	return nil
}

// Sale is a burst in progress.
type Sale struct {
	done   chan struct{}
	mu     sync.Mutex
	result BurstResult
}

// Background runs what goes on after a call. Run says whether it was started, Sleep whether to go on.
type Background interface {
	Run(f func()) bool
	Sleep(wait time.Duration) bool
}

// Sell starts a burst in a shop whose catalog is c and in which sell makes one order. It returns at once; an error means that
// nothing was started.
func Sell(b Burst, c Catalog, shop Background, sell func(Spec) (id int64, err error)) (*Sale, error) {
	if err := b.Check(c); err != nil {
		return nil, err
	}
	sale := &Sale{done: make(chan struct{})}
	if !shop.Run(func() { sale.make(b, shop.Sleep, sell) }) {
		return nil, errors.New("the shop is closed")
	}
	return sale, nil
}

// make makes the orders of a burst, one by one.
func (s *Sale) make(b Burst, sleep func(time.Duration) bool, sell func(Spec) (id int64, err error)) {
	defer close(s.done)
	start := time.Now()
	for i := range b.Count {
		if !sleep(time.Until(start.Add(b.Over.Std() * time.Duration(i) / time.Duration(b.Count)))) {
			return
		}
		if id, err := sell(b.Spec()); err == nil {
			s.count(id)
		}
	}
}

func (s *Sale) count(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Sold++
	s.result.FirstOrder = cmp.Or(s.result.FirstOrder, id)
	s.result.LastOrder = id
}

// Done is closed when every order of the burst was made.
func (s *Sale) Done() <-chan struct{} { return s.done }

// Result returns what became of the burst so far.
func (s *Sale) Result() BurstResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result
}
