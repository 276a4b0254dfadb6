package allocation_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/inventory-reconciler/internal/allocation"
)

// A world with arbitrary delays: webhooks late and out of order, acceptances
// racing with reads, edits, cancels, receipts, refused orders, restarts.
//
//   - What is written never exceeds what is free as far as the engine has heard,
//     and never what is truly free by more than the sales that it has not heard
//     of: none, where the shop says how much it has sold.
//   - Once all is quiet the shop shows exactly what the source has, less buffer
//     and what is refused there: never zero while units are free.
func TestTargetsAgainstAWorld(t *testing.T) {
	for name, counts := range map[string]bool{"the shop counts its open orders": true, "the shop shows only what is available": false} {
		t.Run(name, func(t *testing.T) {
			writes, judged, exposed := 0, 0, int64(0)
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(rapid.Int64Range(0, 40).Draw(t, "stock"), rapid.Int64Range(0, 3).Draw(t, "buffer"), counts)
				w.settle()
				r := &run{world: w}
				for range rapid.IntRange(60, 180).Draw(t, "actions") {
					r.act(t)
				}
				w.settle()
				checkQuiet(t, w)
				writes += r.written
				judged += r.judged
				exposed += r.exposed
			})
			t.Logf("%d writes, which gave back %d units of sales not heard of; %d decisions judged in full", writes, exposed, judged)
		})
	}
}

type run struct {
	*world
	written int
	exposed int64
	// judged counts decisions whose evidence could be judged in full.
	judged int
}

// act draws one thing that happens.
func (r *run) act(t *rapid.T) {
	quantity := func() int64 { return rapid.Int64Range(1, 4).Draw(t, "quantity") }
	pick := func(keep func(*sale) bool) *sale {
		if keys := r.keys(keep); len(keys) > 0 {
			return r.sales[rapid.SampledFrom(keys).Draw(t, "order")]
		}
		return nil
	}
	live := func(s *sale) bool { return !s.shop.cancelled && !s.shop.fulfilled }
	switch action := rapid.SampledFrom([]string{
		"sell", "sell", "sell", "hear", "hear", "dispatch", "dispatch", "dispatch", "accept", "follow",
		"step", "step", "step", "finish", "edit", "cancel", "fulfill", "receive", "restart",
	}).Draw(t, "action"); action {
	case "sell":
		if q := quantity(); q <= r.available {
			r.sell(q, rapid.IntRange(0, 7).Draw(t, "refused") == 0)
		}
	case "edit":
		if s, q := pick(live), quantity(); s != nil && q-s.shop.quantity <= r.available {
			r.edit(s, q)
		}
	case "cancel":
		if s := pick(live); s != nil {
			r.cancel(s)
		}
	case "fulfill":
		// Goods leave the house when the source has the whole order.
		if s := pick(func(s *sale) bool { return live(s) && s.contained == s.shop.quantity && s.claimed == nil }); s != nil {
			r.change(s, func(v *version) { v.fulfilled = true })
		}
	case "hear":
		if s := pick(func(s *sale) bool { return len(s.webhooks) > 0 }); s != nil {
			r.hear(s, rapid.IntRange(0, len(s.webhooks)-1).Draw(t, "webhook"))
		}
	case "dispatch":
		if s := pick(func(s *sale) bool { return s.state.Revision > 0 }); s != nil {
			r.dispatch(s)
		}
	case "accept":
		if s := pick(func(s *sale) bool { return s.claimed != nil }); s != nil {
			r.accept(s)
		}
	case "follow":
		if s := pick(func(s *sale) bool { return len(s.published) > 0 }); s != nil {
			r.follow(s, rapid.Bool().Draw(t, "newest only"))
		}
	case "receive":
		r.stock += quantity()
	case "restart":
		r.restart()
	case "step":
		r.check(t, r.world.step())
	case "finish":
		for r.cycle.stage > 0 {
			r.check(t, r.world.step())
		}
	}
}

// check holds what is decided and written against the truth of the moment.
func (r *run) check(t *rapid.T, written bool) {
	c := r.cycle
	if c.stage == 4 {
		r.checkEvidence(t)
	}
	if !written {
		return
	}
	r.written++
	free := max(0, r.free())
	if c.target > c.shown && c.target > free+c.exposed {
		t.Fatalf("raised %d to %d of %+v, with %d units free and %d of sales not heard of", c.shown, c.target, c.figures, free, c.exposed)
	}
	if c.target > c.shown {
		r.exposed += max(0, c.target-free)
	}
}

// checkEvidence: the least is never too much. Where all is heard that concerns a
// read, the most is never too little, and nothing is taken off sale that is free.
func (r *run) checkEvidence(t *rapid.T) {
	c := r.cycle
	if c.evidence.Least > r.knownFree()-r.buffer {
		t.Fatalf("at least %d of %+v, and only %d units are free as far as the engine has heard", c.evidence.Least, c.figures, r.knownFree())
	}
	if c.counted != r.counted() || slices.ContainsFunc(r.keys(func(*sale) bool { return true }), r.obscure) {
		return
	}
	// What has come in since a read is not in it.
	freeOf := func(s *source) int64 { return r.free() - r.buffer - (r.stock - s.stock) }
	if free := freeOf(c.source); c.source.heard() && c.evidence.Most < free {
		t.Fatalf("at most %d, and %d units are free; %+v", c.evidence.Most, free, c)
	}
	if !c.before.heard() {
		return
	}
	if free := freeOf(c.before); c.shown <= free && c.target < c.shown {
		t.Fatalf("%d shown, %d free, and %d is to be written by %+v", c.shown, free, c.target, c.evidence)
	}
	r.judged++
}

// obscure reports whether the engine cannot know what the source and the shop
// think of a sale.
func (r *run) obscure(key string) bool {
	s := r.sales[key]
	switch {
	case len(s.webhooks) > 0 || s.gap:
		return true
	case !s.shop.cancelled:
		return false
	}
	// Units of a cancelled order are the source's until it is told, and nothing in
	// the ledger remembers them.
	return s.contained > 0 || s.claimed != nil || r.cycle.source.has(s.claims) || r.cycle.before.has(s.claims)
}

func checkQuiet(t *rapid.T, w *world) {
	if want := max(0, w.free()-w.buffer); w.available != want {
		t.Fatalf("quiet, and the shop shows %d of %+v; %d units are free, buffer %d", w.available, w.cycle.figures, w.free(), w.buffer)
	}
	source, owed, kept := w.stock, int64(0), 0
	for _, s := range w.sales {
		source -= s.contained
		if s.refused {
			owed += s.shop.quantity
		}
		if s.refused && s.shop.quantity > 0 || s.shop.quantity > 0 && !s.shop.fulfilled {
			kept++
		}
	}
	if want := (allocation.Figures{Available: source, Buffer: w.buffer, Committed: owed}); w.cycle.figures != want {
		t.Fatalf("quiet, and the target came from %+v, want %+v", w.cycle.figures, want)
	}
	if w.ledger.Len() != kept {
		t.Fatalf("quiet, and the ledger holds %d orders, want %d", w.ledger.Len(), kept)
	}
}

// A shop that says how much it has sold never sells what is not there, as long
// as it does not fulfill orders behind the engine's back: whatever is late, the
// customers' orders never exceed the stock.
func TestNothingIsOversold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &run{world: newWorld(rapid.Int64Range(0, 40).Draw(t, "stock"), 0, true)}
		for range rapid.IntRange(60, 180).Draw(t, "actions") {
			r.act(t)
			if _, hidden := r.unheard(); hidden > 0 {
				for _, s := range r.sales {
					for len(s.webhooks) > 0 {
						r.hear(s, 0)
					}
				}
			}
			if r.free() < 0 {
				t.Fatalf("%d units more were sold than there are", -r.free())
			}
		}
	})
}
