package poller

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/shopify"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/order"
)

// compared waits until a comparison that began after the call has ended, and returns
// the record.
func (w *world) compared() *sourcev1.Source {
	w.t.Helper()
	since := time.Now()
	var record *sourcev1.Source
	w.await("a comparison that comes to its end", func() bool {
		record = w.record()
		return record.GetComparedAt().AsTime().After(since)
	})
	return record
}

func (w *world) day() *sourcev1.Hour { return reconcile.Count(w.record().GetHours(), time.Now()) }

// TestOrdersThatNoWebhookToldOfComeIn loses every third webhook over several pages, and
// two replicas look at the same time.
func TestOrdersThatNoWebhookToldOfComeIn(t *testing.T) {
	w := newWorld(t)
	const orders, lost = 60, 20
	for i := range orders {
		o := w.sell(fmt.Sprint(i), time.Duration(600+orders-i)*time.Second)
		w.big[o.GetId()] = i%10 == 0
		if i%3 != 0 {
			w.webhook(o)
		}
	}
	w.start()
	w.start()
	w.await("all orders are known", func() bool {
		for i := range orders {
			if len(w.topics(fmt.Sprint(i))) == 0 {
				return false
			}
		}
		return true
	})
	record := w.compared()
	day := reconcile.Count(record.GetHours(), time.Now())
	if day.GetMissing() != lost || day.GetCompared() != orders || day.GetStale() != 0 {
		t.Errorf("%d missing of %d, %d stale; want %d of %d", day.GetMissing(), day.GetCompared(), day.GetStale(), lost, orders)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range orders {
		if got := w.topics(fmt.Sprint(i)); len(got) != 1 {
			t.Errorf("order %d was told %d times: %v", i, len(got), got)
		}
	}
	if diff := cmp.Diff(map[string]bool{"bulk": true}, w.lanes); diff != "" {
		t.Errorf("lanes (-want +got):\n%s", diff)
	}
	if want := w.orders[fmt.Sprint(orders-1)].GetUpdatedAt(); !proto.Equal(record.GetCursor(), want) {
		t.Errorf("cursor %v, want %v", record.GetCursor().AsTime(), want.AsTime())
	}
}

// TestAWebhookOnItsWayIsNotMissing brings it within the grace, and while the gate has not
// read it.
func TestAWebhookOnItsWayIsNotMissing(t *testing.T) {
	w := newWorld(t)
	old := w.sell("old", time.Hour)
	w.change(func() { w.asleep = true })
	w.webhook(old) // taken in and not read
	w.start()
	w.await("it is listed", func() bool { return w.asked[connectors.OperationListOrders] > 0 })
	fresh := w.sell("fresh", 0)
	w.await("nobody counts while the gate sleeps", func() bool {
		return w.record().GetOwner() != "" && w.day().GetMissing() == 0
	})
	w.change(func() { w.asleep = false })
	w.webhook(fresh)
	w.compared()
	w.compared()
	if day := w.day(); day.GetMissing() != 0 || day.GetCompared() != 2 {
		t.Errorf("%v, want 0 missing of 2", day)
	}
}

// TestOrdersOfOneSecondAllCount: a shop's times have whole seconds, so that some orders
// are made in the very second that was compared last.
func TestOrdersOfOneSecondAllCount(t *testing.T) {
	w := newWorld(t)
	first := w.sell("1", time.Hour)
	w.webhook(first)
	w.start()
	w.compared()
	second := proto.CloneOf(first)
	second.Id = "2"
	w.webhook(second)
	w.change(func() { w.orders["2"] = second })
	w.compared()
	w.compared()
	if day := w.day(); day.GetCompared() != 2 || day.GetMissing() != 0 {
		t.Errorf("%v, want 0 missing of 2", day)
	}
}

func TestAChangeWithoutAWebhookComesIn(t *testing.T) {
	w := newWorld(t)
	o := w.sell("1", time.Hour)
	w.webhook(o)
	w.await("it is known", func() bool { return len(w.topics("1")) == 1 })
	w.start()
	w.compared()
	w.change(func() {
		paid := proto.CloneOf(o)
		paid.FinancialStatus, paid.UpdatedAt = "paid", timestamppb.New(time.Now().Add(-5*time.Minute))
		w.orders["1"] = paid
	})
	w.await("the change and the step in its life are told", func() bool { return len(w.topics("1")) == 3 })
	w.compared()
	w.mu.Lock()
	defer w.mu.Unlock()
	// Their shards are read side by side.
	if diff := cmp.Diff([]string{"orders/create", "orders/paid", "orders/updated"}, slices.Sorted(slices.Values(w.topics("1")))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if day := w.day(); day.GetStale() != 1 || day.GetMissing() != 0 || day.GetCompared() != 2 {
		t.Errorf("%v, want one stale of 2", day)
	}
}

// TestARestartGoesOnWhereItWas ends a poller between its pages, and finds the rest.
func TestARestartGoesOnWhereItWas(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		w.sell(fmt.Sprint(i), time.Duration(1000-i)*time.Second)
	}
	// The one before has told of ten, and is gone without a word.
	record := reconcile.Progress(nil, reconcile.Compared{Orders: 10, Missing: 10, Cursor: w.orders["9"].GetUpdatedAt().AsTime()}, time.Now())
	record = reconcile.Take(record, "shop", "dead", time.Now(), time.Second)
	record.ComparedAt = timestamppb.New(time.Now().Add(-time.Hour))
	data, err := proto.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.bus.Put(t.Context(), bus.BucketSource, bus.SourceKey("shop"), data, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		w.webhook(w.orders[fmt.Sprint(i)])
	}
	w.start()
	w.compared()
	if day := w.day(); day.GetMissing() != 30 || day.GetCompared() != 30 {
		t.Errorf("%v, want the ten before and twenty more, none twice", day)
	}
}

// TestAReplicaThatStopsLeavesItsTurnToAnother, which need not wait until the lease is over:
// that is later than this test waits.
func TestAReplicaThatStopsLeavesItsTurnToAnother(t *testing.T) {
	w := newWorld(t)
	w.change(func() { w.asleep = true }) // so that a turn has no end
	w.webhook(w.sell("taken in and not read", time.Hour))
	first := w.prepare()
	stop := w.run(first)
	w.await("the first is at it", func() bool { return w.record().GetOwner() == first.run })
	second := w.prepare()
	w.run(second)
	owned := w.record()
	if owned.GetOwner() != first.run {
		t.Fatalf("a turn of %s was ended by %s", first.run, owned.GetOwner())
	}
	stop()
	w.await("the second goes on", func() bool { return w.record().GetOwner() == second.run })
	if began := w.record().GetOwnedUntil().AsTime().Add(-lease); !began.Before(owned.GetOwnedUntil().AsTime()) {
		t.Errorf("it went on at %s, and the lease ended at %s", began, owned.GetOwnedUntil().AsTime())
	}
	w.change(func() { w.asleep = false })
	w.compared()
}

// TestAStopOvertakesAWriteThatIsUnderWay: done after the source was left, it would keep all
// others away until the end of its lease.
func TestAStopOvertakesAWriteThatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	p := w.prepare()
	s := newSource(p, p.sources(w.store.Current())["shop"])
	met, _ := reconcile.Meet(nil, "shop", s.spec.Endpoint, time.Now())
	if err := s.put(t.Context(), met); err != nil {
		t.Fatal(err)
	}
	late, err := proto.Marshal(reconcile.Take(s.record, "shop", s.run, time.Now(), lease))
	if err != nil {
		t.Fatal(err)
	}
	over := s.revision
	ctx, stop := context.WithCancel(t.Context())
	stop()
	// Nobody waits for the answer, nor has it been sent.
	if err := s.put(ctx, reconcile.Take(s.record, "shop", s.run, time.Now(), lease)); err == nil {
		t.Fatal("it was written after the stop")
	}
	s.release(ctx)
	if _, err := w.bus.Put(t.Context(), bus.BucketSource, bus.SourceKey("shop"), late, bus.Sequence(over)); !bus.IsConflict(err) {
		t.Errorf("the late write is taken (error %v), and the source has an owner who is gone: %v", err, w.record())
	}
}

// TestOldOrdersAreNotMadeAgain: an order that another program has handled changes, and so
// does one that no flow has anything to do with.
func TestOldOrdersAreNotMadeAgain(t *testing.T) {
	w := newWorld(t)
	old := w.sell("old", time.Hour)
	w.change(func() {
		old.CreatedAt, old.FinancialStatus = timestamppb.New(time.Now().AddDate(0, 0, -7)), "paid"
	})
	w.start()
	w.await("it is known", func() bool { return len(w.topics("old")) > 0 })
	w.compared()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff([]string{"orders/updated"}, w.topics("old")); diff != "" {
		t.Errorf("told as (-want +got):\n%s", diff)
	}
	if day := w.day(); day.GetMissing() != 0 || day.GetCompared() != 1 {
		t.Errorf("%v, want 0 missing of 1: no flow takes orders/updated", day)
	}
}

// TestAnOrderOfTheFutureHidesNothing: its time of change is a plugin's mistake.
func TestAnOrderOfTheFutureHidesNothing(t *testing.T) {
	w := newWorld(t)
	w.sell("2099", -73*365*24*time.Hour)
	w.start()
	w.await("it is known", func() bool { return len(w.topics("2099")) == 1 })
	w.compared()
	w.sell("now", 10*time.Minute)
	w.await("what came after it is found", func() bool { return len(w.topics("now")) == 1 })
}

// TestWhatCannotBeReadIsAskedForOnce: each refusal is a hold that somebody has to look at.
func TestWhatCannotBeReadIsAskedForOnce(t *testing.T) {
	w := newWorld(t)
	w.big["1"], w.refuse[connectors.OperationReadOrder] = true, "order-unreadable"
	w.sell("1", time.Hour)
	w.start()
	w.compared()
	w.compared()
	record := w.compared()
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.asked[connectors.OperationReadOrder]; n != 1 || record.GetProblem() == "" {
		t.Errorf("it was asked for %d times, want once; problem %q", n, record.GetProblem())
	}
}

// thinShop sends webhooks that only name their order.
type thinShop struct{ shopify.Shopify }

func (thinShop) OrderID(*v1alpha1.ConnectorSpec, string, []byte) (string, error) {
	return "", connectors.ErrMalformed
}

// TestAnOrderThatIsFetchedIsNotMissing: its webhook came, and the account has no room for
// the question yet.
func TestAnOrderThatIsFetchedIsNotMissing(t *testing.T) {
	w := newWorld(t)
	w.source = thinShop{}
	for i, waits := range []bool{false, true} {
		id := fmt.Sprint("named-", i)
		key := order.Key("shop", id)
		d := &dispatchv1.Delivery{Id: key + "_fetch_1", Connector: "shop", Lane: "standard", Key: key, Event: &eventv1.Event{Connector: "shop", Topic: "orders/updated"}}
		var m proto.Message = d
		subject := bus.DispatchSubject("shop", d.GetLane(), key, d.GetId())
		if waits {
			m, subject = &dispatchv1.Waiting{Delivery: d}, bus.WaitingSubject("shop", key, d.GetId())
		}
		data, err := proto.Marshal(m)
		if err == nil {
			_, err = w.bus.Publish(t.Context(), bus.Message{Subject: subject, Data: data})
		}
		if err != nil {
			t.Fatal(err)
		}
		w.sell(id, time.Hour)
	}
	w.sell("lost", time.Hour)
	w.start()
	w.await("what nobody asks for is told", func() bool { return len(w.topics("lost")) == 1 })
	w.compared()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := append(w.topics("named-0"), w.topics("named-1")...); len(got) > 0 {
		t.Errorf("what is being fetched is told as %v", got)
	}
	if day := w.day(); day.GetMissing() != 1 || day.GetCompared() != 3 {
		t.Errorf("%v, want 1 missing of 3", day)
	}
}

// TestAnOrderWhoseAnswerWaitsIsNotMissing: the gate was down when it was fetched. A fetch of
// which nothing is there any more was lost.
func TestAnOrderWhoseAnswerWaitsIsNotMissing(t *testing.T) {
	w := newWorld(t)
	w.source = thinShop{}
	for _, id := range []string{"answered", "lost"} {
		w.sell(id, time.Hour)
		key := order.Key("shop", id)
		fetch := &orderv1.Fetch{Id: key + "_fetch_1", Connector: "shop", Lane: "standard", OrderId: id, OpenedAt: timestamppb.New(time.Now())}
		w.publish(bus.OrderStateSubject(key), order.OpenFetch(nil, key, fetch))
		if id == "answered" {
			w.publish(bus.ResultSubject(Gate, fetch.GetId()), &dispatchv1.Result{DeliveryId: fetch.GetId(), Connector: "shop", Key: key, Requester: Gate})
		}
	}
	w.start()
	w.await("what is not on its way is told", func() bool { return len(w.topics("lost")) == 1 })
	w.compared()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := w.topics("answered"); len(got) > 0 {
		t.Errorf("what was fetched is told as %v", got)
	}
	if day := w.day(); day.GetMissing() != 1 || day.GetCompared() != 2 {
		t.Errorf("%v, want 1 missing of 2", day)
	}
}

func TestAShopThatRefusesIsAskedLessAndLess(t *testing.T) {
	w := newWorld(t)
	w.refuse[connectors.OperationListOrders] = connectors.CodeNoRight
	w.sell("1", time.Hour)
	w.start()
	w.await("it failed four times", func() bool { return w.record().GetFailures() >= 4 })
	record := w.record()
	if record.GetProblem() == "" || time.Until(record.GetDueAt().AsTime()) > 400*time.Millisecond {
		t.Errorf("%v", record)
	}
	if n := w.logs.count("could not be compared"); n != 1 {
		t.Errorf("%d lines say so, want one", n)
	}
	w.change(func() { delete(w.refuse, connectors.OperationListOrders) })
	w.await("it is told once the shop answers", func() bool { return len(w.topics("1")) == 1 })
	if w.compared().GetProblem() != "" {
		t.Error("the problem stays")
	}
}

func TestWebhooksComeBack(t *testing.T) {
	w := newWorld(t)
	foreign := listing.Webhook{ID: "theirs", Topic: "orders/create", Address: "https://other.example/hook", Active: false}
	w.hooks = []listing.Webhook{foreign, {ID: "mine", Topic: "orders/paid", Address: address, Active: false}}
	w.start()
	w.compared()
	w.mu.Lock()
	if w.asked[connectors.OperationListWebhooks] != 0 {
		t.Error("webhooks are looked at without an address")
	}
	w.mu.Unlock()
	w.store.Replace(w.snapshot(50*time.Millisecond, address))
	active := func() map[string]bool {
		on := map[string]bool{}
		for _, h := range w.hooks {
			if h.Address == address && h.Active {
				on[h.Topic] = true
			}
		}
		return on
	}
	w.await("all that flows need are on, and cancellations", func() bool { return len(active()) == 3 })
	w.compared()
	w.mu.Lock()
	if w.hooks[0] != foreign {
		t.Errorf("somebody else's webhook is %+v", w.hooks[0])
	}
	w.hooks = w.hooks[:1] // the shop gave up on all of them
	w.mu.Unlock()
	w.await("they are made again", func() bool { return len(active()) == 3 })
	w.compared()
	record := w.record()
	if got := reconcile.Count(record.GetHours(), time.Now()).GetMended(); got != 6 || len(record.GetWebhooks()) != 3 {
		t.Errorf("%d mended, want 6; %v", got, record.GetWebhooks())
	}
	// One that may not be made is said once, and orders are compared all the same.
	w.change(func() {
		w.hooks, w.refuse[connectors.OperationPutWebhook] = nil, connectors.CodeNoRight
	})
	w.await("the problem is on record", func() bool { return w.record().GetWebhooksProblem() != "" })
	w.compared()
	if n := w.logs.count("could not be looked after"); n != 1 {
		t.Errorf("%d lines say so, want one", n)
	}
}

// TestASourceThatIsAskedNoMoreIsNotBehind: who watches how long ago it was compared would be
// called for a connector that is gone.
func TestASourceThatIsAskedNoMoreIsNotBehind(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	w.compared()
	seen := func() int {
		p.meters.seen.mu.Lock()
		defer p.meters.seen.mu.Unlock()
		return len(p.meters.seen.at)
	}
	w.await("it is measured", func() bool { return seen() == 1 })
	w.store.Replace(&catalog.Snapshot{Revision: 2})
	w.await("it is not measured any more", func() bool { return seen() == 0 })
}

func TestWhatCameInIsCounted(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	data, err := proto.Marshal(&eventv1.Event{Connector: "shop", Topic: "orders/create", Id: "1"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.Received(data)
	}
	record := add(&sourcev1.Received{}, p.received.byConnector, time.Now())
	record = add(record, map[string]int64{"shop": 4, "store": 1}, time.Now())
	got := map[string]int64{}
	for _, c := range record.GetCounts() {
		got[c.GetConnector()] = reconcile.Count(c.GetHours(), time.Now()).GetReceived()
	}
	if diff := cmp.Diff(map[string]int64{"shop": 7, "store": 1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := p.writeReceived(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	found, err := w.bus.Get(t.Context(), bus.BucketSource, bus.ReceivedKey(p.run))
	back := &sourcev1.Received{}
	if err == nil {
		err = proto.Unmarshal(found.Data, back)
	}
	if err != nil || !proto.Equal(back, record) {
		t.Errorf("%v, error %v", back, err)
	}
	if connectorOf([]byte("\xff")) != "" || connectorOf(nil) != "" {
		t.Error("what is no event has a connector")
	}
}

// An order of more lines than one answer holds comes in with all of them, of one version.
func TestAnOrderOfManyLinesComesInWhole(t *testing.T) {
	for name, test := range map[string]struct{ changes, calls, refused int }{
		"three parts":                            {0, 3, 0},
		"it is changed between two of them":      {1, 2 + 3, 0},
		"it changes too often, and then no more": {5, 3*2 + 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.sell("1", time.Hour)
			changes := test.changes
			w.change(func() {
				w.big["1"], o.Lines = true, nil
				for i := range 2*linesPerPart + 1 {
					o.Lines = append(o.Lines, &orderv1.Line{Id: fmt.Sprint(i), Quantity: 1})
				}
				w.between = func(o *orderv1.Order) {
					if changes--; changes >= 0 {
						o.UpdatedAt = timestamppb.New(o.GetUpdatedAt().AsTime().Add(time.Second))
					}
				}
			})
			w.start()
			w.await("it is told", func() bool { return len(w.topics("1")) > 0 })
			w.mu.Lock()
			defer w.mu.Unlock()
			told := w.events[0].GetOrder()
			if len(told.GetLines()) != len(o.GetLines()) || !proto.Equal(told.GetUpdatedAt(), o.GetUpdatedAt()) {
				t.Errorf("told with %d lines of %s", len(told.GetLines()), told.GetUpdatedAt().AsTime())
			}
			for i, line := range told.GetLines() {
				if line.GetId() != fmt.Sprint(i) {
					t.Errorf("line %d is %v", i, line)
				}
			}
			if n := w.asked[connectors.OperationReadOrder]; n != test.calls || w.logs.count("order-changes") != test.refused {
				t.Errorf("%d calls, want %d; log %s", n, test.calls, w.logs)
			}
		})
	}
}

// A webhook that shows the secret before today's works, and is put again under its own
// topic, once every replica knows the new one, and after those that do not work.
func TestAWebhookIsSealedAnew(t *testing.T) {
	w := newWorld(t)
	w.hooks = []listing.Webhook{
		{ID: "all", Topic: "orders/*", Address: address, Active: true, Stale: true},
		{ID: "theirs", Topic: "orders/create", Address: "https://other.example/hook", Active: true, Stale: true},
	}
	p := w.prepare()
	p.sealAfter = 400 * time.Millisecond
	began := time.Now()
	w.run(p)
	w.store.Replace(w.snapshot(50*time.Millisecond, address))
	w.await("the one for all is put again", func() bool {
		return slices.ContainsFunc(w.hooks, func(h listing.Webhook) bool { return h.ID == "all" && !h.Stale })
	})
	if took := time.Since(began); took < p.sealAfter {
		t.Errorf("it was put after %s, before every replica can know the secret", took)
	}
	w.compared()
	w.mu.Lock()
	if n := w.asked[connectors.OperationPutWebhook]; n != 1 || len(w.hooks) != 2 || !w.hooks[0].Stale {
		t.Errorf("%d webhooks were put, want the one: %+v", n, w.hooks)
	}
	w.mu.Unlock()
	if record := w.record(); len(record.GetWebhooks()) != 3 || !record.GetWebhooks()[0].GetActive() || record.GetWebhooksProblem() != "" {
		t.Errorf("%v", record)
	}
}

// What a page shows that is open moves the cursor only so far as the pages are complete:
// more of the same time may come on a later one.
func TestAnOpenPageMovesTheCursorNoFurtherThanItIsComplete(t *testing.T) {
	w := newWorld(t)
	through := time.Now().Add(-500 * time.Second).Truncate(time.Second)
	w.open, w.through = true, through
	for i := range 3 * pageSize {
		w.sell(fmt.Sprint(i), time.Duration(1000-i)*time.Second)
	}
	w.sell("newest", time.Second)
	w.start()
	w.await("all are told", func() bool { return len(w.topics("0")) > 0 && len(w.topics("newest")) > 0 })
	if at := w.compared().GetCursor().AsTime(); !at.Equal(through) {
		t.Errorf("the cursor is at %v, want %v", at, through)
	}
}
