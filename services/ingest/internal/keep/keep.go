// Package keep is what every door of ingest does with an event once its sender is known:
// have it stored, unless it is a repetition of one that is, within bounds that all doors
// share, and say what to tell the sender. Whoever is told nothing but success has an
// event on disk.
package keep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/ingest/internal/groupcommit"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/notice"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// ErrFull is a Committer's error where it does not even try, because there is no
// room to store anything.
var ErrFull = errors.New("full")

// maxBuffer bounds the buffers that are kept for further events: larger ones are rare.
const maxBuffer = 16 << 10

// Committer stores encoded events, side by side in their order, for which there is time
// until then. It reads them until it returns; after an error it may go on to read them.
type Committer interface {
	Commit(until time.Time, events ...[]byte) error
}

// Config is what a Keeper needs. All fields are required.
type Config struct {
	// Connectors returns those that exist now, by name; nil while that is not
	// known yet.
	Connectors func() map[string]*v1alpha1.Connector
	Committer  Committer
	Recent     *recent.Index
	Memory     *Memory
	Notices    *notice.Board
	// MaxRequests bounds the requests whose bodies are in and that are worked on
	// at the same time. Those that are still on their way do not count: who sends
	// slowly must not keep others out. Memory bounds their bodies.
	MaxRequests int64
	// MaxEventBytes bounds an event as it is stored.
	MaxEventBytes int
}

// Keeper keeps events for all doors. It is safe for concurrent use.
type Keeper struct {
	config Config

	working            atomic.Int64
	stored, duplicates atomic.Uint64
	// buffers are *[]byte in which events were encoded.
	buffers sync.Pool
}

// New returns a keeper.
func New(config Config) *Keeper { return &Keeper{config: config} }

// Problem is why an event was not kept.
type Problem struct {
	// Status is the HTTP status that says it.
	Status int
	// Kind names the cause, the same for the same cause.
	Kind, Detail string
	// RetryAfter is when to come again, for 503 only.
	RetryAfter time.Duration
}

const (
	// Soon is for what passes by itself within seconds; Later is for what waits
	// for a person or for room on a disk.
	Soon  = 2 * time.Second
	Later = 30 * time.Second
)

// Unavailable is a problem that passes.
func Unavailable(kind, detail string, retryAfter time.Duration) *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Kind: kind, Detail: detail, RetryAfter: retryAfter}
}

// OutOfMemory is the problem where a Share cannot take any more.
func OutOfMemory() *Problem {
	return Unavailable("overloaded", "too many bodies are being taken in at the moment", Soon)
}

// Stored returns how many events were stored since the start, and duplicates how many
// exact repetitions of them came.
func (k *Keeper) Stored() (stored, duplicates uint64) {
	return k.stored.Load(), k.duplicates.Load()
}

// Working returns the number of requests in work.
func (k *Keeper) Working() int64 { return k.working.Load() }

// Memory returns the bound on bodies.
func (k *Keeper) Memory() *Memory { return k.config.Memory }

// Notices returns where problems are logged.
func (k *Keeper) Notices() *notice.Board { return k.config.Notices }

// Connectors returns those that exist now, by name; nil while that is not known yet.
func (k *Keeper) Connectors() map[string]*v1alpha1.Connector { return k.config.Connectors() }

// Connector returns the one of that name, nil where there is none that takes events in.
// A problem is that nobody can tell yet.
func (k *Keeper) Connector(name string) (*v1alpha1.Connector, *Problem) {
	known := k.config.Connectors()
	if known == nil {
		// "Not found" would tell a sender to give up on what is only not known yet.
		k.config.Notices.Post(slog.LevelError, "no-catalog", "there is no catalog yet, senders are asked to come again")
		return nil, Unavailable("no-catalog", "the connectors are not known yet", Soon)
	}
	connector := known[name]
	if connector == nil || connector.Spec.Webhook == nil {
		return nil, nil
	}
	return connector, nil
}

// Enter counts a request whose body is in. Without a problem the caller calls Leave.
func (k *Keeper) Enter() *Problem {
	if k.working.Add(1) <= k.config.MaxRequests {
		return nil
	}
	k.working.Add(-1)
	k.config.Notices.Post(slog.LevelWarn, "overloaded", "too many requests at the same time, senders are asked to come again")
	return Unavailable("overloaded", "too many requests are being taken in at the moment", Soon)
}

// Leave ends what Enter began.
func (k *Keeper) Leave() { k.working.Add(-1) }

// Keep has an event stored, unless it is a repetition of one that is. It completes the
// event with the time and the trace of ctx, whose deadline is how long it may take.
func (k *Keeper) Keep(ctx context.Context, event *eventv1.Event, held *Share) (repetition bool, p *Problem) {
	key := k.config.Recent.Key(event.GetConnector(), event.GetTopic(), event.GetId(), Content(event))
	attempt, own, stored := k.config.Recent.Begin(key, time.Now())
	switch {
	case stored:
		k.duplicates.Add(1)
		return true, nil
	case own:
		err := errors.New("the request ended early")
		defer func() { k.config.Recent.End(key, attempt, err, time.Now()) }()
		if p, err = k.store(ctx, event, held); err == nil {
			k.stored.Add(1)
		}
		return false, p
	}
	return k.await(ctx, attempt)
}

// await waits for the end of somebody else's attempt to store the same event.
func (k *Keeper) await(ctx context.Context, attempt *recent.Attempt) (repetition bool, p *Problem) {
	select {
	case <-attempt.Done():
		if attempt.Err() == nil {
			k.duplicates.Add(1)
			return true, nil
		}
		return false, Unavailable("not-stored", "the event that this one repeats was not stored", Soon)
	case <-ctx.Done():
		return false, Unavailable("slow", "the event that this one repeats is not stored yet", Soon)
	}
}

// Content is the bytes that tell what an event says: its body, or the order that it
// brings instead.
func Content(event *eventv1.Event) []byte {
	if event.GetOrder() == nil {
		return event.GetBody()
	}
	// One that cannot be encoded cannot be stored either.
	data, _ := proto.MarshalOptions{Deterministic: true}.Marshal(event.GetOrder())
	return data
}

// store returns a nil problem only with a nil error.
func (k *Keeper) store(ctx context.Context, event *eventv1.Event, held *Share) (*Problem, error) {
	buffer, _ := k.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	encoded, p, err := k.encode(ctx, event, (*buffer)[:0], held)
	if p == nil {
		if err = k.commit(ctx, encoded); err != nil {
			// Whoever writes may still read it: the buffer is not used again.
			p = notStored(err)
			held.GiveBack(int64(len(encoded))) // a door may try again
		} else if *buffer = encoded; cap(encoded) <= maxBuffer {
			k.buffers.Put(buffer)
		}
	}
	if p != nil {
		k.Complain(event.GetConnector(), p, err)
	}
	return p, err
}

// encode completes an event with the time and the trace of ctx, and encodes it behind
// buffer: here and not in the pack, so that an event that cannot be encoded spoils nobody
// else's. It returns a nil problem only with a nil error.
func (k *Keeper) encode(ctx context.Context, event *eventv1.Event, buffer []byte, held *Share) ([]byte, *Problem, error) {
	traced := telemetry.Inject(ctx)
	event.ReceivedAt = timestamppb.Now()
	event.Traceparent, event.Tracestate = traced[telemetry.HeaderTraceparent], traced[telemetry.HeaderTracestate]
	encoded, err := proto.MarshalOptions{}.MarshalAppend(buffer, event)
	switch {
	case err != nil:
		return nil, &Problem{Status: http.StatusBadRequest, Kind: "malformed", Detail: "the event's topic or id holds what is not text"}, err
	case len(encoded) > k.config.MaxEventBytes:
		err = fmt.Errorf("the event has %d bytes, at most %d can be stored", len(encoded), k.config.MaxEventBytes)
		return nil, &Problem{Status: http.StatusRequestEntityTooLarge, Kind: "too-large", Detail: err.Error()}, err
	case !held.Take(int64(len(encoded))):
		return nil, OutOfMemory(), errors.New("no memory is left for bodies")
	}
	return encoded, nil, nil
}

// commit stores encoded events within the deadline of ctx. A sender that hangs up does not
// take back what it delivered, and repetitions may be waiting for the outcome.
func (k *Keeper) commit(ctx context.Context, encoded ...[]byte) error {
	until, _ := ctx.Deadline()
	return k.config.Committer.Commit(until, encoded...)
}

// notStored says what to tell the sender; the outcome may be open, and then the
// repetition that is asked for is a duplicate that order state settles.
func notStored(err error) *Problem {
	switch {
	case bus.IsFull(err), errors.Is(err, ErrFull):
		return Unavailable("full", "there is no room to store anything", Later)
	case errors.Is(err, groupcommit.ErrOverloaded), errors.Is(err, groupcommit.ErrGaveUp):
		return Unavailable("overloaded", "too many deliveries are waiting to be stored", Soon)
	case errors.Is(err, groupcommit.ErrStopped):
		return Unavailable("stopping", "this instance is stopping", Soon)
	}
	return Unavailable("not-stored", "the delivery could not be stored at the moment", Soon)
}

// Complain logs one line per connector and kind, however many events are not taken.
func (k *Keeper) Complain(connector string, p *Problem, err error) {
	level := slog.LevelWarn
	if p.Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	attributes := []slog.Attr{
		slog.String("connector", connector), slog.String("kind", p.Kind), slog.Int("status", p.Status),
	}
	if err != nil {
		attributes = append(attributes, slog.String("error", err.Error()))
	} else {
		attributes = append(attributes, slog.String("error", p.Detail))
	}
	k.config.Notices.Post(level, connector+" "+p.Kind, "an event was not taken", attributes...)
}

// Abridged keeps what a stranger wrote from filling the log.
func Abridged(name string) string {
	const most = 63
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}
