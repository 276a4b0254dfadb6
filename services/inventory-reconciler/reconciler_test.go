package inventoryreconciler

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

func TestAReceiptIsShown(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	w.readings("shop", 3)
	w.receive(5)
	w.inStep()
	if written := w.written("shop"); !slices.Equal(written, []int64{25}) {
		t.Errorf("written %v, want 25 once", written)
	}
}

func TestNothingIsWrittenWhereTheShopIsRight(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	// The shop takes off what it sells; the source learns of it later. Through
	// all of it the shop is right.
	first, second := w.sold("shop", 3), w.sold("shop", 4)
	w.readings("shop", 3)
	w.hear(first)
	w.hear(second)
	w.readings("shop", 3)
	w.accept(first)
	w.readings("shop", 3)
	w.accept(second)
	w.readings("shop", 3)
	if written := w.written("shop"); len(written) > 0 {
		t.Errorf("written %v", written)
	}
	w.inStep()
}

func TestAHeldOrderStaysSubtracted(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	held := w.sold("shop", 2)
	w.hear(held)
	w.readings("shop", 2)
	held.state.Deliveries[0].Status = orderv1.DeliveryStatus_DELIVERY_STATUS_HELD
	w.hear(held)
	for range 3 {
		s := w.sold("shop", 1)
		w.hear(s)
		w.accept(s)
	}
	w.receive(10)
	w.inStep()
	w.readings("shop", 3)
	w.eventually("the held order's units", func() bool { return w.shops["shop"].available[mug] == 25 && w.erp[mug] == 27 })
	// Released by a person, it is in the source, and nothing changes at the shop.
	w.accept(held)
	w.readings("shop", 3)
	w.eventually("the same figure", func() bool { return w.shops["shop"].available[mug] == 25 && w.erp[mug] == 25 })
}

func TestACancelledOrderIsForSaleAgain(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	s := w.sold("shop", 2)
	w.hear(s)
	w.readings("shop", 2)
	w.cancel(s)
	w.hear(s)
	w.readings("shop", 3)
	w.inStep()
	if shown := w.shops["shop"].available[mug]; shown != 20 {
		t.Errorf("%d shown, want 20", shown)
	}
}

// The shop has sold what the engine has not heard of: a receipt must not give
// that back.
func TestWhatIsNotHeardOfIsNotGivenBack(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	w.readings("shop", 1)
	late := w.sold("shop", 6)
	w.receive(5)
	w.eventually("the receipt", func() bool { return w.shops["shop"].available[mug] == 19 })
	w.readings("shop", 3)
	w.hear(late)
	w.accept(late)
	w.readings("shop", 3)
	w.inStep()
}

// What an unreadable state has promised nobody knows: nothing is raised, until
// there is a state again.
func TestNothingIsRaisedBesideAnOrderThatCannotBeRead(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	damaged := w.sold("shop", 2)
	subject := bus.OrderStateSubject(damaged.state.GetKey())
	if _, err := w.bus.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte("\xff\xff")}); err != nil {
		t.Fatal(err)
	}
	w.readings("shop", 1)
	w.receive(5)
	w.readings("shop", 4)
	if written := w.written("shop"); len(written) > 0 {
		t.Errorf("written %v beside an order that nobody can read", written)
	}
	w.hear(damaged)
	w.inStep()
}

func TestOrdersThatNoFlowSendsToTheSourceAreWorthALine(t *testing.T) {
	var out strings.Builder
	u := unrouted{log: slog.New(slog.NewTextHandler(&out, nil))}
	start := time.Now()
	for _, step := range []struct {
		after         time.Duration
		orders, lines int
	}{{0, 2, 0}, {time.Minute, 3, 0}, {61 * time.Second, 3, 1}, {time.Hour, 4, 1}, {2 * time.Hour, 0, 1}, {3 * time.Hour, 1, 1}, {4 * time.Hour, 1, 2}} {
		u.report(t.Context(), step.orders, start.Add(step.after))
		if lines := strings.Count(out.String(), "\n"); lines != step.lines {
			t.Errorf("after %v: %d lines, want %d:\n%s", step.after, lines, step.lines, &out)
		}
	}
}

// A sale of such a shop that the engine has not heard of may be given back (ADR 7):
// no call is made at the shop between the sale and its order.
func TestAShopThatDoesNotCountIsKeptInStep(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.shops["shop"].counts = false
	w.start()
	for range 5 {
		w.change(func() { w.accounts["shop"].down = true })
		s := w.sold("shop", 1)
		w.hear(s)
		w.change(func() { w.accounts["shop"].down = false })
		w.receive(1)
		w.accept(s)
	}
	w.inStep()
}

func TestUnitsThatVanishAtTheSourceAreTakenOffSale(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	w.readings("shop", 2)
	w.change(func() {
		w.judged = false
		w.received[mug], w.erp[mug] = 8, 8
	})
	w.inStep()
	if written := w.written("shop"); !slices.Equal(written, []int64{8}) {
		t.Errorf("written %v, want 8 once", written)
	}
}

func TestAConflictIsReadAgain(t *testing.T) {
	w := newWorld(t, 20, "shop")
	sales := make(chan *sale, 4)
	w.change(func() {
		// There is one reading only: what is read again is the shop.
		w.accounts["erp"].called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
			result := w.call(w.accounts["erp"], d)
			w.change(func() { w.accounts["erp"].down = true })
			return result
		}
		// Somebody buys between the read and each of the first writes.
		w.accounts["shop"].called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
			if d.GetOperation() == connectors.OperationSetStock && len(sales) < cap(sales) {
				sales <- w.sell("shop", 1)
			}
			return nil
		}
	})
	w.receive(5)
	w.start()
	w.inStep()
	w.eventually("conflicts", func() bool { return w.accounts["shop"].conflicts == cap(sales) && w.accounts["erp"].reads == 1 })
	if written := w.written("shop"); !slices.Equal(written, []int64{21}) {
		t.Errorf("written %v, want 21 once", written)
	}
	w.change(func() { w.accounts["erp"].called, w.accounts["erp"].down = nil, false })
	for range cap(sales) {
		s := <-sales
		w.hear(s)
		w.accept(s)
	}
	w.readings("shop", 3)
	w.inStep()
}

func TestAnOutageOfTheSourceIsAPause(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	w.readings("shop", 2)
	w.change(func() { w.accounts["erp"].down = true })
	s := w.sold("shop", 3)
	w.hear(s)
	w.receive(7)
	// Ten times as long as a reading takes.
	pause(t, 10*readEvery)
	w.eventually("one question that waits", func() bool { return w.accounts["erp"].outstanding == 1 })
	if written := w.written("shop"); len(written) > 0 {
		t.Errorf("written %v of an old reading", written)
	}
	w.change(func() { w.accounts["erp"].down = false })
	w.inStep()
	w.accept(s)
	w.readings("shop", 3)
	w.inStep()
	w.eventually("at most one question", func() bool { return w.accounts["erp"].most == 1 && w.accounts["shop"].most == 1 })
}

// While the dispatcher itself is away nothing piles up.
func TestOneQuestionWaitsForTheDispatcher(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.start()
	w.readings("shop", 1)
	w.change(func() { w.accounts["erp"].away, w.accounts["shop"].away = true, true })
	w.receive(7)
	pause(t, 10*readEvery)
	w.change(func() { w.accounts["erp"].away, w.accounts["shop"].away = false, false })
	w.inStep()
	w.eventually("at most one question", func() bool { return w.accounts["erp"].most == 1 && w.accounts["shop"].most == 1 })
}

func TestWhatExpiresIsAskedAgain(t *testing.T) {
	w := newWorld(t, 20, "shop")
	expired := 0
	w.change(func() {
		w.accounts["erp"].called = func(*dispatchv1.Delivery) *dispatchv1.Result {
			w.mu.Lock()
			defer w.mu.Unlock()
			if expired++; expired <= 3 {
				return &dispatchv1.Result{Outcome: dispatchv1.Outcome_OUTCOME_EXPIRED}
			}
			return nil
		}
	})
	w.start()
	w.receive(7)
	w.inStep()
	w.eventually("at most one question", func() bool { return w.accounts["erp"].most == 1 && w.accounts["erp"].asked >= 4 })
}

// A write that nobody knows the outcome of is not followed by another one before
// the shop was read.
func TestAnUnknownWriteIsReadBeforeTheNext(t *testing.T) {
	w := newWorld(t, 20, "shop")
	var operations []string
	w.change(func() {
		w.accounts["shop"].called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
			w.mu.Lock()
			operations = append(operations, d.GetOperation())
			first := w.accounts["shop"].sets == 0
			w.mu.Unlock()
			if d.GetOperation() != connectors.OperationSetStock || !first {
				return nil
			}
			w.call(w.accounts["shop"], d)
			return &dispatchv1.Result{Outcome: dispatchv1.Outcome_OUTCOME_HELD, Cause: &dispatchv1.Cause{Code: "timeout"}}
		}
	})
	w.start()
	w.receive(5)
	w.eventually("the write", func() bool { return w.accounts["shop"].sets == 1 && w.accounts["shop"].outstanding == 0 })
	// A hold is waited out, unless the catalog changes.
	w.receive(3)
	w.store.Replace(w.store.Current())
	w.inStep()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, operation := range operations {
		if operation == connectors.OperationSetStock && operations[i-1] != connectors.OperationReadStock {
			t.Errorf("a write after another without a read: %v", operations)
		}
	}
}

// What a hold has been made of is not asked again at once: each would be an entry
// in the Error Hold.
func TestARefusedQuestionIsNotRepeatedAtOnce(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.change(func() {
		w.accounts["erp"].called = func(*dispatchv1.Delivery) *dispatchv1.Result {
			return &dispatchv1.Result{Outcome: dispatchv1.Outcome_OUTCOME_HELD, Cause: &dispatchv1.Cause{Code: "http-400"}}
		}
	})
	w.start()
	w.eventually("the hold", func() bool { return w.accounts["erp"].asked == 1 && w.accounts["erp"].outstanding == 0 })
	pause(t, 5*readEvery)
	w.change(func() { w.accounts["erp"].called = nil })
	w.eventually("no other question", func() bool { return w.accounts["erp"].asked == 1 })
	w.store.Replace(w.store.Current())
	w.receive(4)
	w.inStep()
}

// Whatever was sold while the reconciler was away is in its first figures: with
// some of the orders missing it would put their units on sale again. The orders
// are large, so that reading them takes longer than asking the ERP and the shop.
func TestARestartKnowsEveryOrderBeforeItWrites(t *testing.T) {
	const orders = 60
	w := newWorld(t, 1000, "shop")
	w.shops["shop"].counts = false
	stop := w.start()
	w.readings("shop", 1)
	stop()
	for range orders {
		s := w.sold("shop", 2)
		s.state.Order.Note = strings.Repeat("n", 400_000)
		w.hear(s)
	}
	for range 3 {
		w.receive(1)
		stop := w.start()
		w.inStep()
		w.readings("shop", 2)
		stop()
	}
}

// Every reading of the ERP is made while it takes an order, so that nobody knows
// whether the reading contains it. One unit is free all the time.
func TestTheLastUnitStaysOnSale(t *testing.T) {
	w := newWorld(t, 6, "shop")
	var sales []*sale
	for range 5 {
		s := w.sold("shop", 1)
		w.hear(s)
		sales = append(sales, s)
	}
	taken, erp, shop := 0, w.accounts["erp"], w.accounts["shop"]
	erp.called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
		// The shop has been compared with the last reading.
		w.waitFor(t.Context(), func() bool { return shop.reads >= erp.reads && shop.outstanding == 0 })
		if taken > 0 && taken <= len(sales) {
			w.settle(sales[taken-1])
		}
		if taken < len(sales) {
			w.take(sales[taken])
		}
		taken++
		return w.call(erp, d)
	}
	w.start()
	w.readings("erp", len(sales)+3)
	w.inStep()
	if written := w.written("shop"); len(written) > 0 {
		t.Errorf("written %v, though the shop was right", written)
	}
}

func TestPoolsChange(t *testing.T) {
	w := newWorld(t, 20, "shop", "outlet")
	w.start()
	w.inStep()
	one := pool([]string{"shop"}, mug)
	replace := func(p *v1alpha1.StockPool) {
		w.store.Replace(&catalog.Snapshot{StockPools: map[string]*v1alpha1.StockPool{"main": p}})
	}
	replace(one)
	// The outlet is nobody's any more, once what was asked of it is over.
	w.eventually("the end of the old pool", func() bool { return w.accounts["outlet"].outstanding == 0 })
	w.readings("shop", 3)
	w.receive(5)
	w.eventually("the shop alone", func() bool { return w.shops["shop"].available[mug] == 25 && w.shops["outlet"].available[mug] == 20 })
	buffered := pool([]string{"shop", "outlet"}, mug)
	buffered.Spec.Buffer = 4
	replace(buffered)
	w.eventually("both less the buffer", func() bool { return w.shops["shop"].available[mug] == 21 && w.shops["outlet"].available[mug] == 21 })
}

// What one channel sells, the other takes off without waiting for the source.
func TestChannelsHearOfEachOther(t *testing.T) {
	for seller, other := range map[string]string{"shop": "outlet", "outlet": "shop"} {
		t.Run(seller, func(t *testing.T) {
			w := newWorld(t, 20, "shop", "outlet")
			w.start()
			// Two readings have to agree before anything is lowered.
			w.readings("erp", 2)
			w.readings(other, 1)
			w.change(func() { w.accounts["erp"].down = true })
			w.hear(w.sold(seller, 20))
			w.eventually("the other sold out too", func() bool { return w.shops[other].available[mug] == 0 })
			if written := w.written(seller); len(written) > 0 {
				t.Errorf("%v written to the one that sold, which had taken it off itself", written)
			}
		})
	}
}

func TestOneChannelInAnOutageDoesNotHoldUpTheOther(t *testing.T) {
	w := newWorld(t, 20, "shop", "outlet")
	w.start()
	w.change(func() { w.accounts["outlet"].down = true })
	w.receive(5)
	w.eventually("the shop", func() bool { return w.shops["shop"].available[mug] == 25 })
	w.change(func() { w.accounts["outlet"].down = false })
	w.inStep()
}

func TestSKUsThatAreNotKnownAreLeftAlone(t *testing.T) {
	w := newWorld(t, 20, "shop")
	w.change(func() { w.shops["shop"].available["CUP"], w.judged = 9, false })
	w.store.Replace(&catalog.Snapshot{StockPools: map[string]*v1alpha1.StockPool{"main": pool([]string{"shop"}, "CUP", mug, "JUG")}})
	w.start()
	w.receive(5)
	w.inStep()
	w.readings("shop", 3)
	if shown := w.shops["shop"].available["CUP"]; shown != 9 {
		t.Errorf("a SKU that the source does not know was set to %d", shown)
	}
}

// pause lets a stretch of time pass in which nothing is to happen.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	if err := until(t.Context(), time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
}
