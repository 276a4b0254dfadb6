package inventoryreconciler

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/inventory-reconciler/internal/allocation"
)

const (
	// partSize is how many SKUs one question to a channel is about: what Shopify
	// takes.
	partSize = 250
	// writesPerRead bounds how old the figures are that a write is made by.
	writesPerRead = 16
	// gather is how long orders of other channels are collected until a channel
	// is corrected for them.
	gather = 100 * time.Millisecond
)

// channelWorker keeps one channel of a pool in step.
type channelWorker struct {
	pool   *poolWorker
	place  v1alpha1.StockChannel
	log    *slog.Logger
	parts  []*part
	pauses *pauses
	// others are the connectors of the other channels.
	others []string
}

// part is a number of SKUs that are read and written together.
type part struct {
	index int
	skus  []string
	// batch is how many are written together at most: a set is refused whole
	// where one of its figures has changed.
	batch int
	// sold is what the other channels had sold when it was last compared.
	sold map[string]int64
	due  bool
	// missing are those that the channel does not have.
	missing missing
	gap     *gap
}

func newChannelWorker(w *poolWorker, place v1alpha1.StockChannel) *channelWorker {
	log := w.log.With("channel", place.Connector, "location", place.Location)
	c := &channelWorker{pool: w, place: place, log: log, pauses: newPauses(w.catalog, log)}
	for skus := range slices.Chunk(w.spec.SKUs, partSize) {
		c.parts = append(c.parts, &part{
			index: len(c.parts), skus: skus, batch: len(skus), missing: missing{log: log, where: "channel"}, gap: w.outOfStep.gap(w.name, place.Connector),
		})
	}
	for _, other := range w.connectors {
		if other != place.Connector {
			c.others = append(c.others, other)
		}
	}
	return c
}

// run compares the channel with each reading of the source, and in between where
// another channel has sold: what this one sold it has taken off itself.
func (c *channelWorker) run(ctx context.Context) error {
	defer c.forget(ctx)
	var seen *reading
	for {
		moved := c.pool.orders.changes()
		newest, read := c.pool.latest()
		if newest != nil {
			c.mark(newest != seen)
			seen = newest
		}
		if next := c.next(); next != nil {
			if err := c.align(ctx, next); err != nil {
				return err
			}
			continue
		}
		if newest == nil || len(c.others) == 0 {
			moved = nil
		}
		select {
		case <-read:
		case <-moved:
			if err := until(ctx, time.Now().Add(gather)); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// forget has nothing counted of a channel that nobody compares any more.
func (c *channelWorker) forget(ctx context.Context) {
	for _, p := range c.parts {
		p.gap.is(ctx, 0)
	}
}

// mark makes due all parts, or those of which another channel has sold more.
func (c *channelWorker) mark(all bool) {
	for _, p := range c.parts {
		p.due = p.due || all
		if p.due || len(c.others) == 0 {
			continue
		}
		for sku, sold := range c.pool.orders.open(c.others, p.skus) {
			p.due = p.due || sold > p.sold[sku]
		}
	}
}

// next returns a part that is due, and puts it behind the others.
func (c *channelWorker) next() *part {
	i := slices.IndexFunc(c.parts, func(p *part) bool { return p.due })
	if i < 0 {
		return nil
	}
	p := c.parts[i]
	c.parts = append(slices.Delete(c.parts, i, i+1), p)
	return p
}

// align reads a part of the channel and writes what differs. Where not all of it
// took effect, the part stays due.
func (c *channelWorker) align(ctx context.Context, p *part) error {
	known := c.pool.orders.open([]string{c.place.Connector}, p.skus)
	result, err := c.pool.ask(ctx, c.place, p.index, connectors.OperationReadStock, stock.Read{SKUs: p.skus, Location: c.place.Location}.Arguments())
	if err != nil {
		return err
	}
	figures, expired, err := answered(result)
	switch {
	case err != nil:
		return c.pauses.wait(ctx, "read the channel", err)
	case expired:
		return nil
	}
	if slices.ContainsFunc(figures, func(f stock.Figure) bool { return f.Committed == nil }) {
		// Nothing but the orders tells what such a channel has sold.
		if err := c.pool.orders.sync(ctx); err != nil {
			return c.pauses.wait(ctx, "read what the channel sold", err)
		}
	}
	p.missing.report(ctx, p.skus, figures)
	p.sold = c.pool.orders.open(c.others, p.skus)
	items := c.differences(ctx, figures, known)
	p.gap.is(ctx, len(items))
	p.due = len(items) > 0
	if !p.due {
		c.pauses.reset()
	}
	return c.writeAll(ctx, p, items)
}

// writeAll makes the writes that one read is good for. A conflict concerns its own
// items; where the outcome is not known, or the call was not made, what the channel
// shows is read before anything else is written.
func (c *channelWorker) writeAll(ctx context.Context, p *part, items []stock.SetItem) error {
	refusedOne, wrong := false, len(items)
	for range writesPerRead {
		n := min(p.batch, len(items))
		if n == 0 {
			p.due = refusedOne
			return nil
		}
		result, err := c.write(ctx, p, items[:n])
		if err != nil {
			return err
		}
		switch result.GetOutcome() {
		case dispatchv1.Outcome_OUTCOME_DELIVERED:
			c.pauses.reset()
			p.batch = min(len(p.skus), 2*p.batch)
			wrong -= n
			p.gap.is(ctx, wrong)
		case dispatchv1.Outcome_OUTCOME_CONFLICT:
			refusedOne = true
			p.batch = max(1, n/2)
		case dispatchv1.Outcome_OUTCOME_EXPIRED:
			return nil
		default:
			return c.pauses.wait(ctx, "write the channel", refused(result))
		}
		items = items[n:]
	}
	p.due = refusedOne || len(items) > 0
	return nil
}

// differences returns what is to be written where the channel shows this.
func (c *channelWorker) differences(ctx context.Context, figures []stock.Figure, known map[string]int64) []stock.SetItem {
	evidence := c.pool.evidence(c.place, figures, known)
	items := make([]stock.SetItem, 0, len(figures))
	for _, f := range figures {
		e, ok := evidence[f.SKU]
		if !ok {
			continue
		}
		if 1 < count(figures, f.SKU) {
			// Each would be shown the whole figure, and sell it.
			c.log.ErrorContext(ctx, "several items of the channel share a SKU; none of them is written: make SKUs unique", "sku", f.SKU)
			continue
		}
		show, unsure := allocation.Decide(f.Available, e)
		if unsure {
			select {
			case c.pool.unsure <- struct{}{}:
			default:
			}
		}
		if show != f.Available {
			c.log.DebugContext(ctx, "the channel is corrected", "sku", f.SKU, "from", f.Available, "to", show,
				"least", e.Least, "most", e.Most, "before", e.Before)
			items = append(items, stock.SetItem{SKU: f.SKU, Item: f.Item, Quantity: show, ChangeFrom: f.Available})
		}
	}
	return items
}

// write makes one compare-and-set, of all of the items or of none.
func (c *channelWorker) write(ctx context.Context, p *part, items []stock.SetItem) (*dispatchv1.Result, error) {
	ctx, span := c.pool.tracer.Start(ctx, "correct "+c.place.Connector, trace.WithAttributes(
		attribute.String("peppasync.pool", c.pool.name), attribute.Int("peppasync.skus", len(items)),
	))
	defer span.End()
	return c.pool.ask(ctx, c.place, p.index, connectors.OperationSetStock, stock.Set{
		Location: c.place.Location, Reference: "peppasync://stock-pools/" + c.pool.name, Items: items,
	}.Arguments())
}

func count(figures []stock.Figure, sku string) int {
	n := 0
	for _, f := range figures {
		if f.SKU == sku {
			n++
		}
	}
	return n
}
