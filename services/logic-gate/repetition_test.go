package logicgate

import (
	"testing"
)

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
