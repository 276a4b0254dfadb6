package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// patience bounds what a test waits for on a slow machine.
const patience = 30 * time.Second

// publish writes n numbered results for a requester and returns their payloads.
func publish(t *testing.T, b *bus.Bus, requester string, from, n int) []string {
	t.Helper()
	var payloads []string
	for i := from; i < from+n; i++ {
		payload := fmt.Sprint(i)
		if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.ResultSubject(requester, payload), Data: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, payload)
	}
	return payloads
}

// consume runs Consume until the test ends, and hands each message to a channel.
func consume(t *testing.T, b *bus.Bus, o bus.ConsumerOptions) <-chan *bus.Incoming {
	t.Helper()
	messages := make(chan *bus.Incoming)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, o, func(ctx context.Context, m *bus.Incoming) {
			select {
			case messages <- m:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Consume returned %v, want nil once its context is done", err)
		}
	})
	return messages
}

func receive(t *testing.T, messages <-chan *bus.Incoming) *bus.Incoming {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(patience):
		t.Fatalf("no message within %v", patience)
		return nil
	}
}

func TestConsumeInOrderWithLateAcks(t *testing.T) {
	b := bustest.Start(t)
	want := publish(t, b, "notifier", 0, 20)
	messages := consume(t, b, bus.ConsumerOptions{
		Stream: bus.StreamResult, Durable: "notifier", Filters: []string{bus.ResultFilter("notifier")}, MaxAckPending: 4,
	})
	var got []string
	var held []*bus.Incoming
	for len(got) < len(want) {
		m := receive(t, messages)
		got = append(got, string(m.Data))
		// All four are kept before any is acknowledged, from another goroutine.
		if held = append(held, m); len(held) == 4 {
			errs := make(chan error, len(held))
			for _, m := range slices.Backward(held) {
				go func() { errs <- m.Ack(t.Context()) }()
			}
			for range held {
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
			}
			held = nil
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("consumed %q, want %q", got, want)
	}
}

// raw is a connection beside the bus, for what an operator may do to it.
func raw(t *testing.T, s *bustest.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestConsumerThatWasDeletedIsMadeAgain(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	publish(t, b, "x", 0, 1)
	messages := consume(t, b, bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "x", Filters: []string{bus.ResultFilter("x")}})
	if err := receive(t, messages).Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := raw(t, s).DeleteConsumer(t.Context(), bus.StreamResult, "x"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "x", 1, 1)
	for string(receive(t, messages).Data) != "1" {
	}
}

func TestReadNoticesThatTheRestWasRemoved(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	publish(t, b, "x", 0, 600)
	stream, err := raw(t, s).Stream(t.Context(), bus.StreamResult)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range b.Read(t.Context(), bus.StreamResult, bus.ResultFilter("x"), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 10 {
			if err := stream.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n < 10 || n >= 600 {
		t.Fatalf("read %d records of which most were removed meanwhile", n)
	}
}

func TestConsumeRefusesWhatTryingAgainCannotHeal(t *testing.T) {
	b := bustest.Start(t)
	unused := func(context.Context, *bus.Incoming) { t.Error("the handler was called") }
	for name, o := range map[string]bus.ConsumerOptions{
		"no stream":              {Durable: "x"},
		"no name":                {Stream: bus.StreamResult},
		"both kinds":             {Stream: bus.StreamResult, Durable: "x", Ephemeral: true},
		"reset without a place":  {Stream: bus.StreamResult, Ephemeral: true, Reset: true},
		"left over of nothing":   {Stream: bus.StreamResult, Ephemeral: true, Leftover: func(*bus.Incoming) {}},
		"anew without reset":     {Stream: bus.StreamDispatch, Durable: "x", Anew: true},
		"no such stream":         {Stream: "NOTHING", Durable: "x"},
		"name with a dot":        {Stream: bus.StreamResult, Durable: "a.b"},
		"last on a work queue":   {Stream: bus.StreamDispatch, Durable: "x", LastPerSubject: true},
		"no filter of a subject": {Stream: bus.StreamResult, Durable: "x", Filters: []string{"result..v1"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := b.Consume(ctx, o, unused)
		if err == nil || ctx.Err() != nil {
			t.Errorf("%s: Consume = %v after %v, want an error at once", name, err, ctx.Err())
		}
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Consume(ctx, bus.ConsumerOptions{Stream: "NOTHING", Durable: "x"}, unused); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a stream that is not there gave %v, want ErrNotFound", err)
	}
}

func TestTwoLanesOfAQueueAreConsumedApart(t *testing.T) {
	b := bustest.Start(t)
	lanes := map[string]<-chan *bus.Incoming{}
	for _, lane := range []string{"express", "standard"} {
		lanes[lane] = consume(t, b, bus.ConsumerOptions{
			Stream: bus.StreamDispatch, Durable: bus.Consumer("erp", lane), Filters: []string{bus.DispatchLaneFilter("erp", lane)},
		})
	}
	for lane := range lanes {
		if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.DispatchSubject("erp", lane, "k", "d"), Data: []byte(lane), ExpectLast: bus.Sequence(0)}); err != nil {
			t.Fatal(err)
		}
	}
	for lane, messages := range lanes {
		m := receive(t, messages)
		if string(m.Data) != lane || m.Pending != 0 {
			t.Errorf("lane %s got %q with %d behind it", lane, m.Data, m.Pending)
		}
		if err := m.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Last(t.Context(), bus.StreamDispatch, m.Subject); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("an acknowledged delivery is still in the queue: %v", err)
		}
	}
}

func TestInProgressAndNak(t *testing.T) {
	b := bustest.Start(t)
	publish(t, b, "x", 0, 1)
	messages := consume(t, b, bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "x", AckWait: 500 * time.Millisecond})
	m := receive(t, messages)
	for range 10 { // a second: twice the AckWait
		<-time.After(100 * time.Millisecond)
		if err := m.InProgress(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case again := <-messages:
		t.Fatalf("it came again while in progress: %+v", again)
	default:
	}
	if err := m.Nak(0); err != nil {
		t.Fatal(err)
	}
	again := receive(t, messages)
	if again.Sequence != m.Sequence || !again.Redelivered {
		t.Fatalf("got %+v, want the message that was given back", again)
	}
	if err := again.AckAsync(); err != nil {
		t.Fatal(err)
	}
}

func TestConsumeEndsWhenTheBusIsClosed(t *testing.T) {
	b := bustest.Start(t)
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(t.Context(), bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "x"}, func(context.Context, *bus.Incoming) {})
	}()
	b.Close()
	select {
	case err := <-done:
		if err == nil {
			t.Error("Consume on a closed bus returned nil, want an error")
		}
	case <-time.After(patience):
		t.Fatal("Consume did not end with the bus")
	}
	b.Close() // twice does no harm
}
