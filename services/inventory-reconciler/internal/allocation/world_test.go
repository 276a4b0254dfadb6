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
	// followed is the newest state that the ledger has read; gap: not all before.
	followed allocation.Order
	gap      bool
	// claimed is what the dispatcher sent, claims are all that it ever sent, and
	// contained is what took effect at the source.
	claimed   *claim
	claims    []*claim
	contained int64
}

type claim struct {
	delivery  string
	revision  int64
	quantity  int64
	committed bool
	issued    time.Time
	settled   time.Time
	// known: the ledger was told of the settlement.
	known bool
}

// source is one read of the source: what it answered, and the claims that had
// taken effect by then.
type source struct {
	issued, settled time.Time
	// stock is the world's as of the answer.
	stock, available int64
	claims           []*claim
}

// heard reports whether the ledger knows by now of all that the read contains.
func (s *source) heard() bool {
	return s != nil && !slices.ContainsFunc(s.claims, func(c *claim) bool { return !c.known })
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

// has reports whether a claim is in the read.
func (s *source) has(claims []*claim) bool {
	return s != nil && slices.ContainsFunc(claims, func(c *claim) bool { return slices.Contains(s.claims, c) })
}

// cycle is the reconciler's one cycle under way.
type cycle struct {
	stage int
	// source is the newest read, before the one before it, nil after a restart.
	source, before *source
	// shown, counted and known are as of the channel's read.
	shown, counted, known int64
	evidence              allocation.Evidence
	figures               allocation.Figures
	// target is what is to be shown.
	target  int64
	exposed int64
	// heard is what the engine knew of each sale when it computed.
	heard map[string]int64
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
	// Heard of since it was computed is too late.
	for key, s := range w.sales {
		if known := w.cycle.heard[key]; known < s.state.Wanted[sku] && !s.state.Cancelled {
			sold += max(0, min(s.shop.quantity, s.state.Wanted[sku])-known)
		}
	}
	return sold
}

// counted is what the shop says about its open orders.
func (w *world) counted() int64 {
	counted := int64(0)
	for _, s := range w.sales {
		if !s.shop.fulfilled {
			counted += s.shop.quantity
		}
	}
	return counted
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
		s.gap = s.gap || state.Revision > s.followed.Revision+1
		s.followed = state
	}
	s.published = nil
	for _, c := range s.claims {
		i := slices.IndexFunc(s.followed.Deliveries, func(d allocation.Delivery) bool { return d.ID == c.delivery })
		if i < 0 {
			continue
		}
		// An acceptance ahead of the state counts for the newest revision only.
		delivered := s.followed.Deliveries[i].Status == allocation.Delivered
		c.known = delivered || c.known && c.revision >= s.followed.Revision
	}
}

// restart forgets everything but the streams.
func (w *world) restart() {
	w.ledger, w.cycle = newLedger(), cycle{}
	for _, key := range w.keys(func(s *sale) bool { return s.state.Revision > 0 }) {
		s := w.sales[key]
		for _, c := range s.claims {
			c.known = false
		}
		s.published, s.followed = []allocation.Order{s.state}, allocation.Order{}
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
		s.claimed = &claim{delivery: s.state.Deliveries[last].ID, revision: s.state.Revision, quantity: s.state.Wanted[sku], issued: w.tick()}
		s.claims = append(s.claims, s.claimed)
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
		w.ledger.Accept(allocation.Acceptance{Key: s.key, Delivery: c.delivery, Revision: c.revision, SettledAt: c.settled, IssuedAt: c.issued})
		// The ledger takes it in only where it knows of the delivery.
		c.known = c.revision >= s.followed.Revision &&
			slices.ContainsFunc(s.followed.Deliveries, func(d allocation.Delivery) bool { return d.ID == c.delivery })
	}
}

// step moves the reconciler's cycle: the source's read is issued, answered, the
// channel is read, it is decided what it is to show, and that is written if the
// channel still shows what was read. It returns whether the figure was changed.
func (w *world) step() bool {
	c := &w.cycle
	c.stage++
	switch c.stage {
	case 1:
		c.before, c.source = c.source, &source{issued: w.tick()}
	case 2:
		w.tick()
		c.source.stock, c.source.available = w.stock, w.stock
		for _, s := range w.sales {
			c.source.available -= s.contained
			for _, claim := range s.claims {
				if claim.committed {
					c.source.claims = append(c.source.claims, claim)
				}
			}
		}
		c.source.settled = w.tick()
	case 3:
		c.shown, c.counted, c.known = w.available, w.counted(), w.ledger.Open("shop", sku)
	case 4:
		w.compute()
	default:
		c.stage = 0
		// A shop that shows the same figure again may have sold one order and
		// cancelled another since.
		written := w.available == c.shown && c.target != c.shown
		if written {
			c.exposed = max(c.exposed, w.exposed())
			w.available = c.target
		}
		return written
	}
	return false
}

func (w *world) compute() {
	c := &w.cycle
	for _, key := range w.keys(func(s *sale) bool { return len(s.published) > 0 }) {
		w.follow(w.sales[key], false)
	}
	c.figures = allocation.Figures{Available: c.source.available, Buffer: w.buffer, Committed: w.ledger.Committed("main", c.source.issued)[sku]}
	c.heard = map[string]int64{}
	for key, s := range w.sales {
		if c.heard[key] = s.state.Wanted[sku]; s.state.Cancelled {
			c.heard[key] = 0
		}
	}
	c.exposed = w.exposed()
	most := c.figures
	if w.counts {
		known := w.ledger.Open("shop", sku)
		c.figures.Unseen = allocation.Unseen(c.counted, known)
		most.Unseen = allocation.Unseen(c.counted, max(c.known, known))
	}
	most.Committed = w.ledger.Outstanding("main", c.source.settled)[sku]
	c.evidence = allocation.Evidence{Least: allocation.Free(c.figures), Most: allocation.Free(most)}
	if c.before != nil {
		most.Available, most.Committed = c.before.available, w.ledger.Outstanding("main", c.before.settled)[sku]
		c.evidence.Before, c.evidence.HasBefore = allocation.Free(most), true
		w.ledger.Release("main", c.before.issued)
	}
	c.target, _ = allocation.Decide(c.shown, c.evidence)
}

// settle lets everything arrive that is under way, and runs undisturbed cycles.
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
	// A read may be under way; then it takes two more to lower what is shown.
	for range 3 {
		w.cycle.stage = 0
		for w.step(); w.cycle.stage > 0; w.step() {
		}
	}
}
