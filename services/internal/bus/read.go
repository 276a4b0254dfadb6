package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Record is one message as it is stored.
type Record struct {
	Stream, Subject string
	// Sequence is its place in the stream, and what ExpectLast compares.
	Sequence uint64
	// Time is when the server stored it, by the server's clock.
	Time time.Time
	// Header holds the first value of each name; nil where there are none.
	Header map[string]string
	Data   []byte
}

// headerKeyValueOperation marks a key that is not there any more, as the
// server's key-value clients write it; headerMarkerReason, as the server itself
// does where a record's time to live ends.
const (
	headerKeyValueOperation = "KV-Operation"
	headerMarkerReason      = "Nats-Marker-Reason"
)

// Deleted reports whether the record says that its key is gone.
func (r Record) Deleted() bool {
	return r.Header[headerKeyValueOperation] != "" || r.Header[headerMarkerReason] != ""
}

// Last returns the newest record on a subject, which may have wildcards, read
// from the stream's leader. ErrNotFound where there is none. While there is no
// leader it asks again, so that the next one is heard soon.
func (b *Bus) Last(ctx context.Context, stream, subject string) (Record, error) {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	raw, err := hedged(bounded, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		s, err := b.stream(ctx, stream)
		if err != nil {
			return nil, err
		}
		return s.GetLastMsgForSubject(ctx, subject)
	})
	if err != nil {
		return Record{}, describe(because(bounded, err), "read the last record on %s", subject)
	}
	return Record{
		Stream: stream, Subject: raw.Subject, Sequence: raw.Sequence, Time: raw.Time,
		Header: flatten(raw.Header), Data: raw.Data,
	}, nil
}

// At returns the record of a stream with this very sequence, read from the stream's
// leader. ErrNotFound where there is none (any more).
func (b *Bus) At(ctx context.Context, stream string, sequence uint64) (Record, error) {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	raw, err := hedged(bounded, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		s, err := b.stream(ctx, stream)
		if err != nil {
			return nil, err
		}
		return s.GetMsg(ctx, sequence)
	})
	if err != nil {
		return Record{}, describe(because(bounded, err), "read record %d of %s", sequence, stream)
	}
	return Record{
		Stream: stream, Subject: raw.Subject, Sequence: raw.Sequence, Time: raw.Time,
		Header: flatten(raw.Header), Data: raw.Data,
	}, nil
}

// Extent is where the records of a stream begin and end. Last is below First where
// there are none.
type Extent struct{ First, Last uint64 }

// Records returns how many sequences there are in it.
func (e Extent) Records() uint64 { return e.Last + 1 - e.First }

// Extent returns the extent of a stream as of now.
func (b *Bus) Extent(ctx context.Context, stream string) (Extent, error) {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	extent, err := hedged(bounded, func(ctx context.Context) (Extent, error) {
		s, err := b.js.Stream(ctx, stream)
		if err != nil {
			return Extent{}, err
		}
		state := s.CachedInfo().State // as of the answer to Stream
		if state.Msgs == 0 {
			return Extent{First: state.LastSeq + 1, Last: state.LastSeq}, nil
		}
		return Extent{First: state.FirstSeq, Last: state.LastSeq}, nil
	})
	return extent, describe(because(bounded, err), "ask what %s holds", stream)
}

// Since returns the sequence of the first record of a stream that was stored at a time
// or later, by the server's clock; the one after the last where there is none.
func (b *Bus) Since(ctx context.Context, stream string, at time.Time) (uint64, error) {
	extent, err := b.Extent(ctx, stream)
	if err != nil {
		return 0, err
	}
	low, high := extent.First, extent.Last+1
	for low < high {
		middle := low + (high-low)/2
		switch record, err := b.At(ctx, stream, middle); {
		case errors.Is(err, ErrNotFound):
			low = middle + 1 // the stream has let go of it, and of those before
		case err != nil:
			return 0, err
		case record.Time.Before(at):
			low = middle + 1
		default:
			high = middle
		}
	}
	return low, nil
}

// Instead looks, after a compare-and-set that was refused as a conflict, for the
// record that is on the subject instead of the one that it expected, and returns
// it. Where none is, the error is IsUnavailable: another write is in process, and
// this one is to be tried again, as long as nothing is stored. read is a Bus, or
// what stands for one.
func Instead(ctx context.Context, read interface {
	Last(ctx context.Context, stream, subject string) (Record, error)
}, stream string, m Message, conflict error) (Record, error) {
	expected := uint64(0)
	if m.ExpectLast != nil {
		expected = *m.ExpectLast
	}
	newest, err := read.Last(ctx, stream, m.Subject)
	switch {
	case errors.Is(err, ErrNotFound) && expected > 0:
		return Record{}, fmt.Errorf("bus: the record %d that was on %s is gone: %w", expected, m.Subject, conflict)
	case errors.Is(err, ErrNotFound), err == nil && newest.Sequence == expected:
		return Record{}, fmt.Errorf("bus: publish on %s: %w (%v)", m.Subject, errInProcess, conflict) //nolint:errorlint // it is no conflict
	}
	return newest, err
}

// ReadLarge is Read for large records: it holds at most a few of them in memory.
func (b *Bus) ReadLarge(ctx context.Context, stream, subject string, from uint64) iter.Seq2[Record, error] {
	return b.read(ctx, stream, subject, from, readLargePrefetch)
}

// Read returns the records on a subject, which may have wildcards, from a
// sequence on, in order, up to the newest as of the call. It rides over lost
// connections; an error, ctx's too, is the last thing it yields. A record that
// is replaced while it reads is seen only in its newer form, if that is stored
// before the end is reached: who must miss nothing goes on with Consume.
func (b *Bus) Read(ctx context.Context, stream, subject string, from uint64) iter.Seq2[Record, error] {
	return b.read(ctx, stream, subject, from, readPrefetch)
}

func (b *Bus) read(ctx context.Context, stream, subject string, from uint64, prefetch int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		newest, err := b.Last(ctx, stream, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && newest.Sequence < from {
			return
		}
		if err != nil {
			yield(Record{}, err)
			return
		}
		r := &reading{bus: b, stream: stream, subject: subject, last: newest.Sequence, prefetch: prefetch, next: max(from, 1)}
		if err := r.run(ctx, yield); err != nil {
			yield(Record{}, describe(err, "read %s from %d", subject, from))
		}
	}
}

// readCheck is how often a reader without progress asks whether there is
// anything left: what it waits for may have been removed.
const readCheck = 500 * time.Millisecond

// reading is one pass over the records of a subject.
type reading struct {
	bus             *Bus
	stream, subject string
	// last is the sequence that ends it.
	last uint64
	// prefetch is how many records may wait in memory.
	prefetch int

	mu   sync.Mutex
	next uint64
}

// run yields until the end, or returns why it could not.
func (r *reading) run(ctx context.Context, yield func(Record, error) bool) error {
	running, stop := context.WithCancel(ctx)
	finished := false
	var exhausted atomic.Bool
	var checking sync.WaitGroup
	checking.Go(func() {
		if r.awaitExhausted(running) {
			exhausted.Store(true)
			stop()
		}
	})
	defer checking.Wait()
	defer stop()
	err := r.bus.consume(running, ConsumerOptions{
		Stream: r.stream, Filters: []string{r.subject}, Ephemeral: true, Prefetch: r.prefetch, from: r.next,
	}, func(_ context.Context, m *Incoming) {
		if finished {
			return
		}
		if !yield(m.Record, nil) || m.Sequence >= r.last {
			finished = true
			stop()
		}
		r.mu.Lock()
		r.next = m.Sequence + 1
		r.mu.Unlock()
	})
	if err != nil || finished || exhausted.Load() {
		return err
	}
	return context.Cause(ctx)
}

// awaitExhausted returns true once the leader has nothing more to read, and
// false when ctx ends.
func (r *reading) awaitExhausted(ctx context.Context) bool {
	ticker := time.NewTicker(readCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
		r.mu.Lock()
		next := r.next
		r.mu.Unlock()
		bounded, cancel := r.bus.bound(ctx)
		s, err := r.bus.stream(bounded, r.stream)
		if err == nil {
			_, err = s.GetMsg(bounded, next, jetstream.WithGetMsgSubject(r.subject))
		}
		cancel()
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return true
		}
	}
}

// flatten returns the first value of each header.
func flatten(header nats.Header) map[string]string {
	if len(header) == 0 {
		return nil
	}
	flat := make(map[string]string, len(header))
	for name, values := range header {
		if len(values) > 0 {
			flat[name] = values[0]
		}
	}
	return flat
}
