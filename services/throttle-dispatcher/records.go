package throttledispatcher

import (
	"context"
	"iter"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// records is what a worker reads and writes on the bus beside its intake. The
// order of its writes is what a crash may interrupt anywhere.
type records interface {
	reads
	writes
}

type reads interface {
	// Last returns the newest record on a subject.
	Last(ctx context.Context, stream, subject string) (bus.Record, error)
	// Read returns the records on a subject from a sequence on.
	Read(ctx context.Context, stream, subject string, from uint64) iter.Seq2[bus.Record, error]
}

type writes interface {
	// Publish writes a record and returns once it is on disk.
	Publish(ctx context.Context, m bus.Message) (bus.Ack, error)
	// PublishAtomic writes all of them or none, to one stream.
	PublishAtomic(ctx context.Context, messages []bus.Message) (bus.Ack, error)
	// Ack takes a message out of its queue.
	Ack(ctx context.Context, m *bus.Incoming) error
	// Remove takes what is on a subject out of a stream.
	Remove(ctx context.Context, stream, subject string) error
}

// busRecords are the records on the bus itself.
type busRecords struct{ *bus.Bus }

// Ack waits until the server has taken note.
func (busRecords) Ack(ctx context.Context, m *bus.Incoming) error { return m.Ack(ctx) }
