package allocation_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/inventory-reconciler/internal/allocation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)

// at is a moment of the dispatcher's clock, in seconds after noon.
func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func pool(name string, channels ...string) allocation.Pool {
	return allocation.Pool{Name: name, Source: "erp", Channels: channels, SKUs: []string{"MUG", "CUP"}}
}

func pending(id string, revision int64) allocation.Delivery {
	return allocation.Delivery{ID: id, Step: "fulfil/erp", Connector: "erp", Asked: revision, Revision: revision}
}

func delivered(id string, asked, revision int64, settled int) allocation.Delivery {
	d := pending(id, asked)
	d.Status, d.DeliveredRevision, d.SettledAt = allocation.Delivered, revision, at(settled)
	return d
}

func closed(d allocation.Delivery) allocation.Delivery { d.Status = allocation.Closed; return d }

func joined(d allocation.Delivery, revision int64) allocation.Delivery {
	d.Revision = revision
	return d
}

func step(name string, d allocation.Delivery) allocation.Delivery { d.Step = name; return d }

func to(connector string, d allocation.Delivery) allocation.Delivery {
	d.Connector = connector
	return d
}

// order is revision of order 1 with so many MUGs.
func order(revision, mugs int64, deliveries ...allocation.Delivery) allocation.Order {
	return allocation.Order{
		Key: "shop_1", Channel: "shop", Revision: revision,
		Wanted: map[string]int64{"MUG": mugs, "NOT-OURS": 7}, Deliveries: deliveries,
	}
}

func with(o allocation.Order, edit func(*allocation.Order)) allocation.Order { edit(&o); return o }

func cancelled(o *allocation.Order) { o.Cancelled = true }
func fulfilled(o *allocation.Order) { o.Fulfilled = true }
func test(o *allocation.Order)      { o.Test = true }

func TestCommitted(t *testing.T) {
	for name, c := range map[string]struct {
		states []allocation.Order
		// asOf is when the read was issued.
		asOf int
		want int64
	}{
		"an order that no flow has sent yet counts": {[]allocation.Order{order(1, 3)}, 10, 3},
		"a queued one counts":                       {[]allocation.Order{order(1, 3, pending("a", 1))}, 10, 3},
		"one accepted before the read was issued does not": {
			[]allocation.Order{order(1, 3, delivered("a", 1, 1, 9))}, 10, 0},
		"one accepted in the very moment of the issue does": {
			[]allocation.Order{order(1, 3, delivered("a", 1, 1, 10))}, 10, 3},
		"one accepted after the issue does, though the reply may contain it": {
			[]allocation.Order{order(1, 3, delivered("a", 1, 1, 11))}, 10, 3},
		"acceptance by another system is none": {
			[]allocation.Order{order(1, 3, to("wms", delivered("w", 1, 1, 5)), pending("a", 1))}, 10, 3},
		"a delivery that was never sent is none": {
			[]allocation.Order{order(1, 3, closed(pending("a", 1)))}, 10, 3},
		"a customer record alone is none": {
			[]allocation.Order{order(1, 3, step("f/customer", delivered("c", 1, 1, 5)), step("f/order", pending("o", 1)))}, 10, 3},
		"customer and order are": {
			[]allocation.Order{order(1, 3, step("f/customer", delivered("c", 1, 1, 5)), step("f/order", delivered("o", 1, 1, 6)))}, 10, 0},
		"nor does an edit that joins the waiting order make it one": {
			[]allocation.Order{
				order(1, 3, step("f/customer", delivered("c", 1, 1, 5)), step("f/order", pending("o", 1))),
				order(2, 4, step("f/customer", delivered("c", 1, 1, 5)), step("f/order", joined(pending("o", 1), 2)), step("f/customer", pending("c2", 2)))}, 10, 4},
		"a step that was skipped is not waited for": {
			[]allocation.Order{order(1, 3, step("f/gift", closed(pending("g", 1))), step("f/order", delivered("o", 1, 1, 6)))}, 10, 0},
		"a payment that is on its way takes no stock": {
			[]allocation.Order{
				order(1, 3, delivered("a", 1, 1, 5)),
				order(2, 3, delivered("a", 1, 1, 5), step("pay/erp", pending("p", 2)))}, 10, 0},
		"a cancelled order does not count": {
			[]allocation.Order{order(1, 3, pending("a", 1)), with(order(2, 3, pending("a", 1)), cancelled)}, 10, 0},
		"an edit upwards counts the difference": {
			[]allocation.Order{
				order(1, 3, delivered("a", 1, 1, 5)),
				order(2, 5, delivered("a", 1, 1, 5), pending("b", 2))}, 10, 2},
		"until it is accepted": {
			[]allocation.Order{
				order(1, 3, delivered("a", 1, 1, 5)),
				order(2, 5, delivered("a", 1, 1, 5), delivered("b", 2, 2, 7))}, 10, 0},
		"and the read was issued after that": {
			[]allocation.Order{
				order(1, 3, delivered("a", 1, 1, 5)),
				order(2, 5, delivered("a", 1, 1, 5), delivered("b", 2, 2, 12))}, 10, 2},
		"an edit downwards counts nothing": {
			[]allocation.Order{
				order(1, 3, delivered("a", 1, 1, 5)),
				order(2, 1, delivered("a", 1, 1, 5), pending("b", 2))}, 10, 0},
		"down and up again counts from the lowest, which may be what the read contains": {
			[]allocation.Order{
				order(1, 5, delivered("a", 1, 1, 5)),
				order(2, 3, delivered("a", 1, 1, 5), pending("b", 2)),
				order(3, 8, delivered("a", 1, 1, 5), pending("b", 2))}, 10, 5},
		"an edit of which the older revision was not seen counts whole": {
			[]allocation.Order{order(2, 5, delivered("a", 1, 1, 5), pending("b", 2))}, 10, 5},
		"so does one with a revision missing between": {
			[]allocation.Order{
				order(1, 5, delivered("a", 1, 1, 5)),
				order(3, 6, delivered("a", 1, 1, 5), pending("b", 2))}, 10, 6},
		"a revision that no flow sends counts nothing": {
			[]allocation.Order{order(4, 5, delivered("a", 1, 1, 5))}, 10, 0},
		"late binding: the first delivery took the second revision along": {
			[]allocation.Order{order(2, 5, delivered("a", 1, 2, 5))}, 10, 0},
		"a removed line does not count": {
			[]allocation.Order{order(1, 3, pending("a", 1)), order(2, 0, pending("a", 1))}, 10, 0},
		"a test order that no flow sends does not count": {
			[]allocation.Order{with(order(1, 3), test)}, 10, 0},
		"a test order that a flow sends does": {
			[]allocation.Order{with(order(1, 3, pending("a", 1)), test)}, 10, 3},
		"a fulfilled order that the source never got counts: the goods are gone": {
			[]allocation.Order{with(order(1, 3, pending("a", 1)), fulfilled)}, 10, 3},
		"a change of a fulfilled order that the source has takes no more goods": {
			[]allocation.Order{with(order(2, 3, delivered("a", 1, 1, 5), pending("b", 2)), fulfilled)}, 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := allocation.New([]allocation.Pool{pool("main", "shop")})
			for i, state := range c.states {
				state.Version = uint64(i + 1)
				l.Observe(state)
			}
			if got := l.Committed("main", at(c.asOf))["MUG"]; got != c.want {
				t.Errorf("committed %d, want %d", got, c.want)
			}
		})
	}
}

func TestAnOlderStateChangesNothing(t *testing.T) {
	l := allocation.New([]allocation.Pool{pool("main", "shop")})
	l.Observe(with(order(1, 3, delivered("a", 1, 1, 5)), func(o *allocation.Order) { o.Version = 9 }))
	l.Observe(with(order(1, 3, pending("a", 1)), func(o *allocation.Order) { o.Version = 8 }))
	if got := l.Committed("main", at(10))["MUG"]; got != 0 {
		t.Errorf("committed %d after an older state, want 0", got)
	}
}

func TestAcceptanceIsKnownBeforeTheStateShowsIt(t *testing.T) {
	version := uint64(0)
	observe := func(l *allocation.Ledger, o allocation.Order) {
		version++
		o.Version = version
		l.Observe(o)
	}
	check := func(l *allocation.Ledger, want int64) {
		t.Helper()
		if got := l.Committed("main", at(10))["MUG"]; got != want {
			t.Errorf("committed %d, want %d", got, want)
		}
	}
	l := allocation.New([]allocation.Pool{pool("main", "shop")})
	observe(l, order(1, 3, pending("a", 1)))
	l.Accept(allocation.Acceptance{Key: "shop_1", Delivery: "a", Revision: 1, SettledAt: at(5)})
	l.Accept(allocation.Acceptance{Key: "shop_2", Delivery: "a", Revision: 1, SettledAt: at(5)})
	check(l, 0)
	// The state moves on, and still does not show it.
	observe(l, order(1, 3, pending("a", 1)))
	check(l, 0)
	// An edit came in before the close: nothing says yet that its own delivery
	// will follow, so all of it counts.
	observe(l, order(2, 5, pending("a", 1)))
	check(l, 5)
	observe(l, order(2, 5, delivered("a", 1, 1, 5), pending("b", 2)))
	check(l, 2)
	l.Accept(allocation.Acceptance{Key: "shop_1", Delivery: "b", Revision: 2, SettledAt: at(7)})
	check(l, 0)
}

func TestSumsDoNotOverflow(t *testing.T) {
	l := allocation.New([]allocation.Pool{pool("mugs", "shop")})
	for i := range 100 {
		l.Observe(with(order(1, math.MaxInt64), func(o *allocation.Order) { o.Key = fmt.Sprint("shop_", i) }))
	}
	if got, want := l.Committed("mugs", noon)["MUG"], int64(100*allocation.MaxUnits); got != want {
		t.Errorf("committed %d, want %d", got, want)
	}
	if got := l.Open("shop", "MUG"); got < 0 {
		t.Errorf("open %d", got)
	}
}

func TestPoolsCountApart(t *testing.T) {
	other := allocation.Pool{Name: "other", Source: "erp-2", Channels: []string{"shop"}, SKUs: []string{"MUG"}}
	l := allocation.New([]allocation.Pool{pool("main", "shop", "outlet"), other})
	l.Observe(with(order(1, 3, delivered("a", 1, 1, 5)), func(o *allocation.Order) { o.Version = 1 }))
	l.Observe(allocation.Order{Key: "outlet_1", Channel: "outlet", Version: 1, Revision: 1, Wanted: map[string]int64{"MUG": 2, "CUP": 1}})
	l.Observe(allocation.Order{Key: "else_1", Channel: "else", Version: 1, Revision: 1, Wanted: map[string]int64{"MUG": 2}})
	if got := l.Committed("main", at(10)); got["MUG"] != 2 || got["CUP"] != 1 {
		t.Errorf("main: committed %v, want the outlet's 2 and 1", got)
	}
	if got := l.Committed("other", at(10))["MUG"]; got != 3 {
		t.Errorf("other: committed %d, want 3: its own source has not accepted", got)
	}
	if mug, outlet := l.Open("shop", "MUG"), l.Open("outlet", "MUG"); mug != 3 || outlet != 2 {
		t.Errorf("open %d and %d, want 3 and 2", mug, outlet)
	}
	if main, others := l.Unrouted("main"), l.Unrouted("other"); main != 1 || others != 1 {
		t.Errorf("unrouted %d and %d, want 1 and 1", main, others)
	}
	if l.Len() != 2 {
		t.Errorf("%d orders held, want 2", l.Len())
	}
}

func TestAnOrderIsForgottenWhenEverybodyIsDoneWithIt(t *testing.T) {
	second := pool("second", "shop")
	l := allocation.New([]allocation.Pool{pool("main", "shop"), second})
	observe := func(version uint64, o allocation.Order) {
		o.Version = version
		l.Observe(o)
	}
	observe(1, order(1, 3, delivered("a", 1, 1, 5)))
	l.Release("main", at(5))
	observe(2, with(order(2, 3, delivered("a", 1, 1, 5)), fulfilled))
	if open := l.Open("shop", "MUG"); open != 0 {
		t.Errorf("%d open after fulfillment", open)
	}
	l.Release("main", at(6))
	if l.Len() != 1 {
		t.Fatal("forgotten before the second pool read its source")
	}
	l.Release("second", at(6))
	if l.Len() != 0 {
		t.Error("kept though released by both pools and fulfilled")
	}
	observe(3, order(1, 3, pending("a", 1)))
	observe(4, with(order(2, 3, pending("a", 1)), cancelled))
	if l.Len() != 0 || l.Open("shop", "MUG") != 0 {
		t.Error("a cancelled order is kept")
	}
}

func TestAReleasedOrderIsKeptForItsNextRevision(t *testing.T) {
	l := allocation.New([]allocation.Pool{pool("main", "shop")})
	l.Observe(with(order(1, 3, delivered("a", 1, 1, 5)), func(o *allocation.Order) { o.Version = 1 }))
	l.Release("main", at(9))
	l.Observe(with(order(2, 4, delivered("a", 1, 1, 5), pending("b", 2)), func(o *allocation.Order) { o.Version = 2 }))
	if got := l.Committed("main", at(10))["MUG"]; got != 1 {
		t.Errorf("committed %d, want the difference of 1", got)
	}
}

func TestTarget(t *testing.T) {
	for name, c := range map[string]struct {
		figures allocation.Figures
		want    int64
	}{
		"what is there less what is owed":        {allocation.Figures{Available: 100, Buffer: 5, Committed: 20, Unseen: 3}, 72},
		"never below zero":                       {allocation.Figures{Available: 10, Committed: 20}, 0},
		"an oversold source shows nothing":       {allocation.Figures{Available: -4}, 0},
		"the last unit is shown":                 {allocation.Figures{Available: 8, Buffer: 2, Committed: 5}, 1},
		"orders that fill the buffer leave zero": {allocation.Figures{Available: 8, Buffer: 2, Committed: 6}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := allocation.Target(c.figures); got != c.want {
				t.Errorf("target %d, want %d", got, c.want)
			}
		})
	}
	if allocation.Unseen(7, 5) != 2 || allocation.Unseen(5, 7) != 0 {
		t.Error("unseen is what the shop counts beyond what is known, never below zero")
	}
}
