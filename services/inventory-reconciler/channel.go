package inventoryreconciler

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

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
	// rounds is how often one part is read and written in a row where somebody
	// else changes the figure in between; then the next reading is waited for.
	rounds = 8
)

// channelWorker keeps one channel of a pool in step.
type channelWorker struct {
	pool    *poolWorker
	channel v1alpha1.StockChannel
	log     *slog.Logger
	pauses  pauses
}

func newChannelWorker(w *poolWorker, channel v1alpha1.StockChannel) *channelWorker {
	return &channelWorker{pool: w, channel: channel, log: w.log.With("channel", channel.Connector, "location", channel.Location)}
}

// run compares the channel with each new reading of the source.
func (c *channelWorker) run(ctx context.Context) error {
	_, read := c.pool.latest()
	for {
		select {
		case <-read:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		_, read = c.pool.latest()
		part := 0
		for skus := range slices.Chunk(c.pool.spec.SKUs, partSize) {
			if err := c.align(ctx, part, skus); err != nil {
				return err
			}
			part++
		}
	}
}

// align reads a part of the channel and writes what differs, again where the
// channel changed in between.
func (c *channelWorker) align(ctx context.Context, part int, skus []string) error {
	for range rounds {
		result, err := c.ask(ctx, part, connectors.OperationReadStock, stock.Read{SKUs: skus, Location: c.channel.Location}.Arguments())
		if err != nil {
			return err
		}
		shown, err := answered(result)
		if err != nil {
			return c.pause(ctx, "the channel cannot be read", err)
		}
		items := c.differences(shown)
		if len(items) == 0 {
			return nil
		}
		result, err = c.ask(ctx, part, connectors.OperationSetStock, stock.Set{
			Location: c.channel.Location, Reference: "peppasync://stock-pools/" + c.pool.name, Items: items,
		}.Arguments())
		if err != nil {
			return err
		}
		switch result.GetOutcome() {
		case dispatchv1.Outcome_OUTCOME_DELIVERED:
			c.pauses.reset()
			return nil
		case dispatchv1.Outcome_OUTCOME_CONFLICT, dispatchv1.Outcome_OUTCOME_EXPIRED:
		default:
			_, err := answered(result)
			return c.pause(ctx, "the channel cannot be written", err)
		}
	}
	return nil
}

// differences returns what is to be written where the channel shows this.
func (c *channelWorker) differences(shown []stock.Figure) []stock.SetItem {
	r, _ := c.pool.latest()
	committed := c.pool.orders.committed(c.pool.name, r.issued)
	var items []stock.SetItem
	for _, s := range shown {
		available, known := r.available[s.SKU]
		if !known {
			continue
		}
		target := allocation.Target(allocation.Figures{Available: available, Buffer: c.pool.spec.Buffer, Committed: committed[s.SKU]})
		if target != s.Available {
			items = append(items, stock.SetItem{SKU: s.SKU, Item: s.Item, Quantity: target, ChangeFrom: s.Available})
		}
	}
	return items
}

func (c *channelWorker) ask(ctx context.Context, part int, operation string, arguments *structpb.Struct) (*dispatchv1.Result, error) {
	return c.pool.asker.ask(ctx, c.pool.question(c.channel.Connector, c.channel.Location, part, operation, arguments))
}

func (c *channelWorker) pause(ctx context.Context, what string, err error) error {
	at := time.Now().Add(c.pauses.next())
	c.log.Warn(what+"; it keeps what it shows", "error", err, "again_at", at)
	return until(ctx, at)
}
