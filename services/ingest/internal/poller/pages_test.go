package poller

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/shopify"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
)

// TestWhatWasReadBeforeAPageThatFailsIsTold, and the cursor goes there: the next comparison
// would come to the same page.
func TestWhatWasReadBeforeAPageThatFailsIsTold(t *testing.T) {
	for name, test := range map[string]struct {
		failed error
		reads  bool
	}{
		"it is refused":              {errNoSuchPage, true},
		"it cannot be asked in time": {errAnswerLost, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i := range 2 * pageSize {
				w.sell(fmt.Sprint(i), time.Duration(7200-10*i)*time.Second) // within the overlap: each try begins with the first page
			}
			const partial = 3
			w.change(func() { w.firstPageOnly, w.big[fmt.Sprint(partial)] = test.failed, true })
			w.start()
			w.await("it failed twice", func() bool { return w.record().GetFailures() >= 2 })
			w.mu.Lock()
			for i := range 2 * pageSize {
				want := 0
				if i < pageSize && (test.reads || i != partial) {
					want = 1
				}
				if got := len(w.topics(fmt.Sprint(i))); got != want {
					t.Errorf("order %d is told %d times, want %d", i, got, want)
				}
			}
			last := w.orders[fmt.Sprint(pageSize-1)].GetUpdatedAt().AsTime()
			if !test.reads {
				last = w.orders[fmt.Sprint(partial)].GetUpdatedAt().AsTime()
			}
			w.mu.Unlock()
			if at := w.record().GetCursor(); at == nil || at.AsTime().After(last) {
				t.Errorf("the cursor is at %v, want it on the first page, and before what is not read", at.AsTime())
			}
			w.change(func() { w.firstPageOnly = nil })
			record := w.compared()
			if day := w.day(); day.GetMissing() != 2*pageSize || day.GetCompared() != 2*pageSize {
				t.Errorf("%v of %v, want all missing once", day, record)
			}
		})
	}
}

// TestAnOrderThatShowsANewerTimeThanItIsListedByHidesNothing: a shop's index may be behind
// what it shows, and a page in the middle fails.
func TestAnOrderThatShowsANewerTimeThanItIsListedByHidesNothing(t *testing.T) {
	w := newWorld(t)
	const orders = 3 * pageSize
	for i := range orders {
		w.sell(fmt.Sprint(i), time.Duration(20*orders-20*i)*time.Minute)
	}
	last := w.orders[fmt.Sprint(pageSize-1)].GetUpdatedAt().AsTime()
	w.change(func() {
		w.index = map[string]time.Time{"2": w.orders["2"].GetUpdatedAt().AsTime()}
		w.orders["2"].UpdatedAt = timestamppb.New(time.Now().Truncate(time.Second))
		w.firstPageOnly = errNoSuchPage
	})
	stop := w.run(w.prepare())
	w.await("the first page is told", func() bool { return w.record().GetFailures() >= 1 && len(w.topics("0")) == 1 })
	stop()
	if at := w.record().GetCursor().AsTime(); at.After(last) {
		t.Errorf("the cursor is at %v, behind which %v was on no page", at, last)
	}
	w.change(func() { w.firstPageOnly = nil })
	w.run(w.prepare())
	w.await("all are told", func() bool {
		for i := range orders {
			if len(w.topics(fmt.Sprint(i))) == 0 {
				return false
			}
		}
		return true
	})
}

// TestAnOrderThatIsListedTwiceIsMissingOnce: a shop repeats the last second of a page on the
// next.
func TestAnOrderThatIsListedTwiceIsMissingOnce(t *testing.T) {
	w := newWorld(t)
	const orders = 4 * pageSize
	for i := range orders {
		w.sell(fmt.Sprint(i), time.Duration(7200-i)*time.Second)
	}
	w.change(func() { w.repeats = true })
	w.start()
	w.compared()
	if day := w.day(); day.GetMissing() != orders || day.GetCompared() != orders {
		t.Errorf("%v, want %d missing of %d", day, orders, orders)
	}
}

// TestOrdersThatAreReadAloneLeaveTheAccountToOthers, as pages do: each may cost more than one.
func TestOrdersThatAreReadAloneLeaveTheAccountToOthers(t *testing.T) {
	w := newWorld(t)
	const orders = 5
	for i := range orders {
		w.sell(fmt.Sprint(i), time.Duration(7200-i)*time.Second)
		w.big[fmt.Sprint(i)] = true
	}
	snapshot := w.snapshot(time.Hour, "")
	spec := &snapshot.Connectors["shop"].Spec
	spec.Limits[0].Bucket.Refill.Points = 1000
	request, err := shopify.Shopify{}.Request(spec, connectors.Call{
		Operation: connectors.OperationReadOrder, Arguments: listing.OrderPart{ID: "1"}.Arguments(),
	})
	if err != nil {
		t.Fatal(err)
	}
	least := reconcile.Between(spec.Limits, request.Cost)
	if least < 100*time.Millisecond {
		t.Fatalf("an order of %d points leaves %v", request.Cost, least)
	}
	p := w.prepare()
	s := newSource(p, p.sources(snapshot)["shop"])
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() {
		err := s.load(ctx)
		if err == nil {
			err = s.turn(ctx)
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	w.await("all are told", func() bool { return len(w.events) == orders })
	stop()
	working.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.asked[connectors.OperationReadOrder]; n != orders || len(w.askedAt) != orders+1 {
		t.Errorf("%d orders were read by %d questions", n, len(w.askedAt))
	}
	for i := 2; i < len(w.askedAt); i++ { // the first is for the page
		if got := w.askedAt[i].Sub(w.askedAt[i-1]); got < least {
			t.Errorf("question %d came %v after the one before, want %v at least", i, got, least)
		}
	}
}

// TestPagesThatGoRoundEndAComparison, and what is on them is told.
func TestPagesThatGoRoundEndAComparison(t *testing.T) {
	w := newWorld(t)
	const orders = 4 * pageSize
	for i := range orders {
		w.sell(fmt.Sprint(i), time.Duration(7200-i)*time.Second)
	}
	w.change(func() { w.leads = map[string]string{fmt.Sprint(3 * pageSize): fmt.Sprint(pageSize)} })
	w.start()
	w.await("it fails, and all are told", func() bool { return w.record().GetFailures() >= 1 && len(w.events) == orders })
	if problem := w.record().GetProblem(); !strings.Contains(problem, "comes again") {
		t.Errorf("the problem is %q", problem)
	}
	w.change(func() { w.leads = nil })
	w.compared()
	if day := w.day(); day.GetMissing() != orders || day.GetCompared() != orders {
		t.Errorf("%v, want %d missing of %d", day, orders, orders)
	}
}

func TestPagesThatHaveNoEndAreNotTurnedForEver(t *testing.T) {
	name := func(i int) string { return fmt.Sprint("page-", i) }
	some := listing.OrderPage{Partial: []listing.Partial{{ID: "1"}}}
	for before := range 40 {
		for round := 1; round < 40; round++ {
			asked, turned := "", 0
			for turns := (pageTurns{}); ; turned++ {
				page := some
				page.Next = name(turned)
				if turned >= before {
					page.Next = name(before + (turned-before)%round)
				}
				if turns.turn(asked, page) != nil {
					break
				}
				if asked = page.Next; turned > 4*(before+round)+4 {
					t.Fatalf("after %d pages, %d go round, and %d were turned", before, round, turned)
				}
			}
			if turned < before+round {
				t.Fatalf("after %d pages, %d go round, and the %dth is refused", before, round, turned)
			}
		}
	}
	for name, test := range map[string]struct {
		orders func(i int) bool
		want   int
	}{
		"none has an order":             {func(int) bool { return false }, emptyPages - 1},
		"one of many has":               {func(i int) bool { return i%(emptyPages-1) == 0 }, 10 * emptyPages},
		"the first have, and then none": {func(i int) bool { return i < 50 }, 50 + emptyPages - 1},
	} {
		turned := 0
		for turns := (pageTurns{}); turned < 10*emptyPages; turned++ {
			page := listing.OrderPage{Next: fmt.Sprint(turned)}
			if test.orders(turned) {
				page.Partial = some.Partial
			}
			if turns.turn(fmt.Sprint(turned-1), page) != nil {
				break
			}
		}
		if turned != test.want {
			t.Errorf("%s: %d pages were turned, want %d", name, turned, test.want)
		}
	}
}
