// Package logicgate is the role that turns events into orders and orders into
// deliveries. It reads the packs that ingest has kept, folds each event into the
// state of its order, asks the flows of the catalog what the order needs now,
// and publishes that to DISPATCH; it reads the results and releases what waited
// for them. It writes state, then deliveries, then acknowledges, so that a crash
// anywhere is healed by reading the same input again.
package logicgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Role is the name of this role, as requesters, consumers and logs spell it.
const Role = "logic-gate"

// defaultWorkers is how many orders are worked on at the same time. Each worker
// mostly waits for the bus; more of them than this only lengthen the queue at
// its disk.
const defaultWorkers = 16

// defaultAckWait bounds what a crash costs in time. Messages in work are kept
// from coming again.
const defaultAckWait = 5 * time.Second

const defaultShardsEvery = 10 * time.Second

// Config is what a gate needs. All fields but Workers are required.
type Config struct {
	Bus     *bus.Bus
	Catalog *catalog.Store
	// Sources by the name that a Connector's spec.system gives.
	Sources map[string]connectors.Source
	// Systems likewise: some can be asked for an order of which events disagree.
	Systems   map[string]connectors.System
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
	// Workers is how many orders are worked on at the same time; 0 for 16.
	Workers int
}

// Gate is the role. Any number of them may run on one bus.
type Gate struct {
	bus     *bus.Bus
	settler *settler
	meter   metric.Meter
	workers int
	// ackWait is how soon the input of a gate that was killed comes again.
	ackWait time.Duration
	// shardsEvery is how often it looks for new ingest shards.
	shardsEvery time.Duration
}

// Stats counts since New.
type Stats struct {
	// Events that were settled, and of these the ones that changed an order,
	// that were older than what is known, that said what is known, that had been
	// applied before, and that were about no order.
	Events, Applied, Stale, Same, Repeated, NotOrders int64
	// Held events and deliveries that this role put into the Error Hold.
	Held int64
	// Deliveries that were published, repetitions included.
	Deliveries int64
	// Results that were settled.
	Results int64
	// Fetches are the calls that were published for events which only name their order,
	// repetitions included, Joined such events that went along with one that was open, and
	// Gone those whose order was not there.
	Fetches, Joined, Gone int64
	// Readings are the calls that were published for orders of which events of one version
	// disagree, repetitions included.
	Readings int64
	// Released deliveries that a person let out of the Error Hold.
	Released int64
}

type counters struct {
	events, applied, stale, same, repeated, notOrders, held, deliveries, results, released, fetches, joined, gone, readings atomic.Int64
}

// New returns a gate that does nothing until Run.
func New(config Config) (*Gate, error) {
	if config.Bus == nil || config.Catalog == nil || config.Logger == nil || config.Telemetry == nil {
		return nil, errors.New("logic-gate: Bus, Catalog, Logger and Telemetry are required")
	}
	if len(config.Sources) == 0 || len(config.Systems) == 0 {
		return nil, errors.New("logic-gate: Sources and Systems are required: without them no event can be read, and no order")
	}
	return newGate(config, config.Bus), nil
}

// newGate lets tests put faults between the gate and its records.
func newGate(config Config, records records) *Gate {
	workers := config.Workers
	if workers <= 0 {
		workers = defaultWorkers
	}
	configured := configuration{config.Catalog, config.Sources, config.Systems, config.Catalog.Newest}
	return &Gate{
		bus: config.Bus, meter: config.Telemetry.Meter(Role), workers: workers, ackWait: defaultAckWait, shardsEvery: defaultShardsEvery,
		settler: newSettler(records, configured, config.Logger, config.Telemetry.Tracer(Role)),
	}
}

// Stats returns what was counted so far. It is safe for concurrent use.
func (g *Gate) Stats() Stats {
	c := &g.settler.counters
	return Stats{
		Events: c.events.Load(), Applied: c.applied.Load(), Stale: c.stale.Load(), Same: c.same.Load(),
		Repeated: c.repeated.Load(), NotOrders: c.notOrders.Load(), Held: c.held.Load(),
		Deliveries: c.deliveries.Load(), Results: c.results.Load(), Released: c.released.Load(),
		Fetches: c.fetches.Load(), Joined: c.joined.Load(), Gone: c.gone.Load(), Readings: c.readings.Load(),
	}
}

// Run works until ctx is done and returns nil; what is not settled by then is
// given back, which takes 3 s at most. It returns an error where the streams are
// not there. It may be called once.
func (g *Gate) Run(ctx context.Context) error {
	ingest, err := g.countShards(ctx)
	if ctx.Err() != nil {
		return nil // told to stop before it had begun
	}
	if err != nil {
		return err
	}
	stopMeasuring, err := g.measure(g.meter)
	if err != nil {
		return err
	}
	defer stopMeasuring()
	queue := newKeyed()
	group, ctx := errgroup.WithContext(ctx)
	worked := make(chan struct{})
	group.Go(func() error {
		defer close(worked)
		queue.run(ctx, g.workers)
		return nil
	})
	read := func(stream string) {
		group.Go(func() error { return g.read(ctx, stream, queue, worked) })
	}
	read(bus.StreamResult)
	for shard := range ingest {
		read(bus.IngestStream(shard))
	}
	group.Go(func() error {
		g.followShards(ctx, ingest, read)
		return nil
	})
	group.Go(func() error {
		g.tidy(ctx)
		return nil
	})
	return group.Wait()
}

// read works off a stream until ctx is done and no task runs any more, as worked says, and
// gives back what is not settled by then.
func (g *Gate) read(ctx context.Context, stream string, queue *keyed, worked <-chan struct{}) error {
	input := newInput(g.bus, stream, g.ackWait, queue, g.settler)
	if err := run.Supervise(ctx, g.settler.log, "reader of "+stream, input.run); err != nil {
		return err
	}
	<-worked
	if err := input.giveBack(ctx); err != nil {
		g.settler.log.WarnContext(ctx, "what is not settled could not be given back; it is read again when its time has run out",
			"stream", stream, "after", g.ackWait, "error", err)
	}
	return nil
}

// countShards looks up where orders go, and returns how many streams of events
// there are.
func (g *Gate) countShards(ctx context.Context) (ingest int, err error) {
	if ingest, err = g.bus.AwaitShards(ctx, bus.PrefixIngest); err != nil {
		return 0, fmt.Errorf("logic-gate: counting the ingest shards: %w", err)
	}
	if g.settler.shards, err = g.bus.AwaitShards(ctx, bus.PrefixOrder); err != nil {
		return 0, fmt.Errorf("logic-gate: counting the order shards: %w", err)
	}
	return ingest, nil
}

// followShards reads ingest shards that are added, until ctx is done: what is
// captured in one that nobody reads would wait for the next start.
func (g *Gate) followShards(ctx context.Context, known int, read func(stream string)) {
	for pause(ctx, g.shardsEvery) == nil {
		now, err := g.bus.Shards(ctx, bus.PrefixIngest)
		if err != nil {
			continue // the bus is away; asked again
		}
		for ; known < now; known++ {
			read(bus.IngestStream(known))
		}
	}
}
