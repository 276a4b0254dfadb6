package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// clockMargin is how far the clocks of ingest and of NATS may be apart, with what it
// takes to store an event. The streams are cut by one, events are meant by the other.
const clockMargin = 5 * time.Minute

// history is what choosing events needs of the bus.
type history interface {
	Extent(ctx context.Context, stream string) (bus.Extent, error)
	At(ctx context.Context, stream string, sequence uint64) (bus.Record, error)
	Since(ctx context.Context, stream string, at time.Time) (uint64, error)
	ReadLarge(ctx context.Context, stream, subject string, from uint64) iter.Seq2[bus.Record, error]
}

// inlet is what putting them in needs of it.
type inlet interface {
	Shards(ctx context.Context, prefix string) (int, error)
	Publish(ctx context.Context, m bus.Message) (bus.Ack, error)
	Backlog(ctx context.Context, stream, durable string) (bus.Backlog, error)
	IngestRoom(ctx context.Context, shards int) (bus.Room, error)
}

// published is what it needs to tell whether anybody can read them.
type published interface {
	Get(ctx context.Context, bucket, key string) (bus.Record, error)
}

// records is a bus, or what stands for one.
type records interface {
	history
	inlet
	published
}

// stored is an event with when it was stored.
type stored struct {
	event *eventv1.Event
	at    time.Time
}

// events yields what came in from outside within the time, by all connectors, in the
// order in which it was stored, over all shards.
func (r *replay) events(ctx context.Context, b history, shards int) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		heads := make([]*head, shards)
		for shard := range shards {
			heads[shard] = &head{}
			heads[shard].next, heads[shard].stop = iter.Pull2(r.shard(ctx, b, shard))
		}
		defer func() {
			for _, h := range heads {
				h.stop()
			}
		}()
		for {
			first, err := earliest(heads)
			if err != nil {
				yield(stored{}, err)
				return
			}
			if first == nil {
				return
			}
			for _, e := range first.pack.GetEvents() {
				at := e.GetReceivedAt().AsTime()
				if e.GetReplayedAt() != nil || at.Before(r.since) || !at.Before(r.until) {
					continue
				}
				if !yield(stored{e, first.at}, nil) {
					return
				}
			}
			first.pack = pack{}
		}
	}
}

// head is the next pack of a shard.
type head struct {
	pack

	next func() (pack, error, bool)
	stop func()
	over bool
}

type pack struct {
	*eventv1.Pack
	at time.Time
}

// earliest returns the shard whose next pack was stored first, nil where all are over.
func earliest(heads []*head) (*head, error) {
	var first *head
	for _, h := range heads {
		if h.Pack == nil && !h.over {
			next, err, more := h.next()
			if err != nil {
				return nil, err
			}
			h.pack, h.over = next, !more
		}
		if !h.over && (first == nil || h.at.Before(first.at)) {
			first = h
		}
	}
	return first, nil
}

// shard yields the packs of a shard that may hold what is meant.
func (r *replay) shard(ctx context.Context, b history, shard int) iter.Seq2[pack, error] {
	return func(yield func(pack, error) bool) {
		stream := bus.IngestStream(shard)
		from, err := b.Since(ctx, stream, r.since.Add(-clockMargin))
		if err != nil {
			yield(pack{}, err)
			return
		}
		for record, err := range b.ReadLarge(ctx, stream, bus.IngestSubject(shard), from) {
			if err == nil && record.Time.After(r.until.Add(clockMargin)) {
				return
			}
			read := &eventv1.Pack{}
			// One that is no pack is in the Error Hold already, and holds nothing to replay.
			if err == nil && proto.Unmarshal(record.Data, read) != nil {
				continue
			}
			if !yield(pack{read, record.Time}, err) || err != nil {
				return
			}
		}
	}
}

// means says whether an event of the time is to be replayed.
func (r *replay) means(e *eventv1.Event) (bool, error) {
	if e.GetConnector() != r.connector {
		return false, nil
	}
	if r.filter == nil {
		return true, nil
	}
	return r.filter.Eval(e)
}

// keptSince notes from when on the streams hold events, where that is later than what
// is asked for.
func (r *replay) keptSince(ctx context.Context, b history, shards int, found *report) error {
	var oldest time.Time
	for shard := range shards {
		extent, err := b.Extent(ctx, bus.IngestStream(shard))
		if err != nil {
			return err
		}
		if extent.Records() == 0 {
			continue
		}
		record, err := b.At(ctx, bus.IngestStream(shard), extent.First)
		if errors.Is(err, bus.ErrNotFound) {
			continue // it went just now
		}
		if err != nil {
			return fmt.Errorf("looking for the oldest event: %w", err)
		}
		// Only a shard that has let go of its first record has let go of anything.
		if extent.First > 1 && record.Time.After(oldest) {
			oldest = record.Time
		}
	}
	if oldest.After(r.since) {
		found.KeptSince = &oldest
	}
	return nil
}
