// Package ingest is the role that takes webhooks in. A 2xx means that the event
// was verified and is on disk; everything that cannot be stored is answered so
// that the sender comes again, and nothing is dropped in silence.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/groupcommit"
	"github.com/peppasync/peppasync/services/ingest/internal/hedge"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
	"github.com/peppasync/peppasync/services/ingest/internal/poller"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
	"github.com/peppasync/peppasync/services/ingest/internal/rpc"
	"github.com/peppasync/peppasync/services/ingest/internal/webhook"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/notice"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Role is the name of this role, as logs and traces spell it.
const Role = "ingest"

// Config is what ingest needs. All fields but Systems and GRPC are required.
type Config struct {
	Bus     *bus.Bus
	Catalog *catalog.Store
	// Sources by the name that a Connector's spec.system gives.
	Sources map[string]connectors.Source
	// Systems likewise; those that can be asked for the orders which webhooks miss are.
	Systems map[string]connectors.System
	Secrets secrets.Resolver
	// Listener is where webhooks come in; Run closes it.
	Listener net.Listener
	// GRPC is where programs hand orders in (IngestService), nil for nowhere; Run closes
	// it.
	GRPC      net.Listener
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
}

// bounds are the limits that code sets; each keeps memory or time in check.
type bounds struct {
	// writersPerShard packs are under way at the same time: while one is being
	// synced, the next is on its way.
	writersPerShard int
	// A pack has at most so many events and bytes.
	packEvents, packBytes int
	// eventBytes is the largest event. The streams of INGEST take messages of
	// 1 MiB, of which the frame and the headers need a little.
	eventBytes int
	// requests are in work, once their bodies are in, and connections are open at
	// most at the same time; bodyBytes are held for them.
	requests, connections int64
	bodyBytes             int64
	// callers are connected at most over gRPC, with calls in work at the same time; of
	// those a stream works on so many submissions. A call has at most one message in
	// memory that is not counted among the bodies: in all as much as calls times the
	// largest event, if callers with credentials mean ill. otherCalls are questions of
	// health and reflection, which anybody may ask.
	callers, calls, otherCalls int64
	callWindow                 int
	// Exact repetitions are known for a while: each of so many events takes 28 bytes
	// of memory at most. What is beyond them is settled by the order's state.
	recentEvents int
	recentAge    time.Duration
	// patience is how long a request waits to be stored, writeTimeout how long
	// one write may take: both well under the 5 s after which Shopify gives up.
	patience, writeTimeout time.Duration
	// hedgeAfter is how long a shard may be silent until the next one gets the pack
	// too: fsyncs stall for tens of milliseconds, and a stream that has lost its
	// leader is silent for 6 to 8 s. It is asked last for aside then. outage is how
	// long packs wait where all shards fail, which is to be enough to connect to
	// another server of the cluster.
	hedgeAfter, aside, outage time.Duration
	// headerTimeout and requestTimeout (until the body is in) bound slow senders:
	// Shopify itself gives up after 5 s. idleTimeout and headerBytes bound idle and
	// odd ones.
	headerTimeout, requestTimeout, idleTimeout time.Duration
	headerBytes                                int
	// grace is how long requests may take to end when ingest stops.
	grace time.Duration
}

func defaultBounds() bounds {
	return bounds{
		writersPerShard: 1,
		packEvents:      256,
		packBytes:       512 << 10,
		eventBytes:      1<<20 - 4<<10,
		requests:        1024,
		connections:     4096,
		bodyBytes:       48 << 20,
		callers:         256,
		calls:           256,
		otherCalls:      8,
		callWindow:      128,
		recentEvents:    2_000_000,
		recentAge:       7 * 24 * time.Hour, // as long as the streams keep them
		patience:        3 * time.Second,
		writeTimeout:    2500 * time.Millisecond,
		hedgeAfter:      100 * time.Millisecond,
		aside:           500 * time.Millisecond,
		outage:          time.Second,
		headerTimeout:   3 * time.Second,
		requestTimeout:  5 * time.Second,
		idleTimeout:     60 * time.Second,
		headerBytes:     32 << 10,
		grace:           5 * time.Second,
	}
}

// Ingest takes webhooks in. It is safe for concurrent use.
type Ingest struct {
	config Config
	bounds bounds
	keeper *keep.Keeper
	door   *webhook.Handler
	recent *recent.Index
	// rebuilt is how far the index is after the start.
	rebuilt progress
	// newest tells when streams have lost what is in the index; anew is asked then for
	// another one.
	newest newest
	anew   chan struct{}
	// programs is the door over gRPC.
	programs *rpc.Server
	notices  *notice.Board
	health   *health
	room     room
	// poller is nil where no system can be asked.
	poller *poller.Poller

	// committer is nil until the number of shards is known.
	committer atomic.Pointer[groupcommit.Committer]
	packs     atomic.Uint64
}

// New returns an ingest that answers nobody until Run.
func New(config Config) (*Ingest, error) { return newIngest(config, defaultBounds()) }

func newIngest(config Config, limits bounds) (*Ingest, error) {
	if config.Bus == nil || config.Catalog == nil || config.Secrets == nil || config.Listener == nil ||
		config.Logger == nil || config.Telemetry == nil {
		return nil, errors.New("ingest: Bus, Catalog, Secrets, Listener, Logger and Telemetry are required")
	}
	if len(config.Sources) == 0 {
		return nil, errors.New("ingest: Sources are required: without one no webhook can be read")
	}
	in := &Ingest{
		config: config, bounds: limits, notices: notice.New(config.Logger, 10*time.Second),
		recent: recent.New(limits.recentEvents, limits.recentAge), anew: make(chan struct{}, 1),
	}
	in.health = &health{check: in.check}
	in.keeper = keep.New(keep.Config{
		Connectors:    config.Catalog.Connectors,
		Committer:     in,
		Recent:        in.recent,
		Memory:        keep.NewMemory(limits.bodyBytes),
		Notices:       in.notices,
		MaxRequests:   limits.requests,
		MaxEventBytes: limits.eventBytes,
	})
	latency, err := newLatency(config.Telemetry.Meter(Role))
	if err != nil {
		return nil, err
	}
	in.door = webhook.New(webhook.Config{
		Latency:   latency,
		Keeper:    in.keeper,
		Sources:   config.Sources,
		Secrets:   config.Secrets,
		Tracer:    config.Telemetry.Tracer(Role),
		MaxEvents: limits.packEvents,
		Patience:  limits.patience,
	})
	in.programs = rpc.New(rpc.Config{
		Keeper:   in.keeper,
		Topics:   func(connector string) []string { return config.Catalog.Current().Topics(connector) },
		Sources:  config.Sources,
		Secrets:  config.Secrets,
		Tracer:   config.Telemetry.Tracer(Role),
		Patience: limits.patience,
		Window:   limits.callWindow,
		Idle:     limits.idleTimeout,
	})
	in.poller, err = in.newPoller()
	return in, err
}

// Addr returns where webhooks come in.
func (in *Ingest) Addr() net.Addr { return in.config.Listener.Addr() }

// Counts are totals since the start.
type Counts struct {
	// Stored events, exact Duplicates of them, and deliveries and submissions Refused for
	// good (4xx) and Postponed (503).
	Stored, Duplicates, Refused, Postponed uint64
	// Packs are the writes that the stored ones took.
	Packs uint64
}

// Counts returns the totals so far.
func (in *Ingest) Counts() Counts {
	stored, duplicates := in.keeper.Stored()
	refused, postponed := in.door.Counts()
	refusedCalls, postponedCalls := in.programs.Counts()
	return Counts{stored, duplicates, refused + refusedCalls, postponed + postponedCalls, in.packs.Load()}
}

// Run serves until ctx is done, lets the requests that are in work end, and
// returns nil. It serves from the first moment on: while the bus is away, 503.
func (in *Ingest) Run(ctx context.Context) error {
	// Writers outlive the server: requests in work still need them.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	stopMeasuring, err := in.measure()
	if err != nil {
		stopWriting()
		return err
	}
	defer stopMeasuring()
	var parts sync.WaitGroup
	parts.Go(func() { in.write(writing) })
	reading, stopReading := context.WithCancel(ctx)
	parts.Go(func() { in.readBack(reading) })
	defer func() {
		stopReading()
		stopWriting()
		parts.Wait()
	}()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return in.serve(ctx) })
	group.Go(func() error { return in.lookForMissed(ctx) })
	group.Go(func() error {
		if err := in.serveGRPC(ctx); err != nil {
			return fmt.Errorf("ingest: serving gRPC on %s: %w", in.config.GRPC.Addr(), err)
		}
		return nil
	})
	return group.Wait()
}

// write runs the writers, once it is known how many shards there are.
func (in *Ingest) write(ctx context.Context) {
	// Supervise repeats until the shards are known; the writers themselves end
	// with ctx only.
	_ = run.Supervise(ctx, in.config.Logger, "writers", func(ctx context.Context) error {
		shards, err := in.config.Bus.Shards(ctx, bus.PrefixIngest)
		if err != nil {
			return fmt.Errorf("counting the ingest shards: %w", err)
		}
		hedged, err := in.hedged(shards)
		if err != nil {
			return err
		}
		committer, err := groupcommit.New(groupcommit.Options{
			Writers:      shards * in.bounds.writersPerShard,
			MaxEvents:    in.bounds.packEvents,
			MaxBytes:     in.bounds.packBytes,
			MaxQueued:    int(in.bounds.requests),
			WriteTimeout: in.bounds.writeTimeout,
			Write: func(ctx context.Context, writer int, pack []byte, _ int) error {
				return in.writePack(ctx, hedged, writer%shards, pack)
			},
		})
		if err != nil {
			return err
		}
		in.committer.Store(committer)
		var watching sync.WaitGroup
		watching.Go(func() { in.watchRoom(ctx, shards) })
		committer.Run(ctx)
		watching.Wait()
		return nil
	})
}

// hedged returns what writes packs to the shards.
func (in *Ingest) hedged(shards int) (*hedge.Hedge, error) {
	return hedge.New(hedge.Options{
		Shards: shards, After: in.bounds.hedgeAfter, Aside: in.bounds.aside, Outage: in.bounds.outage,
		Write: in.publish, Passing: bus.IsUnavailable, Silent: in.config.Bus.Revive,
		Late: func(shard int) {
			if shards == 1 {
				return // it is waited for, and who waited in vain is told of
			}
			in.notices.Post(slog.LevelWarn, fmt.Sprint("late ", shard),
				"an ingest stream does not acknowledge in time, the others get its packs", slog.String("stream", bus.IngestStream(shard)))
		},
	})
}

// writePack stores a pack in a shard, or, in a cluster, to one that answers. The shards of a
// server alone are one disk: where one is silent another would only double its work.
func (in *Ingest) writePack(ctx context.Context, hedged *hedge.Hedge, shard int, pack []byte) error {
	write := hedged.Write
	if !in.config.Bus.Clustered() {
		write = in.publish
	}
	if err := write(ctx, shard, pack); err != nil {
		return err
	}
	in.packs.Add(1)
	return nil
}

func (in *Ingest) publish(ctx context.Context, shard int, pack []byte) error {
	ack, err := in.config.Bus.Publish(ctx, bus.Message{
		Subject: bus.IngestSubject(shard), ExpectStream: bus.IngestStream(shard), Data: pack,
	})
	if err == nil {
		in.newest.stored(shard, ack.Sequence)
	}
	in.room.tried(shard, len(pack), err)
	return err
}

var errNotStarted = errors.New("the streams are not known yet")

// store stores encoded events, side by side in their order.
func (in *Ingest) store(until time.Time, events ...[]byte) error {
	committer := in.committer.Load()
	if committer == nil {
		return errNotStarted
	}
	bytes := 0
	for _, event := range events {
		bytes += len(event)
	}
	if err := in.room.admit(bytes); err != nil {
		return err
	}
	defer in.room.leave(bytes)
	return committer.Commit(until, events...)
}

// check returns nil where webhooks can be stored.
func (in *Ingest) check(ctx context.Context) error {
	if in.committer.Load() == nil {
		return errNotStarted
	}
	if in.config.Catalog.Current() == nil {
		return errors.New("the catalog is not loaded yet")
	}
	if err := in.room.full(); err != nil {
		return err
	}
	if err := in.room.kept(); err != nil {
		return err
	}
	return in.config.Bus.Healthy(ctx)
}
