// Package inventoryreconciler is the role that keeps the stock which shops show
// in step with the source of truth: what the source has, less what the shops
// sold and the source does not contain yet, written by compare-and-set. All
// reads and writes go through the throttle-dispatcher.
package inventoryreconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"

	"golang.org/x/sync/errgroup"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Role is the name of this role, as requesters, consumers and logs spell it.
const Role = "inventory-reconciler"

// Config is what a reconciler needs. All fields are required.
type Config struct {
	Bus       *bus.Bus
	Catalog   *catalog.Store
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
}

// Reconciler keeps every stock pool of the catalog in step.
type Reconciler struct {
	config    Config
	outOfStep outOfStep
}

// New returns a reconciler that does nothing until Run.
func New(config Config) (*Reconciler, error) {
	if config.Bus == nil || config.Catalog == nil || config.Logger == nil || config.Telemetry == nil {
		return nil, errors.New("inventory-reconciler: Bus, Catalog, Logger and Telemetry are required")
	}
	o, err := newOutOfStep(config.Telemetry.Meter(Role))
	if err != nil {
		return nil, err
	}
	return &Reconciler{config: config, outOfStep: o}, nil
}

// Run works until ctx is done and then returns nil. It keeps nothing: a new
// start reads the orders again and begins with fresh figures. When the stock
// pools of the catalog change it does the same, because orders of a new SKU or
// channel have to be looked for from the beginning.
func (r *Reconciler) Run(ctx context.Context) error {
	shards, err := r.config.Bus.AwaitShards(ctx, bus.PrefixOrder)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("inventory-reconciler: counting the order shards: %w", err)
	}
	for ctx.Err() == nil {
		changed := r.config.Catalog.Changed()
		pools := r.config.Catalog.Current().StockPools
		r.runPools(ctx, shards, pools, changed)
	}
	return nil
}

// runPools keeps these pools in step until they change or ctx is done. The part
// that fails is started again alone; it never takes the others along.
func (r *Reconciler) runPools(ctx context.Context, shards int, pools map[string]*v1alpha1.StockPool, changed <-chan struct{}) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	defer func() { _ = group.Wait() }() // supervised parts return nil
	defer stop()
	if len(pools) > 0 {
		group.Go(func() error {
			return run.Supervise(ctx, r.config.Logger, "stock pools", func(ctx context.Context) error {
				return r.reconcile(ctx, shards, pools)
			})
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		changed = r.config.Catalog.Changed()
		if !samePools(pools, r.config.Catalog.Current().StockPools) {
			return
		}
	}
}

// samePools compares what pools say; a new snapshot holds new pointers.
func samePools(a, b map[string]*v1alpha1.StockPool) bool {
	if len(a) != len(b) {
		return false
	}
	for name, pool := range a {
		if b[name] == nil || !reflect.DeepEqual(pool.Spec, b[name].Spec) {
			return false
		}
	}
	return true
}

// reconcile follows orders and results, and once all orders that there were are
// known it works on the pools. It returns when ctx is done or a part failed.
func (r *Reconciler) reconcile(ctx context.Context, shards int, pools map[string]*v1alpha1.StockPool) error {
	orders := newOrders(r.config, shards, pools)
	asker, reads := newAsker(r.config), newAllowances(r.config.Catalog)
	group, ctx := errgroup.WithContext(ctx)
	for shard := range shards {
		group.Go(func() error { return orders.follow(ctx, shard) })
	}
	group.Go(func() error {
		// Nothing may be written while orders of earlier days are missing, and an
		// acceptance of an order that is not known yet would be lost.
		if err := orders.sync(ctx); err != nil {
			return err
		}
		group.Go(func() error { return asker.listen(ctx, orders.accept) })
		for name, pool := range pools {
			worker := newPoolWorker(r.config, name, pool, orders, asker, reads, r.outOfStep)
			group.Go(func() error { return worker.run(ctx) })
		}
		return nil
	})
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
