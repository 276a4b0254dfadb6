package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// metadataShards is where the first shard's stream says how many there are.
const metadataShards = "peppasync-shards"

// Topology is what Apply makes. Zero shard counts and replicas mean 1; zero
// sizes mean no bound but the server's own.
type Topology struct {
	IngestShards, OrderShards int
	// Replicas is 3 in a cluster.
	Replicas int
	// Bytes on disk, per stream (for ingest per shard). A stream that is at its
	// bound refuses new messages (IsFull). ORDER has none on purpose: a bound
	// would have to discard orders and timers.
	IngestMaxBytes, DispatchMaxBytes, LedgerMaxBytes, ResultMaxBytes, ErrorHoldMaxBytes, JournalMaxBytes int64
	// StoreBytes is what the server may store in all, 0 for what was said before, or
	// where that is not known.
	// Ingest stops taking events well before, so that what it took can be worked
	// off; where IngestMaxBytes is 0 it also gives the ingest shards their bound.
	StoreBytes int64
}

// ingestShare is the part of the store that the ingest shards have together: the
// orders that follow from what they hold are about as large at most, and a third
// is left for everything else.
const ingestShare = 3

func (t Topology) withDefaults() Topology {
	t.IngestShards = max(t.IngestShards, 1)
	t.OrderShards = max(t.OrderShards, 1)
	t.Replicas = max(t.Replicas, 1)
	if t.IngestMaxBytes == 0 && t.StoreBytes > 0 {
		// Less than a message would take nothing at all.
		t.IngestMaxBytes = max(t.StoreBytes/ingestShare/int64(t.IngestShards), ingestMaxMessage+ingestMaxMessage/16)
	}
	return t
}

// Apply makes every stream and bucket that is missing and brings the others to
// the topology. It may be repeated, and goes on where it was interrupted. The
// number of ingest shards never shrinks and the number of order shards never
// changes: an order's home follows from it.
func (b *Bus) Apply(ctx context.Context, t Topology) error {
	if t.StoreBytes == 0 {
		known, err := b.knownStore(ctx)
		if err != nil {
			return err
		}
		t.StoreBytes = known
	}
	t = t.withDefaults()
	if t.OrderShards > orderPartitions {
		return fmt.Errorf("bus: apply: %d order shards, at most %d are possible", t.OrderShards, orderPartitions)
	}
	for _, counted := range []struct {
		prefix string
		want   int
		fixed  bool
	}{{PrefixIngest, t.IngestShards, false}, {PrefixOrder, t.OrderShards, true}} {
		bounded, cancel := context.WithTimeout(ctx, 2*requestTimeout)
		have, err := b.Shards(bounded, counted.prefix)
		cancel()
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if counted.want < have || counted.fixed && counted.want != have {
			return fmt.Errorf("bus: apply: there are %d %s shards and %d are asked for: %s", have, counted.prefix, counted.want,
				"ingest shards may only grow, order shards must stay as they are; ask for the number that is there")
		}
	}
	for _, config := range t.streams() {
		if err := b.applyStream(ctx, config); err != nil {
			return describe(err, "apply stream %s", config.Name)
		}
	}
	return nil
}

const (
	// gatherPatience is how long the servers of a cluster may take to know each other
	// when one was started just now, and to elect a leader (4 to 9 s) when one was lost.
	gatherPatience = 15 * time.Second
	gatherEvery    = 250 * time.Millisecond
	// awaitEvery is how often AwaitShards asks, at most.
	awaitEvery = 250 * time.Millisecond
	// awaitWarning is how often it says that it still waits.
	awaitWarning = time.Minute
	// storelessPatience is how long no server may have JetStream before that is how they
	// are meant to be: one that stops turns it off first, and serves others for a while.
	storelessPatience = 15 * time.Second
)

// applyStream makes or changes a stream. A cluster that has just met refuses one,
// because it has not heard of each server yet, and one that elects a leader may not
// answer: it is asked again, which changes nothing that is as it should be.
func (b *Bus) applyStream(ctx context.Context, config jetstream.StreamConfig) error {
	tick := time.NewTicker(gatherEvery)
	defer tick.Stop()
	for end := time.Now().Add(gatherPatience); ; {
		bounded, cancel := context.WithTimeout(ctx, requestTimeout)
		_, err := b.js.CreateOrUpdateStream(bounded, config)
		cancel()
		if !hasCode(err, codeNoPeers) && !IsUnavailable(err) || ctx.Err() != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w; of %d servers, as many as copies were asked for, not all are there, or most are silent", err, config.Replicas)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// Shards returns how many shards PrefixIngest or PrefixOrder has. ErrNotFound
// before the first Apply is through.
func (b *Bus) Shards(ctx context.Context, prefix string) (int, error) {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	name := shardStream(prefix, 0)
	config, err := b.streamConfig(bounded, name)
	if err != nil {
		return 0, describe(because(bounded, err), "count the shards of %s", prefix)
	}
	text := config.Metadata[metadataShards]
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("bus: stream %s says %q for its number of shards; it was not made by apply", name, text)
	}
	return n, nil
}

// AwaitShards does as Shards, and asks again while the bus is unavailable, until ctx
// is done: for who cannot begin without. It gives up where waiting does not help: on a
// connection that was closed, and on servers that stay without JetStream.
func (b *Bus) AwaitShards(ctx context.Context, prefix string) (int, error) {
	return awaited(ctx, b.log.With("shards", prefix), func(ctx context.Context) (int, error) { return b.Shards(ctx, prefix) })
}

// awaited asks until there is an answer or waiting does not help. It is AwaitShards
// without a connection.
func awaited(ctx context.Context, log *slog.Logger, ask func(context.Context) (int, error)) (int, error) {
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	var warned, storeless time.Time // storeless is since when no server has had JetStream
	for {
		n, err := ask(ctx)
		if err == nil || ctx.Err() != nil || !IsUnavailable(err) ||
			errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionDraining) {
			return n, err
		}
		now := time.Now()
		switch {
		case !isStoreless(err):
			storeless = time.Time{}
		case storeless.IsZero():
			storeless = now
		case now.Sub(storeless) >= storelessPatience:
			return 0, fmt.Errorf("%w; for %v NATS has been there without JetStream, or without it for this account: turn it on, or name another server",
				err, storelessPatience)
		}
		if warned.IsZero() || now.Sub(warned) >= awaitWarning {
			warned = now
			log.WarnContext(ctx, "the bus does not say how many shards there are; it is asked until it does", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, errors.Join(err, ctx.Err())
		}
	}
}

// isStoreless reports whether a server answers that JetStream is off, or that nobody
// serves it. Servers that elect a leader are silent instead.
func isStoreless(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || hasCode(err, jetstream.JSErrCodeJetStreamNotEnabled)
}

// streamConfig asks how a stream is made. Not the handles that are kept: it may have
// changed.
func (b *Bus) streamConfig(ctx context.Context, name string) (jetstream.StreamConfig, error) {
	return hedged(ctx, func(ctx context.Context) (jetstream.StreamConfig, error) {
		s, err := b.js.Stream(ctx, name)
		if err != nil {
			return jetstream.StreamConfig{}, err
		}
		return s.CachedInfo().Config, nil
	})
}

const (
	day = 24 * time.Hour
	// The duplicate window must cover a sender's immediate retries; doubles that
	// come later are settled in the order's state. Where no message ids are used
	// it is the server's minimum: the window costs memory.
	duplicatesByID   = 2 * time.Minute
	duplicatesUnused = 100 * time.Millisecond

	ingestMaxMessage = 1 << 20
	// One durable consumer per connector and lane; the server's default is 1000.
	dispatchMaxConsumers = 5000
)

// streams returns the configurations, in the order in which they are to be made.
func (t Topology) streams() []jetstream.StreamConfig {
	base := func(name string, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: subjects,
			Storage: jetstream.FileStorage, Replicas: t.Replicas, Retention: jetstream.LimitsPolicy,
			Discard: jetstream.DiscardNew, Duplicates: duplicatesUnused,
			// Reads go to the leader: a follower may answer with what is not the
			// newest, and reads here decide what is sent.
			AllowDirect: false,
		}
	}
	bounded := func(c jetstream.StreamConfig, age time.Duration, bytes int64) jetstream.StreamConfig {
		c.MaxAge, c.MaxBytes = age, bytes
		if bytes == 0 {
			c.MaxBytes = -1
		}
		return c
	}
	var configs []jetstream.StreamConfig

	dispatch := bounded(base(StreamDispatch, "dispatch.v1.>"), 0, t.DispatchMaxBytes)
	dispatch.Retention, dispatch.MaxConsumers = jetstream.WorkQueuePolicy, dispatchMaxConsumers
	// No bound of its own: it holds what has left DISPATCH, and a delivery that
	// can neither stay there nor leave would stand in the way of all others.
	waiting := bounded(base(StreamWaiting, "waiting.v1.>"), 0, 0)
	waiting.MaxMsgsPerSubject = 1
	ledger := bounded(base(StreamLedger, "ledger.v1.>"), 30*day, t.LedgerMaxBytes)
	result := bounded(base(StreamResult, "result.v1.>"), 7*day, t.ResultMaxBytes)
	result.AllowAtomicPublish = true
	// Pages of orders are read within minutes, and would be most of what is in it.
	result.AllowMsgTTL = true
	hold := bounded(base(StreamErrorHold, "hold.v1.>"), 0, t.ErrorHoldMaxBytes)
	journal := bounded(base(StreamJournal, "journal.v1.>"), 0, t.JournalMaxBytes)
	configs = append(configs, dispatch, waiting, ledger, result, hold, journal)

	for _, bucket := range []string{BucketCatalog, BucketLease, BucketSource} {
		c := base(KeyValueStream(bucket), "$KV."+bucket+".>")
		c.MaxMsgsPerSubject, c.AllowRollup, c.DenyDelete = 1, true, true
		c.AllowMsgTTL, c.SubjectDeleteMarkerTTL = bucket != BucketCatalog, 0
		if bucket == BucketLease {
			// A watcher of a lease that ran out hears of it by a marker.
			c.SubjectDeleteMarkerTTL = time.Minute
		}
		configs = append(configs, c)
	}
	// From the last shard to the first: where the first is there, all are.
	for shard := t.OrderShards - 1; shard >= 0; shard-- {
		configs = append(configs, t.order(base(OrderStream(shard)), shard))
	}
	for shard := t.IngestShards - 1; shard >= 0; shard-- {
		c := bounded(base(IngestStream(shard), IngestSubject(shard)), 7*day, t.IngestMaxBytes)
		c.Duplicates, c.MaxMsgSize, c.DenyDelete = duplicatesByID, ingestMaxMessage, true
		c.Metadata = shardMetadata(shard, t.IngestShards)
		if shard == 0 && t.StoreBytes > 0 {
			c.Metadata[metadataStore] = strconv.FormatInt(t.StoreBytes, 10)
		}
		configs = append(configs, c)
	}
	return configs
}

// order completes the stream of one order shard. It has no bound on bytes, age or
// count: discarding the oldest would drop orders and timers in silence, and
// refusing the newest is not allowed beside schedules. The server's own store
// limit bounds it, and refuses cleanly.
func (t Topology) order(c jetstream.StreamConfig, shard int) jetstream.StreamConfig {
	for partition := shard; partition < orderPartitions; partition += t.OrderShards {
		for _, kind := range []string{"state", "timer", "wake"} {
			c.Subjects = append(c.Subjects, fmt.Sprintf("order.%s.v1.%d.>", kind, partition))
		}
	}
	c.Discard, c.MaxMsgsPerSubject = jetstream.DiscardOld, 1
	c.AllowMsgSchedules, c.AllowAtomicPublish, c.AllowMsgTTL = true, true, true
	// Schedules need both: the server rolls them up and purges them.
	c.AllowRollup, c.DenyDelete = true, true
	c.Metadata = shardMetadata(shard, t.OrderShards)
	return c
}

// shardMetadata is written on the first shard only: it is made last and updated
// last, so that the number is true whenever it can be read.
func shardMetadata(shard, shards int) map[string]string {
	if shard != 0 {
		return nil
	}
	return map[string]string{metadataShards: strconv.Itoa(shards)}
}
