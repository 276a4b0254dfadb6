package allocation_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/peppasync/peppasync/services/inventory-reconciler/internal/allocation"
)

const sku = "MUG"

// version is what the shop says about an order at one moment.
type version struct {
	number    int
	quantity  int64
	cancelled bool
	fulfilled bool
}

// sale is one order with what each party knows of it.
type sale struct {
	key string
	// refused: the source will never accept it; it ends in the Error Hold.
	refused bool
	// shop is the truth; webhooks are what is on its way to the engine.
	shop     version
	webhooks []version
	// state is the engine's; published are states that the ledger has not read.
	state     allocation.Order
	number    int
	published []allocation.Order
	// claimed is what the dispatcher sent, inside source what took effect there.
	claimed   *claim
	contained int64
}

type claim struct {
	delivery  string
	revision  int64
	quantity  int64
	committed bool
	settled   time.Time
}

// world is a shop, a source and an engine in between, with every delay between
// them in the hands of the test.
type world struct {
	seconds int
	// stock is every unit that ever came into the house.
	stock, buffer int64
	available     int64
	sales         map[string]*sale
	ledger        *allocation.Ledger
	cycle         cycle
	// counts: the shop says how many units its open orders have.
	counts   bool
	versions uint64
}

// cycle is the reconciler's one cycle under way.
type cycle struct {
	stage  int
	issued time.Time
	source int64
	// shown, counted and truth are as of the channel's read.
	shown, counted int64
	target         int64
	figures        allocation.Figures
	exposed        int64
}

func newWorld(stock, buffer int64, counts bool) *world {
	w := &world{stock: stock, buffer: buffer, sales: map[string]*sale{}, counts: counts}
	w.ledger = newLedger()
	return w
}

func newLedger() *allocation.Ledger {
	return allocation.New([]allocation.Pool{{Name: "main", Source: "erp", Channels: []string{"shop"}, SKUs: []string{sku}}})
}

// tick is the dispatcher's clock; every action takes a second.
func (w *world) tick() time.Time { w.seconds++; return at(w.seconds) }

// keys are the sales in the order of their making.
func (w *world) keys(keep func(*sale) bool) []string {
	keys := []string{}
	for _, key := range slices.Sorted(maps.Keys(w.sales)) {
		if keep(w.sales[key]) {
			keys = append(keys, key)
		}
	}
	return keys
}

// free is what is in the house and promised to nobody.
func (w *world) free() int64 {
	free := w.stock
	for _, s := range w.sales {
		free -= s.shop.quantity
	}
	return free
}

// knownFree is free as far as the engine has heard.
func (w *world) knownFree() int64 {
	free := w.stock
	for _, s := range w.sales {
		if !s.state.Cancelled {
			free -= s.state.Wanted[sku]
		}
	}
	return free
}

// unheard are the units that the engine has not heard of, and of fulfilled ones
// that it still takes for open: those hide as many unheard ones from the guard.
func (w *world) unheard() (sold, hidden int64) {
	for _, s := range w.sales {
		known := s.state.Wanted[sku]
		if s.state.Cancelled {
			known = 0
		}
		sold += max(0, s.shop.quantity-known)
		if s.shop.fulfilled && !s.state.Fulfilled {
			hidden += known
		}
	}
	return sold, hidden
}

// exposed are the units that a write may give back though they are sold.
func (w *world) exposed() int64 {
	sold, hidden := w.unheard()
	if w.counts {
		return min(sold, hidden)
	}
	return sold
}

func (w *world) sell(quantity int64, refused bool) {
	key := fmt.Sprintf("shop_%04d", len(w.sales))
	w.available -= quantity
	s := &sale{key: key, refused: refused, state: allocation.Order{Key: key, Channel: "shop"}}
	w.sales[key] = s
	w.change(s, func(v *version) { v.quantity = quantity })
}

// change is anything that happens to an order at the shop; it leads to a webhook.
func (w *world) change(s *sale, edit func(*version)) {
	edit(&s.shop)
	s.shop.number++
	s.webhooks = append(s.webhooks, s.shop)
}

func (w *world) edit(s *sale, quantity int64) {
	w.available -= quantity - s.shop.quantity
	w.change(s, func(v *version) { v.quantity = quantity })
}

func (w *world) cancel(s *sale) {
	w.available += s.shop.quantity
	w.change(s, func(v *version) { v.quantity, v.cancelled = 0, true })
}

// hear takes in one webhook; one that is older than what is known changes
// nothing. Whatever changes an order asks for a delivery, unless one is open.
func (w *world) hear(s *sale, i int) {
	v := s.webhooks[i]
	s.webhooks = slices.Delete(s.webhooks, i, i+1)
	if v.number <= s.number {
		return
	}
	s.number = v.number
	s.state.Revision++
	s.state.Wanted = map[string]int64{sku: v.quantity}
	s.state.Cancelled, s.state.Fulfilled = v.cancelled, v.fulfilled
	s.deliver()
	w.publish(s)
}

func (s *sale) deliver() {
	if n := len(s.state.Deliveries); n > 0 && s.state.Deliveries[n-1].Status == allocation.Pending {
		return
	}
	id := fmt.Sprint(len(s.state.Deliveries))
	s.state.Deliveries = append(slices.Clone(s.state.Deliveries), pending(id, s.state.Revision))
}

func (w *world) publish(s *sale) {
	w.versions++
	s.state.Version = w.versions
	s.published = append(s.published, s.state)
}

// follow lets the ledger read published states: each of them, or only the newest
// where the stream has dropped the others already.
func (w *world) follow(s *sale, newestOnly bool) {
	if newestOnly {
		s.published = s.published[len(s.published)-1:]
	}
	for _, state := range s.published {
		w.ledger.Observe(state)
	}
	s.published = nil
}

// restart forgets everything but the streams.
func (w *world) restart() {
	w.ledger, w.cycle = newLedger(), cycle{}
	for _, key := range w.keys(func(s *sale) bool { return s.state.Revision > 0 }) {
		s := w.sales[key]
		s.published = []allocation.Order{s.state}
		w.follow(s, true)
	}
}

// dispatch moves the order's open delivery one step: claimed, with the newest
// quantity; taken by the source; settled; closed in the order's state.
func (w *world) dispatch(s *sale) {
	last := len(s.state.Deliveries) - 1
	switch c := s.claimed; {
	case last < 0 || s.state.Deliveries[last].Status != allocation.Pending || s.refused:
	case c == nil:
		s.claimed = &claim{delivery: s.state.Deliveries[last].ID, revision: s.state.Revision, quantity: s.state.Wanted[sku]}
	case !c.committed:
		w.tick()
		c.committed, s.contained = true, c.quantity
	case c.settled.IsZero():
		c.settled = w.tick()
	default:
		s.state.Deliveries = slices.Clone(s.state.Deliveries)
		d := &s.state.Deliveries[last]
		d.Status, d.DeliveredRevision, d.SettledAt = allocation.Delivered, c.revision, c.settled
		s.claimed = nil
		if d.DeliveredRevision < s.state.Revision {
			s.deliver()
		}
		w.publish(s)
	}
}

// accept tells the ledger of a settled claim ahead of the state.
func (w *world) accept(s *sale) {
	if c := s.claimed; c != nil && !c.settled.IsZero() {
		w.ledger.Accept(allocation.Acceptance{Key: s.key, Delivery: c.delivery, Revision: c.revision, SettledAt: c.settled})
	}
}

// step moves the reconciler's cycle: the source's read is issued, answered, the
// channel is read, the target is computed, and written if the channel still shows
// what was read. It returns whether a target was written.
func (w *world) step() bool {
	c := &w.cycle
	c.stage++
	switch c.stage {
	case 1:
		c.issued = w.tick()
	case 2:
		w.tick()
		c.source = w.stock
		for _, s := range w.sales {
			c.source -= s.contained
		}
	case 3:
		c.shown, c.counted = w.available, 0
		for _, s := range w.sales {
			if !s.shop.fulfilled {
				c.counted += s.shop.quantity
			}
		}
	case 4:
		w.compute()
	default:
		// A shop that shows the same figure again may have sold one order and
		// cancelled another since.
		written := w.available == c.shown
		if written {
			c.exposed = max(c.exposed, w.exposed())
			w.available = c.target
		}
		*c = cycle{figures: c.figures, target: c.target, exposed: c.exposed}
		return written
	}
	return false
}

func (w *world) compute() {
	c := &w.cycle
	for _, key := range w.keys(func(s *sale) bool { return len(s.published) > 0 }) {
		w.follow(w.sales[key], false)
	}
	c.figures = allocation.Figures{Available: c.source, Buffer: w.buffer, Committed: w.ledger.Committed("main", c.issued)[sku]}
	c.exposed = w.exposed()
	if w.counts {
		c.figures.Unseen = allocation.Unseen(c.counted, w.ledger.Open("shop", sku))
	}
	c.target = allocation.Target(c.figures)
	w.ledger.Release("main", c.issued)
}

// settle lets everything arrive that is under way, and runs one undisturbed cycle.
func (w *world) settle() {
	for _, key := range w.keys(func(*sale) bool { return true }) {
		s := w.sales[key]
		for len(s.webhooks) > 0 {
			w.hear(s, 0)
		}
		for !s.refused && s.state.Deliveries[len(s.state.Deliveries)-1].Status == allocation.Pending {
			w.dispatch(s)
		}
		if len(s.published) > 0 {
			w.follow(s, false)
		}
	}
	w.cycle = cycle{}
	for !w.step() {
	}
}
