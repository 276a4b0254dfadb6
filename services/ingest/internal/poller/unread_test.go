package poller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// sellUnreadable makes orders that cannot be read and that no list has any more once the
// newest, which can, was compared.
func (w *world) sellUnreadable(ids ...string) {
	for i, id := range ids {
		w.sell(id, 2*time.Hour-time.Duration(i)*time.Second)
		w.change(func() { w.big[id], w.unreadable[id] = true, true })
	}
	w.sell("newest", time.Hour)
}

// unread are the orders that the newest record of the hold names.
func (w *world) unread() []string {
	w.t.Helper()
	var ids []string
	if held := w.holds(connectors.OperationReadOrder); len(held) > 0 {
		for _, o := range reconcile.Unread(held[len(held)-1]) {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// TestOrdersThatCannotBeReadAreAskedForUntilTheyCan, long after no list has them any more:
// all of them are one hold.
func TestOrdersThatCannotBeReadAreAskedForUntilTheyCan(t *testing.T) {
	w := newWorld(t)
	for i, id := range []string{"a", "b", "c"} {
		w.sell(id, 2*time.Hour-time.Duration(i)*time.Second)
		w.big[id], w.unreadable[id] = true, true
	}
	w.sell("newest", time.Hour)
	stop := w.run(w.prepare())
	w.await("the newest is told", func() bool { return len(w.topics("newest")) == 1 })
	w.compared()
	w.compared()
	found := w.awaitHolds(connectors.OperationReadOrder, 3)
	if !reconcile.Open(found[2]) || len(reconcile.Unread(found[2])) != 3 || !proto.Equal(found[0].GetHeldAt(), found[2].GetHeldAt()) {
		t.Errorf("held is %v", found)
	}
	stop()
	w.change(func() { delete(w.unreadable, "a") })
	stop = w.run(w.prepare())
	w.await("the first is read", func() bool { return len(w.topics("a")) == 1 })
	if left := reconcile.Unread(w.awaitHolds(connectors.OperationReadOrder, 4)[3]); len(left) != 2 {
		t.Errorf("left are %v", left)
	}
	stop()
	w.change(func() { delete(w.orders, "b") }) // the shop has no such order any more
	w.webhook(w.orders["c"])
	w.await("the last came in by itself", func() bool { return len(w.topics("c")) == 1 })
	w.refuse[connectors.OperationReadOrder] = connectors.CodeNoSuchOrder
	w.run(w.prepare())
	w.compared()
	closed := w.holds(connectors.OperationReadOrder)
	if reconcile.Open(closed[len(closed)-1]) {
		t.Errorf("it stays: %v", closed[len(closed)-1])
	}
	if n := len(w.topics("b")); n != 0 {
		t.Errorf("an order that is not there is told %d times", n)
	}
}

// TestTheCursorStopsWhereNoMoreCanBeHeld: behind it the orders would be forgotten.
func TestTheCursorStopsWhereNoMoreCanBeHeld(t *testing.T) {
	w := newWorld(t)
	for i := range reconcile.MaxUnread + 1 {
		id := fmt.Sprint(i)
		w.sell(id, time.Duration(7200-i)*time.Second)
		w.big[id], w.unreadable[id] = true, true
	}
	w.sell("readable", 7000*time.Second)
	w.start()
	w.await("it fails", func() bool { return w.record().GetFailures() >= 2 })
	if at := w.record().GetCursor(); at != nil {
		t.Errorf("the cursor is at %v", at.AsTime())
	}
	w.await("what can be read is told", func() bool { return len(w.topics("readable")) == 1 })
	if day := w.day(); day.GetMissing() != 1 || day.GetCompared() != reconcile.MaxUnread+2 {
		t.Errorf("%v, want 1 missing of %d", day, reconcile.MaxUnread+2)
	}
	held := w.holds(connectors.OperationReadOrder)
	if n := len(reconcile.Unread(held[len(held)-1])); n != reconcile.MaxUnread {
		t.Errorf("%d orders are on hold, want %d", n, reconcile.MaxUnread)
	}
	w.change(func() { clear(w.unreadable) })
}

// TestAnOrderStaysOnHoldUntilItIsTold: where something comes between that it was read and
// that, nothing else remembers it.
func TestAnOrderStaysOnHoldUntilItIsTold(t *testing.T) {
	for name, test := range map[string]struct {
		lost   bool
		commit func(context.Context, []byte) error
		failed func(w *world) bool
	}{
		"another one's answer does not come": {lost: true, failed: func(w *world) bool { return w.record().GetFailures() >= 1 }},
		"it cannot be stored": {
			commit: func(context.Context, []byte) error { return errors.New("the disk is full") },
			failed: func(w *world) bool { return w.logs.count("the disk is full") > 0 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.sellUnreadable("a", "b")
			stop := w.run(w.prepare())
			w.await("the newest is told", func() bool { return len(w.topics("newest")) == 1 })
			w.compared()
			stop()
			w.awaitHolds(connectors.OperationReadOrder, 2)
			w.change(func() {
				clear(w.unreadable)
				w.lost["b"] = test.lost
			})
			p := w.prepare()
			if test.commit != nil {
				p.config.Commit = test.commit
			}
			stop = w.run(p)
			w.await("a was read, and not told", func() bool { return test.failed(w) && w.asked[connectors.OperationReadOrder] > 2 })
			stop()
			if left := w.unread(); !slices.Equal(left, []string{"a", "b"}) {
				t.Errorf("on hold are %v, want both", left)
			}
			w.change(func() { clear(w.lost) })
			next := w.prepare()
			next.run = p.run // nobody said that its turn is over
			w.run(next)
			w.await("both are told", func() bool { return len(w.topics("a")) == 1 && len(w.topics("b")) == 1 })
			if closed := w.awaitHolds(connectors.OperationReadOrder, 3)[2]; closed.GetRelease().GetReason() != answers {
				t.Errorf("closed as %v", closed)
			}
		})
	}
}

// TestAnOrderThatIsTooLargeToBeStoredIsHeld, whether a page has it or not, as others are
// that cannot be read, until it can be stored.
func TestAnOrderThatIsTooLargeToBeStoredIsHeld(t *testing.T) {
	w := newWorld(t)
	w.sellUnreadable("large", "unreadable")
	w.sell("listed", 90*time.Minute)
	w.change(func() {
		delete(w.unreadable, "large")
		w.orders["large"].Name, w.orders["listed"].Name = strings.Repeat("x", 20_000), strings.Repeat("x", 20_000)
	})
	p := w.prepare()
	p.config.MaxEventBytes = 10_000
	stop := w.run(p)
	w.await("the newest is told", func() bool { return len(w.topics("newest")) == 1 })
	w.compared()
	w.compared()
	held := w.awaitHolds(connectors.OperationReadOrder, 3)
	if code := held[0].GetCause().GetCode(); code != connectors.CodeOrderTooLarge {
		t.Errorf("the first is held for %q", code)
	}
	if left := w.unread(); !slices.Equal(left, []string{"listed", "large", "unreadable"}) {
		t.Errorf("on hold are %v", left)
	}
	stop()
	w.change(func() { clear(w.unreadable) })
	w.run(w.prepare())
	w.await("both are told", func() bool { return len(w.topics("large")) == 1 && len(w.topics("listed")) == 1 })
	if closed := w.awaitHolds(connectors.OperationReadOrder, 4)[3]; closed.GetRelease().GetReason() != answers {
		t.Errorf("closed as %v", closed)
	}
}

// TestAnOrderThatNoListHasAnyMoreIsAskedForOnceAnHour, not in each comparison.
func TestAnOrderThatNoListHasAnyMoreIsAskedForOnceAnHour(t *testing.T) {
	w := newWorld(t)
	w.sellUnreadable("1")
	w.start()
	w.await("the newest is told", func() bool { return len(w.topics("newest")) == 1 })
	w.compared()
	w.compared()
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.asked[connectors.OperationReadOrder]; n != 1 {
		t.Errorf("it was asked for %d times, want once", n)
	}
}

// TestAnOrderThatNoListHasAnyMoreIsComparedOnce, when it was listed: it is looked at in each
// comparison.
func TestAnOrderThatNoListHasAnyMoreIsComparedOnce(t *testing.T) {
	w := newWorld(t)
	w.sellUnreadable("1", "2")
	w.start()
	for range 3 {
		w.compared()
		if day := w.day(); day.GetCompared() != 3 || day.GetMissing() != 1 {
			t.Errorf("%v, want 1 missing of 3", day)
		}
	}
	w.change(func() { clear(w.unreadable) })
}

// TestWhatWasToldBeforeOneCannotBeStoredCounts: the next comparison finds it known.
func TestWhatWasToldBeforeOneCannotBeStoredCounts(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.sell(fmt.Sprint(i), time.Duration(7200-i)*time.Second)
	}
	p := w.prepare()
	var full atomic.Bool
	full.Store(true)
	stored := make(chan string, 10)
	p.config.Commit = func(ctx context.Context, data []byte) error {
		e := &eventv1.Event{}
		if err := proto.Unmarshal(data, e); err != nil {
			return err
		}
		if e.GetOrder().GetId() != "2" || !full.Load() {
			err := w.commit(ctx, data)
			stored <- e.GetOrder().GetId()
			return err
		}
		for range 2 {
			select {
			case <-stored:
			case <-ctx.Done():
			}
		}
		full.Store(false)
		return errors.New("the disk is full")
	}
	w.run(p)
	w.compared()
	if day := w.day(); day.GetMissing() != 3 || day.GetCompared() != 3 {
		t.Errorf("%v, want 3 missing of 3", day)
	}
}

// TestOrdersThatCannotBeReadAreNotForgotten while their source is not asked: the cursor has
// gone past them.
func TestOrdersThatCannotBeReadAreNotForgotten(t *testing.T) {
	for name, away := range map[string]func(w *world) *catalog.Snapshot{
		"it is asked never": func(w *world) *catalog.Snapshot { return w.snapshot(0, "") },
		"it is gone":        func(*world) *catalog.Snapshot { return &catalog.Snapshot{Revision: 2} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.sellUnreadable("1")
			stop := w.run(w.prepare())
			w.await("the newest is told", func() bool { return len(w.topics("newest")) == 1 })
			w.compared()
			stop()
			w.awaitHolds(connectors.OperationReadOrder, 1)
			p := w.prepare()
			if err := p.tidy(t.Context(), p.sources(away(w))); err != nil {
				t.Fatal(err)
			}
			w.awaitHolds(connectors.OperationReadOrder, 1)
			w.change(func() { clear(w.unreadable) })
			w.run(p)
			w.await("it is told", func() bool { return len(w.topics("1")) == 1 })
			if closed := w.awaitHolds(connectors.OperationReadOrder, 2)[1]; closed.GetRelease().GetReason() != answers {
				t.Errorf("closed as %v", closed)
			}
		})
	}
}
