package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

func TestPublishAndLast(t *testing.T) {
	b := bustest.Start(t)
	subject := bus.LedgerSubject("netsuite")
	if _, err := b.Last(t.Context(), bus.StreamLedger, subject); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("Last on an empty subject: %v, want ErrNotFound", err)
	}
	first, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte("1"), ExpectLast: bus.Sequence(0), ExpectStream: bus.StreamLedger})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte("x"), ExpectLast: bus.Sequence(0)}); !bus.IsConflict(err) {
		t.Fatalf("second write with expected sequence 0: %v, want a conflict", err)
	}
	if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte("2"), ExpectLast: &first.Sequence}); err != nil {
		t.Fatal(err)
	}
	last, err := b.Last(t.Context(), bus.StreamLedger, subject)
	if err != nil {
		t.Fatal(err)
	}
	if string(last.Data) != "2" || last.Subject != subject || last.Stream != bus.StreamLedger || last.Time.IsZero() {
		t.Fatalf("last record is %+v", last)
	}
	var read []string
	for record, err := range b.Read(t.Context(), bus.StreamLedger, subject, 0) {
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, string(record.Data))
	}
	if len(read) != 2 || read[0] != "1" || read[1] != "2" {
		t.Fatalf("read %q", read)
	}
}

func TestPublishIsDeduplicatedByID(t *testing.T) {
	b := bustest.Start(t)
	m := bus.Message{Subject: bus.IngestSubject(1), Data: []byte("x"), ID: "event-1", ExpectStream: bus.IngestStream(1)}
	first, err := b.Publish(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Publish(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if first.Duplicate || !second.Duplicate || second.Sequence != first.Sequence || second.Stream != bus.IngestStream(1) {
		t.Fatalf("acks %+v and %+v, want the second to be a duplicate of the first", first, second)
	}
}

func TestPublishRefusesWhatCannotBeSent(t *testing.T) {
	b := bustest.Start(t)
	for name, m := range map[string]bus.Message{
		"no subject":         {},
		"empty token":        {Subject: "journal.v1..x"},
		"wildcard":           {Subject: "journal.v1.*"},
		"full wildcard":      {Subject: "journal.v1.>"},
		"space":              {Subject: "journal.v1.a b"},
		"line break":         {Subject: "journal.v1.a\r\nPUB b 0"},
		"header value break": {Subject: "journal.v1.a", Header: map[string]string{"A": "b\r\nNats-Msg-Id: c"}},
		"header name break":  {Subject: "journal.v1.a", Header: map[string]string{"A\r\nB": "c"}},
		"tiny TTL":           {Subject: "journal.v1.a", TTL: time.Millisecond},
		"wrong stream":       {Subject: "journal.v1.a", ExpectStream: bus.StreamLedger},
		"too large":          {Subject: bus.IngestSubject(0), Data: make([]byte, 1<<20+1)},
	} {
		if _, err := b.Publish(t.Context(), m); err == nil || bus.IsConflict(err) || bus.IsFull(err) || bus.IsUnavailable(err) {
			t.Errorf("%s: got %v, want a refusal without a class", name, err)
		}
	}
	if err := b.Healthy(t.Context()); err != nil {
		t.Errorf("the connection suffered: %v", err)
	}
}

// written returns an order batch: state under compare-and-set, and a timer.
func written(key string, last *uint64, at time.Time) []bus.Message {
	return []bus.Message{
		{Subject: bus.OrderStateSubject(key), Data: []byte("state"), ExpectLast: last},
		bus.Scheduled(bus.Message{Subject: bus.OrderTimerSubject(key), Data: []byte("timer")}, at, bus.OrderWakeSubject(key)),
	}
}

func TestAtomicBatchIsWrittenWholeOrNotAtAll(t *testing.T) {
	b := bustest.Start(t)
	key := "shop_5001"
	stream := bus.OrderStream(bus.OrderShard(key, 2))
	later := time.Now().Add(time.Hour)
	ack, err := b.PublishAtomic(t.Context(), written(key, bus.Sequence(0), later))
	if err != nil {
		t.Fatal(err)
	}
	timer, err := b.Last(t.Context(), stream, bus.OrderTimerSubject(key))
	if err != nil || timer.Sequence != ack.Sequence || ack.Stream != stream {
		t.Fatalf("timer %+v, %v; the ack %+v must name it", timer, err, ack)
	}
	state, err := b.Last(t.Context(), stream, bus.OrderStateSubject(key))
	if err != nil || state.Sequence != ack.Sequence-1 {
		t.Fatalf("state %+v, %v", state, err)
	}

	// A stale writer changes nothing, the timer included.
	stale := written(key, bus.Sequence(0), later)
	slices.Reverse(stale) // the conflict is in the last message
	if _, err := b.PublishAtomic(t.Context(), stale); !bus.IsConflict(err) {
		t.Fatalf("a stale batch gave %v, want a conflict", err)
	}
	if after, err := b.Last(t.Context(), stream, bus.OrderTimerSubject(key)); err != nil || after.Sequence != timer.Sequence {
		t.Fatalf("after the refused batch the timer is %+v, %v; it was %d", after, err, timer.Sequence)
	}

	// A known id refuses the whole too.
	withID := []bus.Message{
		{Subject: bus.OrderStateSubject("shop_1"), ID: "a"}, {Subject: bus.OrderStateSubject("shop_1"), ID: "a"},
	}
	if _, err := b.PublishAtomic(t.Context(), withID); !bus.IsConflict(err) {
		t.Errorf("two messages with one id gave %v, want a conflict", err)
	}
	if _, err := b.PublishAtomic(t.Context(), nil); err == nil {
		t.Error("an empty batch was taken")
	}
	if _, err := b.PublishAtomic(t.Context(), make([]bus.Message, bus.MaxBatch+1)); err == nil {
		t.Error("a batch above the limit was taken")
	}
	if _, err := b.PublishAtomic(t.Context(), []bus.Message{{Subject: "ledger.v1.a"}, {Subject: "ledger.v1.b"}}); err == nil {
		t.Error("a stream without atomic batches took one")
	}
}

func TestLargeAtomicBatch(t *testing.T) {
	b := bustest.Start(t, bustest.WithTopology(bus.Topology{OrderShards: 1}))
	batch := make([]bus.Message, bus.MaxBatch)
	for i := range batch {
		batch[i] = bus.Message{Subject: bus.OrderStateSubject(fmt.Sprintf("shop_%d", i)), ExpectLast: bus.Sequence(0)}
	}
	ack, err := b.PublishAtomic(t.Context(), batch)
	if err != nil || ack.Sequence != uint64(len(batch)) {
		t.Fatalf("ack %+v, %v; want sequence %d", ack, err, len(batch))
	}
	// The first message is where flow control waits: a conflict there is one too.
	if _, err := b.PublishAtomic(t.Context(), batch); !bus.IsConflict(err) {
		t.Fatalf("the same batch again gave %v, want a conflict", err)
	}
}

func TestManyBatchesAtOnceAreTakenOrUnavailable(t *testing.T) {
	b := bustest.Start(t)
	errs := make(chan error)
	const writers = 150 // three times the server's default limit of open batches
	for i := range writers {
		go func() {
			_, err := b.PublishAtomic(t.Context(), written(fmt.Sprintf("shop_%d", i), bus.Sequence(0), time.Now().Add(time.Hour)))
			errs <- err
		}()
	}
	for range writers {
		if err := <-errs; err != nil && !bus.IsUnavailable(err) {
			t.Errorf("a batch among many: %v", err)
		}
	}
}

func TestTraceContextTravels(t *testing.T) {
	b := bustest.Start(t)
	const parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"
	ctx := telemetry.Extract(t.Context(), parent, state)
	subject := bus.ResultSubject("notifier", "d1")
	if _, err := b.Publish(ctx, bus.Message{Subject: subject, Header: map[string]string{"Kind": "x"}}); err != nil {
		t.Fatal(err)
	}
	m := receive(t, consume(t, b, bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "notifier"}))
	if m.Header["Kind"] != "x" {
		t.Errorf("headers are %q", m.Header)
	}
	span := trace.SpanContextFromContext(m.Context(context.Background()))
	if span.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || !span.IsRemote() || span.TraceState().String() != state {
		t.Errorf("the consumer's span context is %+v", span)
	}

	// What the message brings itself is kept: a pack carries its events' traces.
	own := "00-11111111111111111111111111111111-2222222222222222-01"
	if _, err := b.Publish(ctx, bus.Message{Subject: subject, Header: map[string]string{"traceparent": own}}); err != nil {
		t.Fatal(err)
	}
	last, err := b.Last(t.Context(), bus.StreamResult, subject)
	if err != nil || last.Header["traceparent"] != own || last.Header["tracestate"] != "" {
		t.Errorf("headers are %q, %v", last.Header, err)
	}
}

func TestBatchCarriesTheTraceAndTheTimerHandsItOn(t *testing.T) {
	b := bustest.Start(t)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := telemetry.Extract(t.Context(), parent, "")
	key := "shop_7"
	if _, err := b.PublishAtomic(ctx, written(key, nil, time.Now())); err != nil {
		t.Fatal(err)
	}
	stream := bus.OrderStream(bus.OrderShard(key, 2))
	m := receive(t, consume(t, b, bus.ConsumerOptions{Stream: stream, Durable: "gate", Filters: []string{bus.OrderWakeFilter}}))
	if m.Header["traceparent"] != parent || string(m.Data) != "timer" {
		t.Errorf("the timer fired %q with headers %q, want its data and the trace", m.Data, m.Header)
	}
}
