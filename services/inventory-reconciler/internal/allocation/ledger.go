package allocation

import (
	"slices"
	"time"
)

// Ledger keeps what the channels of some pools sold. It holds an order until
// every pool has released it and the shop has fulfilled it. Not safe for
// concurrent use.
type Ledger struct {
	pools map[string]*pool
	// sold are the pools that an order of this channel with this SKU takes from.
	sold    map[item][]*pool
	entries map[string]*entry
	// open is Open, kept up to date.
	open map[item]int64
}

type item struct{ channel, sku string }

type pool struct {
	Pool
	// unreleased are the orders that may still be committed, by key.
	unreleased map[string]*entry
}

// New returns an empty ledger for these pools, whose names differ.
func New(pools []Pool) *Ledger {
	l := &Ledger{pools: map[string]*pool{}, sold: map[item][]*pool{}, entries: map[string]*entry{}, open: map[item]int64{}}
	for _, p := range pools {
		kept := &pool{Pool: p, unreleased: map[string]*entry{}}
		l.pools[p.Name] = kept
		for _, channel := range p.Channels {
			for _, sku := range p.SKUs {
				i := item{channel, sku}
				l.sold[i] = append(l.sold[i], kept)
			}
		}
	}
	return l
}

// Observe takes in an order's newest state. It keeps nothing of o that the caller
// may change.
func (l *Ledger) Observe(o Order) {
	e := l.entries[o.Key]
	if e != nil {
		if o.Version <= e.order.Version {
			return
		}
		l.count(e.order, -1)
		for _, p := range e.pools {
			delete(p.unreleased, o.Key)
		}
	}
	o.Wanted = l.relevant(o)
	o.Deliveries = slices.Clone(o.Deliveries)
	if len(o.Wanted) == 0 || o.Cancelled {
		delete(l.entries, o.Key)
		return
	}
	if e == nil {
		e = &entry{}
		l.entries[o.Key] = e
	}
	e.order = o
	e.remember(o)
	e.applyAccepted()
	l.count(o, 1)
	e.pools = e.pools[:0]
	for sku := range o.Wanted {
		for _, p := range l.sold[item{o.Channel, sku}] {
			if p.unreleased[o.Key] == nil {
				p.unreleased[o.Key] = e
				e.pools = append(e.pools, p)
			}
		}
	}
}

// relevant returns what the order wants of the pools' SKUs.
func (l *Ledger) relevant(o Order) map[string]int64 {
	wanted := map[string]int64{}
	for sku, quantity := range o.Wanted {
		if quantity > 0 && len(l.sold[item{o.Channel, sku}]) > 0 {
			wanted[sku] = min(quantity, MaxUnits)
		}
	}
	return wanted
}

// Acceptance is a delivery's success, as the dispatcher reports it.
type Acceptance struct {
	Key      string
	Delivery string
	// Revision is the order revision that was accepted.
	Revision  int64
	SettledAt time.Time
	// IssuedAt as in Delivery.
	IssuedAt time.Time
}

// Accept takes in an acceptance that the order's state may not show yet, so that
// an order which a read already contains is not subtracted a second time for as
// long as its state takes to follow.
func (l *Ledger) Accept(a Acceptance) {
	e := l.entries[a.Key]
	if e == nil {
		return
	}
	i := slices.IndexFunc(e.order.Deliveries, func(d Delivery) bool { return d.ID == a.Delivery })
	if i < 0 {
		return
	}
	if e.accepted == nil {
		e.accepted, e.issued = map[string]Acceptance{}, map[string]time.Time{}
	}
	e.issued[a.Delivery] = a.IssuedAt
	if e.order.Deliveries[i].Status == Pending {
		e.accepted[a.Delivery] = a
	}
	e.applyAccepted()
}

// applyAccepted closes what was accepted and is pending in the state. Only for
// the newest revision: after an older one the state asks for another delivery,
// and until it does nothing would say that one is on its way.
func (e *entry) applyAccepted() {
	for i := range e.order.Deliveries {
		d := &e.order.Deliveries[i]
		d.IssuedAt = e.issued[d.ID]
		a, ok := e.accepted[d.ID]
		if !ok {
			continue
		}
		if d.Status != Pending {
			delete(e.accepted, d.ID)
			continue
		}
		if a.Revision >= e.order.Revision {
			d.Status, d.DeliveredRevision, d.SettledAt = Delivered, a.Revision, a.SettledAt
		}
	}
}

// Committed returns, by SKU of the pool, the units that its channels sold and
// that a read of its source issued at asOf may not contain: never too few.
func (l *Ledger) Committed(name string, asOf time.Time) map[string]int64 {
	return l.sum(name, surely(asOf), (*entry).committed)
}

// Outstanding returns, by SKU of the pool, the units that its channels sold and
// that a read of its source settled at asOf does not contain: never too many, if
// nothing else was accepted during that read than is known. It is at most
// Committed, and less by what was accepted while the source was read.
func (l *Ledger) Outstanding(name string, asOf time.Time) map[string]int64 {
	return l.sum(name, perhaps(asOf), (*entry).outstanding)
}

func (l *Ledger) sum(name string, in within, units func(*entry, string, held) int64) map[string]int64 {
	p := l.pools[name]
	if p == nil {
		return nil
	}
	sums := make(map[string]int64, len(p.SKUs))
	for _, sku := range p.SKUs {
		sums[sku] = 0
	}
	for _, e := range p.unreleased {
		if !counts(e.order, p.Source) {
			continue
		}
		h := e.contained(p.Source, in)
		for sku := range e.order.Wanted {
			if _, ours := sums[sku]; ours {
				sums[sku] += units(e, sku, h)
			}
		}
	}
	return sums
}

// counts reports whether an order takes stock at all: a test order does only
// where a flow sends it to the source.
func counts(o Order, source string) bool {
	return !o.Test || routed(o, source)
}

func routed(o Order, source string) bool {
	for _, d := range o.Deliveries {
		if d.Connector == source && d.Status != Closed {
			return true
		}
	}
	return false
}

// Release forgets what a read of the pool's source issued at asOf contains. The
// pool's later reads must be issued later.
func (l *Ledger) Release(name string, asOf time.Time) {
	p := l.pools[name]
	if p == nil {
		return
	}
	for key, e := range p.unreleased {
		if e.released(e.contained(p.Source, surely(asOf))) {
			delete(p.unreleased, key)
			l.drop(e)
		}
	}
}

// drop forgets an order that no pool counts and that the shop has done with.
// Until then a released order is kept: its next revision needs to know what the
// source contains already.
func (l *Ledger) drop(e *entry) {
	if !e.order.Fulfilled {
		return
	}
	for _, p := range e.pools {
		if p.unreleased[e.order.Key] != nil {
			return
		}
	}
	delete(l.entries, e.order.Key)
}

// Open returns the units of sku in the channel's orders that are neither
// fulfilled nor cancelled, as far as the engine knows.
func (l *Ledger) Open(channel, sku string) int64 {
	return l.open[item{channel, sku}]
}

func (l *Ledger) count(o Order, sign int64) {
	if o.Fulfilled {
		return
	}
	for sku, quantity := range o.Wanted {
		i := item{o.Channel, sku}
		l.open[i] += sign * quantity
		if l.open[i] == 0 {
			delete(l.open, i)
		}
	}
}

// Unrouted returns how many of the pool's orders no flow sends to its source:
// their units are held back until one does.
func (l *Ledger) Unrouted(name string) int {
	n := 0
	if p := l.pools[name]; p != nil {
		for _, e := range p.unreleased {
			if !e.order.Test && !routed(e.order, p.Source) {
				n++
			}
		}
	}
	return n
}

// Len returns how many orders are held.
func (l *Ledger) Len() int { return len(l.entries) }
