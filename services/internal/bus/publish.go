package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// MaxBatch is how many messages one atomic batch may have, the server's default.
const MaxBatch = 1000

// flowControlFrom is the size from which a batch waits for the server's word on
// its first message before it sends the rest. Below it that round trip costs
// more than the few messages that a refusal would waste.
const flowControlFrom = 100

// Headers that the server understands. nats.go has names for the others.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	headerScheduleTTL    = "Nats-Schedule-TTL"
)

// Message is what is to be written.
type Message struct {
	Subject string
	// Header may be nil. Names that begin with "Nats-" belong to the server.
	Header map[string]string
	Data   []byte
	// ID makes a second message with it within the stream's duplicate window a
	// Duplicate.
	ID string
	// ExpectLast is the sequence of the newest record on this subject, 0 for
	// none; where another is found, or may be about to be, nothing is written, and
	// IsConflict is true. nil writes in any case.
	ExpectLast *uint64
	// ExpectStream is the stream that must be the one to take it.
	ExpectStream string
	// TTL is how long the record stays, in whole seconds, at least one; 0 for as
	// long as the stream keeps it. The stream must allow it.
	TTL time.Duration
}

// Ack says where a message is now, on disk.
type Ack struct {
	Stream    string
	Sequence  uint64
	Duplicate bool
}

// Sequence returns n for Message.ExpectLast.
func Sequence(n uint64) *uint64 { return new(n) }

// Publish writes one message and returns once it is on disk (on a quorum, where
// the stream is replicated). The trace of ctx goes along in the headers unless
// they hold one. Where ctx has no deadline it waits for at most 5 s.
func (b *Bus) Publish(ctx context.Context, m Message) (Ack, error) {
	msg, err := m.encode(ctx)
	if err != nil {
		return Ack{}, err
	}
	bounded, cancel := b.bound(ctx)
	defer cancel()
	// The library's own retry is left out: the caller knows how long it can wait.
	ack, err := b.js.PublishMsg(bounded, msg, jetstream.WithRetryAttempts(0))
	if err != nil {
		return Ack{}, describe(because(bounded, err), "publish on %s", m.Subject)
	}
	b.denied.allowed(m.Subject)
	return Ack{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
}

// PublishAtomic writes all messages or none, to one stream that allows atomic
// batches. The Ack names the last one; they have consecutive sequences. One
// conflict, or one known ID, refuses the whole. A subject written in the batch
// cannot be expected again later in it.
func (b *Bus) PublishAtomic(ctx context.Context, messages []Message) (Ack, error) {
	switch n := len(messages); {
	case n == 0:
		return Ack{}, errors.New("bus: publish an atomic batch: it has no messages")
	case n == 1:
		return b.Publish(ctx, messages[0])
	case n > MaxBatch:
		return Ack{}, fmt.Errorf("bus: publish an atomic batch: %d messages, at most %d are allowed", n, MaxBatch)
	}
	msgs := make([]*nats.Msg, len(messages))
	for i, m := range messages {
		msg, err := m.encode(ctx)
		if err != nil {
			return Ack{}, err
		}
		msgs[i] = msg
	}
	bounded, cancel := b.bound(ctx)
	defer cancel()
	ack, err := jetstreamext.PublishMsgBatch(bounded, b.js, msgs,
		jetstreamext.BatchFlowControl{AckFirst: len(msgs) >= flowControlFrom, AckTimeout: requestTimeout})
	if err != nil {
		return Ack{}, describe(because(bounded, err), "publish an atomic batch of %d on %s", len(messages), messages[0].Subject)
	}
	return Ack{Stream: ack.Stream, Sequence: ack.Sequence}, nil
}

// Schedule writes a message that the server publishes again on target, in the
// same stream, at the given time. Another Schedule on the same subject replaces
// it. The server may be late by some milliseconds, and whoever reads target must
// compare the due time with the clock: schedules of other writers may carry
// whole seconds, and clocks differ. A time in the past fires within half a
// second. TTL is how long the fired message stays.
func (b *Bus) Schedule(ctx context.Context, m Message, at time.Time, target string) (Ack, error) {
	return b.Publish(ctx, Scheduled(m, at, target))
}

// Scheduled returns the message that Schedule publishes, for use in an atomic
// batch.
func Scheduled(m Message, at time.Time, target string) Message {
	header := make(map[string]string, len(m.Header)+3)
	maps.Copy(header, m.Header)
	// With nanoseconds: nats.go's own option cuts to whole seconds, which fires
	// up to a second early.
	header[headerSchedule] = "@at " + at.UTC().Format(time.RFC3339Nano)
	header[headerScheduleTarget] = target
	if m.TTL > 0 {
		header[headerScheduleTTL] = m.TTL.String()
		m.TTL = 0
	}
	m.Header = header
	return m
}

// CancelSchedule removes what is scheduled on a subject. That there is nothing
// is no error.
func (b *Bus) CancelSchedule(ctx context.Context, stream, subject string) error {
	return b.Remove(ctx, stream, subject)
}

// Remove takes all records on a subject out of a stream. That there are none is no
// error.
func (b *Bus) Remove(ctx context.Context, stream, subject string) error {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.stream(bounded, stream)
	if err == nil {
		err = s.Purge(bounded, jetstream.WithPurgeSubject(subject))
	}
	return describe(because(bounded, err), "remove what is on %s", subject)
}

// encode returns the message as the server reads it.
func (m Message) encode(ctx context.Context) (*nats.Msg, error) {
	if err := validSubject(m.Subject); err != nil {
		return nil, err
	}
	header := make(nats.Header, len(m.Header)+4)
	for name, value := range m.Header {
		if name == "" || strings.ContainsAny(name, ":\r\n ") || strings.ContainsAny(value, "\r\n") {
			return nil, fmt.Errorf("bus: publish on %s: header %q has a name or value that cannot be sent", m.Subject, name)
		}
		header[name] = []string{value}
	}
	if _, traced := m.Header[telemetry.HeaderTraceparent]; !traced {
		for name, value := range telemetry.Inject(ctx) {
			header[name] = []string{value}
		}
	}
	if m.ID != "" {
		header[jetstream.MsgIDHeader] = []string{m.ID}
	}
	if m.ExpectLast != nil {
		header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(*m.ExpectLast, 10)}
	}
	if m.ExpectStream != "" {
		header[jetstream.ExpectedStreamHeader] = []string{m.ExpectStream}
	}
	if m.TTL != 0 {
		if m.TTL < time.Second {
			return nil, fmt.Errorf("bus: publish on %s: a TTL of %v is below the server's second", m.Subject, m.TTL)
		}
		header[jetstream.MsgTTLHeader] = []string{m.TTL.Truncate(time.Second).String()}
	}
	return &nats.Msg{Subject: m.Subject, Header: header, Data: m.Data}, nil
}

// validSubject refuses what is no subject to publish on: the server would end
// the connection, or store it where nobody looks.
func validSubject(subject string) error {
	for part := range strings.SplitSeq(subject, ".") {
		if part == "" || part == "*" || part == ">" || strings.ContainsAny(part, " \t\r\n\x00") {
			return fmt.Errorf("bus: %q is not a subject to publish on", subject)
		}
	}
	return nil
}
