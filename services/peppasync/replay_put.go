package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
)

// pace bounds how a replay gets in the way of live events. They share a stream with it
// (the first shard's, like releases do), and wait behind at most one of its packs: the
// next goes only when the logic-gate has settled it and all before.
type pace struct {
	// A pack has at most so many events and bytes, far below the 512 KiB of ingest: 32
	// orders take the logic-gate some 50 ms. A larger event goes alone.
	events, bytes int
	// every is how often it looks how far the logic-gate is, patience how long that may
	// make no progress, or the bus be full or away.
	every, patience time.Duration
}

func defaultPace() pace {
	return pace{events: 32, bytes: 256 << 10, every: 20 * time.Millisecond, patience: 30 * time.Second}
}

// roomEvery is how often it looks how much is stored.
const roomEvery = time.Second

// putting is a replay under way.
type putting struct {
	*replay
	bus      records
	report   *report
	progress *progress

	pack   eventv1.Pack
	looked time.Time
}

// all puts in what is meant, and returns when the logic-gate has settled it.
func (p *putting) all(ctx context.Context, shards int) error {
	for e, err := range p.events(ctx, p.bus, shards) {
		if err != nil {
			return err
		}
		// Whatever was undecided came after the count, which had found none.
		if meant, err := p.means(e.event); err != nil || !meant {
			continue
		}
		if err := p.add(ctx, e.event, shards); err != nil {
			return err
		}
	}
	return p.send(ctx, shards)
}

func (p *putting) add(ctx context.Context, e *eventv1.Event, shards int) error {
	again := proto.CloneOf(e)
	again.ReplayedAt, again.ReplayedBy, again.Bulk = timestamppb.Now(), p.by, p.bulk
	if n := len(p.pack.GetEvents()); n > 0 && (n >= p.pace.events || proto.Size(&p.pack)+proto.Size(again) > p.pace.bytes) {
		if err := p.send(ctx, shards); err != nil {
			return err
		}
	}
	p.pack.Events = append(p.pack.Events, again)
	return nil
}

// send stores the pack and waits until it is settled.
func (p *putting) send(ctx context.Context, shards int) error {
	n := len(p.pack.GetEvents())
	if n == 0 {
		return nil
	}
	data, err := proto.Marshal(&p.pack)
	if err != nil {
		return fmt.Errorf("encoding events again: %w", err)
	}
	if err := p.checkRoom(ctx, shards); err != nil {
		return err
	}
	ack, err := p.store(ctx, data)
	if err != nil {
		return err
	}
	if err := p.settled(ctx, ack.Sequence); err != nil {
		return err
	}
	p.pack.Events = nil
	p.report.Replayed += n
	p.progress.at(p.report.Replayed)
	return nil
}

var errNoRoom = errors.New("the store is three quarters full, and events that are put in again would push out others; " +
	"give NATS more (--max-store), or wait until orders are worked off")

func (p *putting) checkRoom(ctx context.Context, shards int) error {
	if time.Since(p.looked) < roomEvery {
		return nil
	}
	room, err := p.bus.IngestRoom(ctx, shards)
	if err != nil {
		return err
	}
	if room.Filling() {
		return errNoRoom
	}
	p.looked = time.Now()
	return nil
}

// store publishes a pack, again while the bus is away or the stream full: the
// logic-gate makes room in it. A pack that is stored twice so has no effect.
func (p *putting) store(ctx context.Context, data []byte) (bus.Ack, error) {
	late := time.Now().Add(p.pace.patience)
	for {
		ack, err := p.bus.Publish(ctx, bus.Message{Subject: bus.IngestSubject(0), ExpectStream: bus.IngestStream(0), Data: data})
		if err == nil || !bus.IsUnavailable(err) && !bus.IsFull(err) || time.Now().After(late) {
			return ack, err
		}
		if err := p.wait(ctx); err != nil {
			return bus.Ack{}, err
		}
	}
}

// settled waits until the logic-gate has acknowledged all up to a sequence.
func (p *putting) settled(ctx context.Context, sequence uint64) error {
	reached, since := uint64(0), time.Now()
	for {
		backlog, err := p.bus.Backlog(ctx, bus.IngestStream(0), bus.Consumer(logicgate.Role))
		switch {
		case err == nil && backlog.Acknowledged >= sequence:
			return nil
		case err != nil && !bus.IsUnavailable(err) && !errors.Is(err, bus.ErrNotFound):
			return err
		case err == nil && backlog.Acknowledged > reached:
			reached, since = backlog.Acknowledged, time.Now()
		case time.Since(since) > p.pace.patience:
			return fmt.Errorf("the logic-gate has taken nothing for %v; is it running? What is stored is taken when it is", p.pace.patience)
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

func (p *putting) wait(ctx context.Context) error {
	timer := time.NewTimer(p.pace.every)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		p.progress.at(p.report.Replayed)
		return nil
	}
}
