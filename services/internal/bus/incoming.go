package bus

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Incoming is a message that a consumer was handed. Its methods are safe for
// concurrent use, from any goroutine, also after the handler has returned.
type Incoming struct {
	Record
	// Redelivered says that this consumer was handed it before. After a reset
	// the server counts anew, so that false proves nothing.
	Redelivered bool
	// Pending is how many records wait behind this one.
	Pending uint64

	bus *Bus
	msg jetstream.Msg
	// consumer is the name of the one that handed it out.
	consumer string
	// settled by the consumer itself: there is nothing to acknowledge.
	unacknowledged bool
}

func incoming(b *Bus, msg jetstream.Msg, unacknowledged bool) (*Incoming, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	return &Incoming{
		Record: Record{
			Stream: meta.Stream, Subject: msg.Subject(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
			Header: flatten(msg.Headers()), Data: msg.Data(),
		},
		Redelivered: meta.NumDelivered > 1, Pending: meta.NumPending,
		bus: b, msg: msg, consumer: meta.Consumer, unacknowledged: unacknowledged,
	}, nil
}

// Context returns ctx with the remote span that the message's headers name.
func (m *Incoming) Context(ctx context.Context) context.Context {
	return telemetry.Extract(ctx, m.Header[telemetry.HeaderTraceparent], m.Header[telemetry.HeaderTracestate])
}

// Ack acknowledges and waits until the server has taken note. Even so the
// message may come again after a crash of the server: effects are guarded by
// their own records.
func (m *Incoming) Ack(ctx context.Context) error {
	if m.unacknowledged {
		return nil
	}
	bounded, cancel := m.bus.bound(ctx)
	defer cancel()
	return describe(because(bounded, m.msg.DoubleAck(bounded)), "acknowledge %s", m.Subject)
}

// AckAsync acknowledges without waiting.
func (m *Incoming) AckAsync() error {
	if m.unacknowledged {
		return nil
	}
	return describe(m.msg.Ack(), "acknowledge %s", m.Subject)
}

// InProgress starts the message's AckWait anew.
func (m *Incoming) InProgress() error {
	if m.unacknowledged {
		return nil
	}
	return describe(m.msg.InProgress(), "keep %s in progress", m.Subject)
}

// Nak gives the message back, to come again after delay and then behind newer
// ones. Until then it counts against MaxAckPending: many of them stall the
// consumer. It is for races at start-up, not for waiting.
func (m *Incoming) Nak(delay time.Duration) error {
	if m.unacknowledged {
		return nil
	}
	return describe(m.msg.NakWithDelay(delay), "give back %s", m.Subject)
}
