package inventoryreconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/structpb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/inventory-reconciler/internal/allocation"
)

const (
	// minExpiry is how long a question may wait for its turn at the least. What
	// is read is as of the call, so that a late answer is as good as any; the
	// expiry clears away what an earlier process asked, and old writes.
	minExpiry = 10 * time.Second
	// confirmAfter is when a reading that says less than a channel shows is
	// followed by another, if readEvery is longer: by then calls that were cut
	// off by a crash have been repeated.
	confirmAfter = 2 * time.Second
)

// errClock ends the work on a pool whose source was read at an earlier time than
// before: the ledger has forgotten what the earlier reading contained.
var errClock = errors.New("the dispatcher's clock went back: begin anew with all orders")

// reading is what the source had at a moment between issued and settled, by the
// dispatcher's clock.
type reading struct {
	issued, settled time.Time
	available       map[string]int64
}

// poolWorker keeps one pool in step: one goroutine reads the source, one for
// each channel compares and writes, so that no outage of one holds up the others.
type poolWorker struct {
	name    string
	spec    v1alpha1.StockPoolSpec
	catalog *catalog.Store
	orders  *orders
	asker   *asker
	reads   *allowances
	// outOfStep is what the role counts of all pools.
	outOfStep outOfStep
	log       *slog.Logger
	tracer    trace.Tracer
	// connectors are those of the channels, each once.
	connectors []string
	// turns lets one question at a time go to each connector.
	turns map[string]chan struct{}
	// unsure asks for a reading before its time.
	unsure chan struct{}

	mu sync.Mutex
	// newest is nil before the first reading, before until the second.
	newest, before *reading
	// read is closed and replaced with each reading.
	read      chan struct{}
	sightings sightings
}

func newPoolWorker(
	config Config, name string, pool *v1alpha1.StockPool, o *orders, a *asker, reads *allowances, counted outOfStep,
) *poolWorker {
	w := &poolWorker{
		name: name, spec: pool.Spec, catalog: config.Catalog, orders: o, asker: a, reads: reads, outOfStep: counted,
		log: config.Logger.With("pool", name), tracer: config.Telemetry.Tracer(Role),
		turns: map[string]chan struct{}{}, unsure: make(chan struct{}, 1), read: make(chan struct{}), sightings: newSightings(),
	}
	w.turns[pool.Spec.Source.Connector] = make(chan struct{}, 1)
	for _, channel := range pool.Spec.Channels {
		w.turns[channel.Connector] = make(chan struct{}, 1)
		if !slices.Contains(w.connectors, channel.Connector) {
			w.connectors = append(w.connectors, channel.Connector)
		}
	}
	return w
}

// run works until ctx is done; an error is one that a new start may heal.
func (w *poolWorker) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.readSource(ctx) })
	for _, place := range w.spec.Channels {
		channel := newChannelWorker(w, place)
		group.Go(func() error { return channel.run(ctx) })
	}
	return group.Wait()
}

// readSource reads the source every readEvery, one read at a time. While the
// source is away the one read waits at the dispatcher, and is the first call
// after it is back.
func (w *poolWorker) readSource(ctx context.Context) error {
	source := v1alpha1.StockChannel{Connector: w.spec.Source.Connector, Location: w.spec.Source.Location}
	pauses, missing := newPauses(w.catalog, w.log.With("connector", source.Connector)), missing{log: w.log, where: "source"}
	unrouted := unrouted{log: w.log}
	for {
		started := time.Now()
		result, err := w.ask(ctx, source, 0, connectors.OperationReadStock, stock.Read{SKUs: w.spec.SKUs, Location: source.Location}.Arguments())
		if err != nil {
			return err
		}
		figures, expired, err := answered(result)
		switch {
		case err != nil:
			if err := pauses.wait(ctx, "read the source", err); err != nil {
				return err
			}
			continue
		case expired:
			continue
		}
		pauses.reset()
		missing.report(ctx, w.spec.SKUs, figures)
		if err := w.take(&reading{issued: result.GetIssuedAt().AsTime(), settled: result.GetSettledAt().AsTime(), available: available(figures)}); err != nil {
			return err
		}
		unrouted.report(ctx, w.orders.unrouted(w.name), time.Now())
		if err := w.untilNext(ctx, started); err != nil {
			return err
		}
	}
}

// take makes r the newest reading, and wakes the channels.
func (w *poolWorker) take(r *reading) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.newest != nil && !r.issued.After(w.newest.issued) {
		return fmt.Errorf("read at %s after %s: %w", r.issued, w.newest.issued, errClock)
	}
	w.before, w.newest = w.newest, r
	if w.before != nil {
		// Not what the newest contains: before is asked about still.
		w.orders.release(w.name, w.before.issued)
	}
	close(w.read)
	w.read = make(chan struct{})
	return nil
}

// untilNext waits until the next reading is due: readEvery after the last one
// started, or sooner where a channel is unsure.
func (w *poolWorker) untilNext(ctx context.Context, started time.Time) error {
	due := started.Add(w.spec.Source.ReadEvery.Duration)
	select {
	case <-w.unsure: // about an earlier reading
	default:
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.unsure:
	}
	if sooner := started.Add(confirmAfter); sooner.Before(due) {
		due = sooner
	}
	return until(ctx, due)
}

// latest returns the newest reading, nil before the first, and what is closed at
// the next.
func (w *poolWorker) latest() (*reading, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest, w.read
}

// evidence returns what is known now about each SKU of a channel's answer. known
// is Ledger.Open as of before the channel was asked.
func (w *poolWorker) evidence(place v1alpha1.StockChannel, figures []stock.Figure, known map[string]int64) map[string]allocation.Evidence {
	w.mu.Lock()
	defer w.mu.Unlock()
	newest, before := w.newest, w.before
	moment := w.orders.now(w.name, newest, before, w.connectors, w.spec.SKUs)
	w.sightings.see(place, figures, known, moment.open[place.Connector])
	all := make(map[string]allocation.Evidence, len(figures))
	for _, f := range figures {
		available, ok := newest.available[f.SKU]
		if !ok {
			continue
		}
		mostUnseen, leastUnseen := w.sightings.unseen(f.SKU, moment.open)
		free := func(available, committed, unseen int64) int64 {
			return allocation.Free(allocation.Figures{Available: available, Buffer: w.spec.Buffer, Committed: committed, Unseen: unseen})
		}
		e := allocation.Evidence{
			Least: free(available, moment.committed[f.SKU], mostUnseen),
			Most:  free(available, moment.outstanding[f.SKU], leastUnseen),
		}
		if moment.blind {
			e.Least = min(e.Least, f.Available)
		}
		if before != nil {
			if available, ok := before.available[f.SKU]; ok {
				e.Before, e.HasBefore = free(available, moment.before[f.SKU], leastUnseen), true
			}
		}
		all[f.SKU] = e
	}
	return all
}

// ask has one call made at a place of the pool. Its key keeps what is asked about
// one place in order, over restarts too: a write that an earlier process left
// behind is over before the first read answers.
func (w *poolWorker) ask(
	ctx context.Context, place v1alpha1.StockChannel, part int, operation string, arguments *structpb.Struct,
) (*dispatchv1.Result, error) {
	turn := w.turns[place.Connector]
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-turn }()
	if operation == connectors.OperationReadStock {
		if err := w.reads.take(ctx, place.Connector); err != nil {
			return nil, err
		}
	}
	return w.asker.ask(ctx, question{
		connector: place.Connector, lane: w.spec.Lane, key: fmt.Sprintf("stock_%s_%s_%d", w.name, place.Location, part),
		operation: operation, arguments: arguments,
		expires: time.Now().Add(max(minExpiry, w.spec.Source.ReadEvery.Duration)),
	})
}

func available(figures []stock.Figure) map[string]int64 {
	available := make(map[string]int64, len(figures))
	for _, f := range figures {
		available[f.SKU] = f.Available
	}
	return available
}

// missing reports SKUs that a place does not have, once each time they change.
type missing struct {
	log      *slog.Logger
	where    string
	reported string
}

func (m *missing) report(ctx context.Context, skus []string, figures []stock.Figure) {
	var absent []string
	for _, sku := range skus {
		if !slices.ContainsFunc(figures, func(f stock.Figure) bool { return f.SKU == sku }) {
			absent = append(absent, sku)
		}
	}
	text := strings.Join(absent, ", ")
	if text != "" && text != m.reported {
		m.log.WarnContext(ctx, "SKUs of the pool are not known there; channels keep what they show of them", "where", m.where, "skus", text)
	}
	m.reported = text
}

// routedWithin is how long orders may be without a delivery to the source before
// that is worth a line: the topic that a flow waits for comes later than the order.
const routedWithin = time.Minute

// unrouted reports, once each time that it lasts, that the units of some orders
// are held back which no flow sends to the source.
type unrouted struct {
	log      *slog.Logger
	since    time.Time
	reported bool
}

func (u *unrouted) report(ctx context.Context, orders int, now time.Time) {
	switch {
	case orders == 0:
		u.since, u.reported = time.Time{}, false
	case u.since.IsZero():
		u.since = now
	case !u.reported && now.Sub(u.since) > routedWithin:
		u.reported = true
		u.log.WarnContext(ctx, "no flow has sent some of the pool's orders to its source; their units are held back until one does: "+
			"have a flow deliver the channels' orders there", "orders", orders)
	}
}
