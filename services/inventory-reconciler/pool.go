package inventoryreconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/structpb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/stock"
)

const (
	// minExpiry is how long a question may wait for its turn at the least. What
	// is read is as of the call, so that a late answer is as good as any; the
	// expiry only clears away what an earlier process asked.
	minExpiry = 10 * time.Second
	// heldPause is the first wait after a question that ended in the Error Hold,
	// and maxHeldPause the longest: each such end is an entry there, and a text to
	// somebody, and asking at once would only add another.
	heldPause    = 30 * time.Second
	maxHeldPause = 15 * time.Minute
)

// reading is what the source had, as of no earlier moment than issued.
type reading struct {
	issued    time.Time
	available map[string]int64
}

// poolWorker keeps one pool in step: one goroutine reads the source, one for
// each channel compares and writes, so that no outage of one holds up the others.
type poolWorker struct {
	name   string
	spec   v1alpha1.StockPoolSpec
	orders *orders
	asker  *asker
	log    *slog.Logger

	mu     sync.Mutex
	newest *reading
	// read is closed and replaced with each newer reading.
	read chan struct{}
}

func newPoolWorker(config Config, name string, pool *v1alpha1.StockPool, o *orders, a *asker) *poolWorker {
	return &poolWorker{
		name: name, spec: pool.Spec, orders: o, asker: a,
		log: config.Logger.With("pool", name), read: make(chan struct{}),
	}
}

// run works until ctx is done; an error is one that a new start may heal.
func (w *poolWorker) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.readSource(ctx) })
	for _, c := range w.spec.Channels {
		channel := newChannelWorker(w, c)
		group.Go(func() error { return channel.run(ctx) })
	}
	return group.Wait()
}

// readSource reads the source every readEvery, one read at a time.
func (w *poolWorker) readSource(ctx context.Context) error {
	source := w.spec.Source
	pauses := &pauses{}
	for {
		next := time.Now().Add(source.ReadEvery.Duration)
		result, err := w.asker.ask(ctx, w.question(source.Connector, source.Location, 0, connectors.OperationReadStock,
			stock.Read{SKUs: w.spec.SKUs, Location: source.Location}.Arguments()))
		if err != nil {
			return err
		}
		figures, err := answered(result)
		switch {
		case err != nil:
			next = time.Now().Add(pauses.next())
			w.log.Warn("the source of the pool cannot be read; its channels keep what they show", "connector", source.Connector, "error", err, "again_at", next)
		case figures != nil:
			pauses.reset()
			w.take(result.GetIssuedAt().AsTime(), figures)
		}
		if err := until(ctx, next); err != nil {
			return err
		}
	}
}

// take makes figures the newest reading, and wakes the channels.
func (w *poolWorker) take(issued time.Time, figures []stock.Figure) {
	r := &reading{issued: issued, available: make(map[string]int64, len(figures))}
	for _, f := range figures {
		r.available[f.SKU] = f.Available
	}
	w.orders.release(w.name, issued)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newest = r
	close(w.read)
	w.read = make(chan struct{})
}

// latest returns the newest reading, nil before the first, and what is closed at
// the next.
func (w *poolWorker) latest() (*reading, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest, w.read
}

// question makes one question about a part of the SKUs. Its key keeps what is
// asked about one place in order, over restarts too: a write that an earlier
// process left behind is over before the first read answers.
func (w *poolWorker) question(connector, location string, part int, operation string, arguments *structpb.Struct) question {
	return question{
		connector: connector, lane: w.spec.Lane, key: fmt.Sprintf("stock_%s_%s_%d", w.name, location, part),
		operation: operation, arguments: arguments,
		expires: time.Now().Add(max(minExpiry, 2*w.spec.Source.ReadEvery.Duration)),
	}
}

// answered returns the figures of a read, nil where it expired, and an error
// where it ended in the Error Hold or its answer cannot be read.
func answered(result *dispatchv1.Result) ([]stock.Figure, error) {
	switch result.GetOutcome() {
	case dispatchv1.Outcome_OUTCOME_DELIVERED:
		if result.GetIssuedAt() == nil {
			return nil, errors.New("the result does not say when the call was made")
		}
		figures, err := stock.ParseValue(result.GetValue())
		if err != nil {
			return nil, fmt.Errorf("the answer cannot be read: %w", err)
		}
		return append([]stock.Figure{}, figures...), nil
	case dispatchv1.Outcome_OUTCOME_EXPIRED:
		return nil, nil
	default:
		return nil, fmt.Errorf("%s ended as %s: %s: %s", result.GetOperation(), result.GetOutcome(), result.GetCause().GetCode(), result.GetCause().GetDetail())
	}
}

// pauses are waits that double.
type pauses struct{ last time.Duration }

func (p *pauses) next() time.Duration {
	p.last = min(maxHeldPause, max(heldPause, 2*p.last))
	return p.last
}

func (p *pauses) reset() { p.last = 0 }

// until waits for a moment; an error is ctx's.
func until(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
