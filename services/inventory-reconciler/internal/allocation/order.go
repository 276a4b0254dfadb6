package allocation

import (
	"maps"
	"math"
	"slices"
	"time"
)

// Order is what the ledger needs to know of an order's state.
type Order struct {
	Key string
	// Channel is the connector that sold it.
	Channel string
	// Version grows with each state of this order (the stream's sequence); an
	// older one than is known changes nothing.
	Version uint64
	// Revision is the order revision of Wanted.
	Revision int64
	// Wanted is what the customer is still to get, by SKU.
	Wanted map[string]int64
	// Cancelled: nothing is wanted any more.
	Cancelled bool
	// Fulfilled: the shop no longer counts it among its open orders.
	Fulfilled bool
	// Test: the shop marked it as a test; it takes stock only where a flow sends
	// it to the source.
	Test       bool
	Deliveries []Delivery
}

// Status is where a delivery stands.
type Status int

const (
	// Pending: may be accepted yet, or has been and nobody knows (waiting, open,
	// held, in doubt).
	Pending Status = iota
	// Delivered: accepted.
	Delivered
	// Closed: will never be sent (superseded, skipped).
	Closed
)

// Delivery is one step of a flow for the order.
type Delivery struct {
	ID string
	// Step names the flow and its step.
	Step      string
	Connector string
	// Asked is the order revision that first asked for it, Revision the newest
	// one that it is to deliver: while a delivery waits, later edits join it.
	Asked, Revision int64
	Status          Status
	// DeliveredRevision is the order revision that the connector accepted.
	DeliveredRevision int64
	// SettledAt is when the reply was in, by the dispatcher's clock.
	SettledAt time.Time
	// IssuedAt is when the only attempt at it began; zero where nobody knows, or
	// an earlier attempt may have had its effect already.
	IssuedAt time.Time
}

// span is a run of revisions that wanted the same.
type span struct {
	from, to int64
	wanted   map[string]int64
}

// entry is an order in the ledger.
type entry struct {
	order Order
	// pools are those that it takes from.
	pools []*pool
	// seen are the spans of revisions that were seen, oldest first.
	seen []span
	// accepted are acceptances that the state may not show yet.
	accepted map[string]Acceptance
	// issued keeps Acceptance.IssuedAt, which no state has.
	issued map[string]time.Time
}

// held is what a read of a source is taken to contain of an order.
type held struct {
	// revision is the one that it contains, 0 where there is none.
	revision int64
	// newer: it may contain a newer one, or one is on its way.
	newer bool
}

// contained returns what a read of source contains of the order, if it contains
// the deliveries that in says.
//
// The steps that were asked for first, together, make the order known to the
// source: a customer record alone lowers no stock, so all of them count. Steps
// that joined later (a payment, a note) say nothing about stock and only matter
// as a newer revision on its way.
func (e *entry) contained(source string, in within) held {
	first := int64(math.MaxInt64)
	for _, d := range e.order.Deliveries {
		if d.Connector == source && d.Status != Closed {
			first = min(first, d.Asked)
		}
	}
	if first == math.MaxInt64 {
		return held{newer: true}
	}
	h := held{revision: e.oldest(source, first, in)}
	if h.revision == 0 {
		return held{newer: true}
	}
	for _, d := range e.order.Deliveries {
		if d.Connector == source {
			h.newer = h.newer || d.newerThan(h.revision, in)
		}
	}
	return h
}

// oldest returns the oldest revision among what the steps that were first asked
// for at this revision have delivered into the read, 0 where one has not.
func (e *entry) oldest(source string, first int64, in within) int64 {
	steps := map[string]int64{}
	for _, d := range e.order.Deliveries {
		if d.Connector == source && d.Status != Closed && d.Asked == first {
			steps[d.Step] = 0
		}
	}
	for _, d := range e.order.Deliveries {
		newest, needed := steps[d.Step]
		if d.Connector == source && needed && in(d) {
			steps[d.Step] = max(newest, d.DeliveredRevision)
		}
	}
	oldest := int64(math.MaxInt64)
	for _, newest := range steps {
		oldest = min(oldest, newest)
	}
	return oldest
}

// newerThan reports whether a newer revision may be in the read by this delivery,
// or is on its way.
func (d Delivery) newerThan(revision int64, in within) bool {
	switch d.Status {
	case Pending:
		return d.Revision > revision
	case Delivered:
		return d.DeliveredRevision > revision && !in(d)
	default:
		return false
	}
}

// within says which deliveries a read contains.
type within func(Delivery) bool

// surely is what a read issued at asOf contains for certain: the acceptance was
// over before the read began. Both times are of one clock, the dispatcher's; at
// the same instant nothing is certain.
func surely(asOf time.Time) within {
	return func(d Delivery) bool {
		return d.Status == Delivered && !d.SettledAt.IsZero() && d.SettledAt.Before(asOf)
	}
}

// perhaps is what a read settled at asOf may contain: the acceptance had begun
// before the read was over.
func perhaps(asOf time.Time) within {
	return func(d Delivery) bool { return d.Status == Delivered && !d.IssuedAt.After(asOf) }
}

// committed returns the units of sku that the customer is to get and that the
// source, holding h, may not contain.
//
// Where the source holds an older revision and a newer one is on its way, the
// difference counts, upwards only: the read may contain any revision from the
// one that it certainly holds up to the newest, so the smallest of them is what
// it contains for certain. Where no newer one is on its way, the source has what
// the flows mean it to have, and nothing counts: a change that no flow sends
// would never be released.
//
// The state keeps only the newest revision, so after a restart the older ones
// are gone. Then the order counts whole until the newer revision is in, unless
// it is fulfilled: its goods are out of the house and the source knows of it;
// what still changes, such as a refund, takes no more of them, and a source that
// refuses to change a closed order would hold them back for ever.
func (e *entry) committed(sku string, h held) int64 {
	wanted := e.order.Wanted[sku]
	if h.revision == 0 {
		return wanted
	}
	if !h.newer {
		return 0
	}
	least, _, known := e.bounds(sku, h.revision)
	if !known {
		if e.order.Fulfilled {
			return 0
		}
		return wanted
	}
	return wanted - least
}

// released reports whether nothing of the order will count in any later read of
// the same source, unless its state changes.
func (e *entry) released(h held) bool {
	if h.revision == 0 || h.newer && !e.order.Fulfilled {
		return false
	}
	for sku := range e.order.Wanted {
		if e.committed(sku, h) > 0 {
			return false
		}
	}
	return true
}

// outstanding returns the units of sku that the customer is to get and that the
// source does not contain, were the read to contain as much of the order as it may.
// It is below zero where the source holds more than is wanted any more, and a newer
// revision that gives it back is on its way.
func (e *entry) outstanding(sku string, h held) int64 {
	wanted := e.order.Wanted[sku]
	switch {
	case h.revision == 0:
		return wanted
	case !h.newer:
		return 0
	}
	_, most, known := e.bounds(sku, h.revision)
	if !known {
		return 0
	}
	return wanted - most
}

// bounds returns the smallest and the largest quantity of sku in the revisions from
// the given one to the newest, and whether all of them were seen.
func (e *entry) bounds(sku string, from int64) (least, most int64, known bool) {
	least = e.order.Wanted[sku]
	most = least
	next := e.order.Revision
	for _, s := range slices.Backward(e.seen) {
		if s.to < next {
			return 0, 0, false
		}
		least, most = min(least, s.wanted[sku]), max(most, s.wanted[sku])
		if s.from <= from {
			return least, most, true
		}
		next = s.from - 1
	}
	return 0, 0, false
}

// remember adds the newest revision to the spans; bounded, for an order that is
// edited for ever must not grow for ever.
func (e *entry) remember(o Order) {
	const limit = 32
	if n := len(e.seen); n > 0 {
		last := &e.seen[n-1]
		if o.Revision <= last.to {
			return
		}
		if o.Revision == last.to+1 && maps.Equal(last.wanted, o.Wanted) {
			last.to = o.Revision
			return
		}
	}
	e.seen = append(e.seen, span{from: o.Revision, to: o.Revision, wanted: o.Wanted})
	if len(e.seen) > limit {
		e.seen = slices.Delete(e.seen, 0, len(e.seen)-limit)
	}
}
