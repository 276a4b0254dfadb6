package logicgate

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// again is an event as a replay puts it in.
func again(e *eventv1.Event) *eventv1.Event {
	e = proto.CloneOf(e)
	e.ReplayedAt, e.ReplayedBy = timestamppb.Now(), "kim"
	return e
}

// An event's id is forgotten after 64 later ones of its order. Then its version tells
// that it is old: the order stays as it is, and nobody is called again.
func TestARepetitionAfterManyLaterEventsChangesNothing(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	first := w.event("orders/create", shopOrder(5001, 0, map[string]any{"note": "first"}))
	w.capture(0, first)
	w.becomes("shopify_5001", "orders.erp.1 OPEN")
	w.answer("shopify_5001_orders_erp_1", delivered, 1)
	w.becomes("shopify_5001", "orders.erp.1 DELIVERED")
	const later = 70
	for i := 1; i <= later; i++ {
		w.capture(0, w.event("orders/updated", shopOrder(5001, i, map[string]any{"note": i})))
	}
	w.eventually("the later events", func() bool { return gate.Stats().Applied == 1+later })
	revision, standing, calls := w.state("shopify_5001").GetRevision(), w.standing("shopify_5001"), len(w.dispatched())
	w.capture(1, first, first)
	w.eventually("the repetitions", func() bool { return gate.Stats().Events == 3+later })
	if got := gate.Stats(); got.Stale != 2 || got.Held != 0 {
		t.Errorf("counted %+v, want two stale", got)
	}
	state := w.state("shopify_5001")
	if state.GetRevision() != revision || state.GetOrder().GetNote() != "70" || w.standing("shopify_5001") != standing || len(w.dispatched()) != calls {
		t.Errorf("revision %d, note %q, %s, %d calls; want %d, 70, %s, %d", state.GetRevision(), state.GetOrder().GetNote(),
			w.standing("shopify_5001"), len(w.dispatched()), revision, standing, calls)
	}
}

// A checkout makes several versions within a second. None is taken for another's
// repetition, the one that came later counts, and a repetition of the first does not
// bring it back.
func TestTwoBodiesOfOneSecondAreTwoVersions(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	first := w.event("orders/updated", shopOrder(5001, 0, map[string]any{"note": "first"}))
	second := w.event("orders/updated", shopOrder(5001, 0, map[string]any{"note": "second"}))
	underOneID := w.event("orders/updated", shopOrder(5001, 0, map[string]any{"note": "third"}))
	underOneID.Id = second.GetId()
	w.capture(0, first)
	w.eventually("the first", func() bool { return gate.Stats().Applied == 1 })
	w.capture(0, second, underOneID)
	w.eventually("all three", func() bool { return gate.Stats().Applied == 3 })
	for _, shard := range []int{0, 1} {
		w.capture(shard, first, second, underOneID)
	}
	w.eventually("nine events", func() bool { return gate.Stats().Events == 9 })
	if got := gate.Stats(); got.Repeated != 6 {
		t.Errorf("counted %+v, want six repeated", got)
	}
	if state := w.state("shopify_5001"); state.GetRevision() != 3 || state.GetOrder().GetNote() != "third" {
		t.Errorf("revision %d, note %q; want 3, third", state.GetRevision(), state.GetOrder().GetNote())
	}
	w.eventually("one delivery and one that waits", func() bool { return len(w.dispatched()) == 1 })
	w.becomes("shopify_5001", "orders.erp.1 OPEN, orders.erp.2 WAITING")
	// What was paid is not undone by a version of the same second that was not.
	w.capture(0, w.event("orders/paid", shopOrder(5001, 0, map[string]any{"financial_status": "paid", "note": "third"})))
	w.capture(0, w.event("orders/updated", shopOrder(5001, 0, map[string]any{"note": "third, later"})))
	w.eventually("both", func() bool { return gate.Stats().Events == 11 })
	if got := w.state("shopify_5001").GetOrder(); got.GetFinancialStatus() != "paid" {
		t.Errorf("financial status %q", got.GetFinancialStatus())
	}
}

// The call for the order that an event only names is over, and a replay makes none: it
// says what was answered then, which has its effect where a flow was added since, and
// replaces nothing newer.
func TestAReplayedEventThatOnlyNamesItsOrderIsAnsweredAsBefore(t *testing.T) {
	w := thinWorld(t)
	withFlow := w.store.Current()
	without := *withFlow
	without.Flows = nil
	w.store.Replace(&without)
	gate, _ := w.start(nil)
	first, second := w.thin(), w.thin()
	w.capture(0, first)
	w.comesBack(w.asked(1, ""), fetchedOrder("old", noon))
	w.eventually("the first answer", func() bool { return gate.Stats().Results == 1 })
	w.capture(0, second)
	w.eventually("the second call", func() bool { return len(w.dispatched()) == 2 })
	for _, d := range w.dispatched() {
		if proto.Equal(d.GetEvent(), second) {
			w.comesBack(d, fetchedOrder("new", noon.Add(time.Minute)))
		}
	}
	w.eventually("the second answer", func() bool { return gate.Stats().Results == 2 })
	if w.standing("woo_5") != "" {
		t.Fatalf("without a flow: %s", w.standing("woo_5"))
	}
	w.emptied()
	w.store.Replace(withFlow)
	w.capture(1, again(first), again(second))
	w.becomes("woo_5", "orders.erp.2 OPEN")
	w.eventually("both", func() bool { return gate.Stats().Events == 4 })
	if state := w.state("woo_5"); state.GetOrder().GetNote() != "new" || state.GetRevision() != 2 {
		t.Errorf("note %q, revision %d; want the newest", state.GetOrder().GetNote(), state.GetRevision())
	}
	if got := gate.Stats(); got.Fetches != 2 || got.Repeated != 2 || got.Held != 0 || len(w.dispatched()) != 3 {
		t.Errorf("counted %+v, %d calls; want no third fetch", got, len(w.dispatched()))
	}
	// One that was never answered is asked for.
	third := w.thin()
	w.capture(0, again(third))
	w.eventually("a third fetch", func() bool { return gate.Stats().Fetches == 3 })
}

// A state of an older build does not say when its source was asked. An answer of before
// that a replay repeats was taken in then, and must not undo what came after it.
func TestAReplayedAnswerUndoesNoStateOfAnOlderBuild(t *testing.T) {
	w := thinWorld(t)
	gate, stop := w.start(nil)
	read := func(note string, seconds int) func(*dispatchv1.Result) {
		return func(r *dispatchv1.Result) {
			fetchedOrder(note, noon)(r) // of the same second
			r.IssuedAt = timestamppb.New(noon.Add(time.Duration(seconds) * time.Second))
		}
	}
	first, second := w.thin(), w.thin()
	w.capture(0, first)
	w.comesBack(w.asked(1, ""), read("old", 2))
	w.becomes("woo_5", "orders.erp.1 OPEN")
	w.capture(0, second)
	w.eventually("the second call", func() bool { return len(w.dispatched()) == 3 })
	for _, d := range w.dispatched() {
		if proto.Equal(d.GetEvent(), second) {
			w.comesBack(d, read("new", 3))
		}
	}
	w.eventually("the second answer", func() bool {
		state := w.state("woo_5")
		return state.GetOrder().GetNote() == "new" && len(state.GetFetches()) == 0 && gate.Stats().Results == 2
	})
	shards := gate.settler.shards
	stop()
	before := w.state("woo_5")
	before.ReadAt, before.EventIds = nil, nil
	data, err := proto.Marshal(before)
	if err == nil {
		_, err = w.bus.Publish(t.Context(), bus.Message{
			Subject: bus.OrderStateSubject("woo_5"), Data: data, ExpectStream: bus.OrderStream(bus.OrderShard("woo_5", shards)),
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	gate, _ = w.start(nil)
	w.capture(1, again(first))
	w.eventually("the replay", func() bool { return gate.Stats().Events == 1 })
	if state := w.state("woo_5"); state.GetOrder().GetNote() != "new" || state.GetRevision() != before.GetRevision() || gate.Stats().Stale != 1 {
		t.Errorf("note %q, revision %d, counted %+v; want what was there", state.GetOrder().GetNote(), state.GetRevision(), gate.Stats())
	}
}

// emptied takes what is in DISPATCH out, as when it was carried out.
func (w *world) emptied() {
	w.t.Helper()
	if err := w.bus.Remove(context.Background(), bus.StreamDispatch, "dispatch.v1.>"); err != nil {
		w.t.Fatal(err)
	}
}
