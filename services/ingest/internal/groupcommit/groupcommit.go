// Package groupcommit lets concurrent events share one write: a pack holds the
// events that arrived while the writes before it were under way. A lone event
// does not wait for company. The package knows nothing of where packs go.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
)

// Errors of Commit, for events that are certainly not in any pack. Test with
// errors.Is.
var (
	// ErrOverloaded: more events wait than the queue may hold.
	ErrOverloaded = errors.New("too many events are waiting to be written")
	// ErrStopped: the committer no longer writes.
	ErrStopped = errors.New("no longer writing")
	// ErrGaveUp: the caller's time ran out before the event's turn came.
	ErrGaveUp = errors.New("the event's turn to be written did not come in time")
)

// packField is the number of Pack.events, by which an event is framed.
var packField = (&eventv1.Pack{}).ProtoReflect().Descriptor().Fields().ByName("events").Number()

// Options of New. All are required.
type Options struct {
	// Writers is how many packs may be under way at the same time; each writer
	// has one.
	Writers int
	// MaxEvents and MaxBytes bound a pack. What one Commit brings beyond them goes
	// alone.
	MaxEvents, MaxBytes int
	// MaxQueued bounds the Commits that wait for a writer.
	MaxQueued int
	// WriteTimeout bounds one write.
	WriteTimeout time.Duration
	// Write stores a pack and returns once it is durable. The pack is the
	// writer's again when Write returns.
	Write func(ctx context.Context, writer int, pack []byte, events int) error
}

// Committer is a queue of events with its writers. It is safe for concurrent
// use.
type Committer struct {
	options Options
	queue   chan *entry
	stopped chan struct{}
	// entries are those whose outcome was told, and which no writer reads any more.
	entries sync.Pool
}

// entry is one event on its way, or several that stay together. Its caller and a writer
// race for it: who moves state from waiting first decides whether it is written.
type entry struct {
	events [][]byte
	state  atomic.Int32
	done   chan error
	// late ends the wait for the outcome. No context with a deadline: that takes more than
	// all the rest of a commit.
	late *time.Timer
}

const (
	waiting int32 = iota
	taken
	abandoned
)

// New returns a committer that writes once Run is called. Events that come
// before that wait.
func New(o Options) (*Committer, error) {
	if o.Writers < 1 || o.MaxEvents < 1 || o.MaxBytes < 1 || o.MaxQueued < 1 || o.WriteTimeout <= 0 || o.Write == nil {
		return nil, fmt.Errorf("groupcommit: all options are required and positive, found %d writers, %d events, %d bytes, %d queued, %v",
			o.Writers, o.MaxEvents, o.MaxBytes, o.MaxQueued, o.WriteTimeout)
	}
	return &Committer{options: o, queue: make(chan *entry, o.MaxQueued), stopped: make(chan struct{})}, nil
}

// Commit returns nil once the event (an encoded peppasync.event.v1.Event) is in
// a pack that is durable. Several are in one pack, side by side in their order: writers
// would not keep it. On ErrOverloaded, ErrStopped and ErrGaveUp none is in any;
// on every other error all may be in one all the same, and should be sent
// again, context.DeadlineExceeded where their write is not over at that time, which bounds
// the whole wait.
func (c *Committer) Commit(until time.Time, events ...[]byte) error {
	select {
	case <-c.stopped:
		return ErrStopped
	default:
	}
	e, told := c.entry(until, events), false
	defer func() {
		e.late.Stop()
		if told {
			e.events = nil
			e.state.Store(waiting)
			c.entries.Put(e)
		}
	}()
	select {
	case c.queue <- e:
	default:
		return ErrOverloaded
	}
	select {
	case err := <-e.done:
		told = true
		return err
	case <-c.stopped:
		// The last writers may have taken it, and told it, before they ended.
		if e.state.CompareAndSwap(waiting, abandoned) {
			return ErrStopped
		}
		return <-e.done
	case <-e.late.C:
		if e.state.CompareAndSwap(waiting, abandoned) {
			return ErrGaveUp
		}
		return fmt.Errorf("the write of the event did not end in time: %w", context.DeadlineExceeded)
	}
}

// entry returns one that is waiting.
func (c *Committer) entry(until time.Time, events [][]byte) *entry {
	if used, ok := c.entries.Get().(*entry); ok {
		used.events = events
		used.late.Reset(time.Until(until))
		return used
	}
	return &entry{events: events, done: make(chan error, 1), late: time.NewTimer(time.Until(until))}
}

// Run writes until ctx is done, finishes the packs that are under way, and
// returns. Events that still wait then get ErrStopped. Call it once.
func (c *Committer) Run(ctx context.Context) {
	var writers sync.WaitGroup
	for i := range c.options.Writers {
		writers.Go(func() { c.write(ctx, i) })
	}
	writers.Wait()
	close(c.stopped)
}

// write is one writer. What it is told to write in the end is not cut short by
// ctx: its callers are waiting for the outcome.
func (c *Committer) write(ctx context.Context, writer int) {
	var (
		pack   []byte
		inside []*entry
		next   *entry // did not fit into the pack before
	)
	for {
		if next == nil {
			// First, because a select takes either where both are ready.
			if ctx.Err() != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case next = <-c.queue:
			}
			if !next.state.CompareAndSwap(waiting, taken) {
				next = nil
				continue
			}
		}
		pack, inside = appendEvents(pack[:0], next), append(inside[:0], next)
		events := len(next.events)
		pack, inside, next, events = c.fill(pack, inside, events)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.WriteTimeout)
		err := c.options.Write(bounded, writer, pack, events)
		cancel()
		for _, e := range inside {
			e.done <- err
		}
		clear(inside)
		// A pack of one huge entry must not stay in memory for good.
		if cap(pack) > 2*c.options.MaxBytes {
			pack = nil
		}
	}
}

// fill adds what waits now, as far as the bounds allow, and returns the entry
// that did not fit, which is taken already and goes first into the next pack, and how
// many events the pack has.
func (c *Committer) fill(pack []byte, inside []*entry, events int) ([]byte, []*entry, *entry, int) {
	for events < c.options.MaxEvents {
		select {
		case e := <-c.queue:
			if !e.state.CompareAndSwap(waiting, taken) {
				continue
			}
			if len(pack)+frameSize(e) > c.options.MaxBytes || events+len(e.events) > c.options.MaxEvents {
				return pack, inside, e, events
			}
			pack, inside = appendEvents(pack, e), append(inside, e)
			events += len(e.events)
		default:
			return pack, inside, nil, events
		}
	}
	return pack, inside, nil, events
}

func frameSize(e *entry) int {
	size := len(e.events) * protowire.SizeTag(packField)
	for _, event := range e.events {
		size += protowire.SizeBytes(len(event))
	}
	return size
}

func appendEvents(pack []byte, e *entry) []byte {
	for _, event := range e.events {
		pack = protowire.AppendBytes(protowire.AppendTag(pack, packField, protowire.BytesType), event)
	}
	return pack
}
