package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/run"
)

// How long a rebuild rests after a read, in times of what the read took: so it has
// at most a quarter of a processor and of the store's attention, whatever a read
// costs, and less of both the slower they answer. A sixteenth where at least
// busyRequests are in work at the moment.
const (
	restTimes    = 3
	restBusy     = 15
	busyRequests = 8
	// restLonger keeps a read that was held up for long from halting the rebuild.
	restLonger = time.Second
)

// readBack fills the index of what was stored from the streams, beside all else, and does
// so anew where the streams have lost what is in it.
func (in *Ingest) readBack(ctx context.Context) {
	for ctx.Err() == nil {
		reading, cancel := context.WithCancel(ctx)
		var done sync.WaitGroup
		done.Go(func() { in.readBackOnce(reading) })
		select {
		case <-ctx.Done():
		case <-in.anew:
		}
		cancel()
		done.Wait() // what it has read already is of the streams as they were
		if ctx.Err() == nil {
			in.recent.Forget()
			in.rebuilt.reset()
		}
	}
}

// forget asks for an index of what the streams hold now.
func (in *Ingest) forget(ctx context.Context) {
	in.config.Logger.ErrorContext(ctx, "the streams of events hold less than they acknowledged: somebody made them anew, put back "+
		"an older copy or purged what logic-gate has not read; what senders and sources tell again is stored again")
	select {
	case in.anew <- struct{}{}:
	default: // it is asked for
	}
}

func (in *Ingest) readBackOnce(ctx context.Context) {
	began := time.Now()
	var r *rebuild
	_ = run.Supervise(ctx, in.config.Logger, "reading back what was stored", func(ctx context.Context) error {
		if r == nil {
			shards, err := in.config.Bus.Shards(ctx, bus.PrefixIngest)
			if err != nil {
				return fmt.Errorf("counting the ingest shards: %w", err)
			}
			busy := func() bool { return in.keeper.Working() >= busyRequests }
			r = newRebuild(in.config.Bus, in.recent, in.bounds.recentAge, shards, busy, &in.rebuilt)
		}
		if err := r.run(ctx); err != nil {
			return err
		}
		in.config.Logger.DebugContext(ctx, "repetitions of what was stored before the start are known",
			"events", in.recent.Len(), "packs", in.rebuilt.done.Load(), "took", time.Since(began).Round(time.Millisecond).String())
		<-ctx.Done()
		return nil
	})
}

// rebuild reads back what the streams of events hold, so that a process that was
// started just now knows the repetitions of what others have stored before it.
// Until it is through, a repetition that it has not heard of is stored once more,
// and the order's state settles it.
type rebuild struct {
	bus   reader
	index *recent.Index
	age   time.Duration
	busy  func() bool
	// progress is shown to whoever collects metrics.
	progress *progress
	// shards are read side by side, the newest record of all first: what was stored
	// just now is repeated most, and where the index has no place for all, the
	// oldest are left out.
	shards []*backwards
}

// reader is the part of the bus that a rebuild needs.
type reader interface {
	At(ctx context.Context, stream string, sequence uint64) (bus.Record, error)
	Extent(ctx context.Context, stream string) (bus.Extent, error)
}

// progress is how much of the streams is read. It is safe for concurrent use.
type progress struct {
	done, all atomic.Uint64
	over      atomic.Bool
}

// reset begins again.
func (p *progress) reset() {
	p.over.Store(false)
	p.done.Store(0)
	p.all.Store(0)
}

// share returns 0 to 1; 1 says that nothing is left to read.
func (p *progress) share() float64 {
	switch all := p.all.Load(); {
	case p.over.Load():
		return 1
	case all == 0:
		return 0
	default:
		return min(1, float64(p.done.Load())/float64(all))
	}
}

// backwards reads one stream from its newest record to its oldest.
type backwards struct {
	stream string
	known  bool
	extent bus.Extent
	// ahead is the next record to be taken in, read already.
	ahead *bus.Record
}

func newRebuild(b reader, index *recent.Index, age time.Duration, shards int, busy func() bool, p *progress) *rebuild {
	r := &rebuild{bus: b, index: index, age: age, busy: busy, progress: p}
	for shard := range shards {
		r.shards = append(r.shards, &backwards{stream: bus.IngestStream(shard)})
	}
	return r
}

// run reads until there is nothing left, the index has no place left, or ctx is
// done. After an error it may be called again, and goes on.
func (r *rebuild) run(ctx context.Context) error {
	for ctx.Err() == nil {
		began := time.Now()
		newest, err := r.newest(ctx)
		if err != nil {
			return err
		}
		if newest == nil || !r.take(newest) {
			r.progress.over.Store(true)
			return nil
		}
		if !r.rest(ctx, time.Since(began)) {
			break
		}
	}
	return ctx.Err()
}

// newest returns the stream whose next record is the newest, nil where none has any.
func (r *rebuild) newest(ctx context.Context) (*backwards, error) {
	var found *backwards
	for _, s := range r.shards {
		if err := r.readAhead(ctx, s); err != nil {
			return nil, err
		}
		if s.ahead != nil && (found == nil || s.ahead.Time.After(found.ahead.Time)) {
			found = s
		}
	}
	return found, nil
}

// readAhead reads the next record of a stream, where there is one of an age that is
// remembered and it was not read already.
func (r *rebuild) readAhead(ctx context.Context, s *backwards) error {
	if !s.known {
		extent, err := r.bus.Extent(ctx, s.stream)
		if err != nil {
			return fmt.Errorf("reading back what was stored: %w", err)
		}
		s.extent, s.known = extent, true
		r.progress.all.Add(extent.Records())
	}
	for s.ahead == nil && s.extent.Records() > 0 {
		record, err := r.bus.At(ctx, s.stream, s.extent.Last)
		switch {
		case errors.Is(err, bus.ErrNotFound):
			// The stream has let go of it since, and of all before; one that is missing
			// among others is no reason to stop.
			now, err := r.bus.Extent(ctx, s.stream)
			if err != nil {
				return fmt.Errorf("reading back what was stored: %w", err)
			}
			r.skip(s, max(now.First, s.extent.First))
		case err != nil:
			return fmt.Errorf("reading back what was stored: %w", err)
		case time.Since(record.Time) > r.age:
			r.skip(s, s.extent.Last+1)
		default:
			s.ahead = &record
		}
	}
	return nil
}

// skip leaves out the record that could not be had, and all that are older than
// first.
func (r *rebuild) skip(s *backwards, first uint64) {
	left := s.extent
	left.First, left.Last = first, left.Last-1
	if left.First > left.Last {
		left.First = left.Last + 1
	}
	r.progress.done.Add(s.extent.Records() - left.Records())
	s.extent = left
}

// take remembers the events of a stream's next record. It reports false where the
// index has no place left.
func (r *rebuild) take(s *backwards) bool {
	record := s.ahead
	s.ahead = nil
	s.extent.Last--
	r.progress.done.Add(1)
	var pack eventv1.Pack
	if proto.Unmarshal(record.Data, &pack) != nil {
		return true // the logic-gate puts it aside, and says so
	}
	now := time.Now()
	for _, e := range pack.GetEvents() {
		key := r.index.Key(e.GetConnector(), e.GetTopic(), e.GetId(), keep.Content(e))
		if !r.index.Remember(key, record.Time, now) {
			return false
		}
	}
	return true
}

// rest waits after a read that took so long; false where ctx ended.
func (r *rebuild) rest(ctx context.Context, took time.Duration) bool {
	times := restTimes
	if r.busy() {
		times = restBusy
	}
	timer := time.NewTimer(min(took*time.Duration(times), restLonger))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
