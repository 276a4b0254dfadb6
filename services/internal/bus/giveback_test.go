package bus_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// handedOut is how many messages the one who leaves has been handed: its first request.
const handedOut = 16

func sixteen() bus.ConsumerOptions {
	return bus.ConsumerOptions{
		Stream: bus.StreamResult, Durable: "x", Filters: []string{bus.ResultFilter("x")}, AckWait: never,
		Prefetch: handedOut, MaxAckPending: handedOut,
	}
}

// leaves is a reader that begins five messages, settles none, and is told to stop. It
// returns what it was handed: these, and what waited behind them.
func leaves(t *testing.T, s *bustest.Server, b *bus.Bus, o bus.ConsumerOptions) []*bus.Incoming {
	t.Helper()
	consumers := raw(t, s)
	var begun, left []*bus.Incoming
	o.Leftover = func(m *bus.Incoming) { left = append(left, m) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := b.Consume(ctx, o, func(_ context.Context, m *bus.Incoming) {
		if begun = append(begun, m); len(begun) == 1 {
			awaitHandedOut(t, consumers, o)
			// A stream's acknowledgments go the way of its messages, behind them.
			publish(t, b, "somebody else", 0, 1)
		}
		if len(begun) == 5 {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(begun) != 5 {
		t.Fatalf("%d messages were begun, want 5: what came after the end is left over", len(begun))
	}
	all := slices.Concat(begun, left)
	if len(all) != handedOut {
		t.Errorf("%d messages were handed out, want %d", len(all), handedOut)
	}
	return all
}

// awaitHandedOut returns when the server has in line for the reader what that may have.
func awaitHandedOut(t *testing.T, consumers jetstream.JetStream, o bus.ConsumerOptions) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		consumer, err := consumers.Consumer(t.Context(), o.Stream, o.Durable)
		if err != nil {
			t.Error(err)
			return
		}
		if consumer.CachedInfo().NumAckPending == handedOut {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Errorf("after %v the reader was not handed %d messages", patience, handedOut)
			return
		}
	}
}

// What a reader was handed and gives back is there for the next one at once, in order and
// before what is newer.
func TestWhatIsGivenBackIsThereAtOnce(t *testing.T) {
	s := bustest.NewServer(t)
	b, o := s.Bus(t), sixteen()
	// So that the server still has a request of the one who leaves.
	o.Prefetch = 2 * handedOut
	want := publish(t, b, "x", 0, 2*handedOut)
	if err := b.GiveBack(t.Context(), leaves(t, s, b, o)); err != nil {
		t.Fatal(err)
	}
	awaitLook(t, s)
	if got := settleAll(t, consume(t, s.Bus(t), o), len(want)); !slices.Equal(got, want) {
		t.Errorf("the next reader got %q, want %q", got, want)
	}
}

// The server keeps it over a restart, after which it looks at its consumers a second later.
// What was settled stays so.
func TestWhatIsGivenBackIsThereAfterARestart(t *testing.T) {
	s := bustest.NewServer(t)
	b, o := s.Bus(t), sixteen()
	want := slices.Delete(publish(t, b, "x", 0, handedOut), 2, 3)
	back := leaves(t, s, b, o)
	if err := back[2].Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.GiveBack(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	if got := settleAll(t, consume(t, s.Bus(t), o), len(want)); !slices.Equal(got, want) {
		t.Errorf("the next reader got %q, want %q", got, want)
	}
}

// One that reads already has asked for more before.
func TestWhatIsGivenBackGoesToWhoReadsAlready(t *testing.T) {
	s := bustest.NewServer(t)
	b, o := s.Bus(t), sixteen()
	o.MaxAckPending = 2 * handedOut
	want := publish(t, b, "x", 0, handedOut)
	back := leaves(t, s, b, o)
	publish(t, b, "x", handedOut, 1)
	messages := consume(t, s.Bus(t), o)
	if m := receive(t, messages); m.Redelivered {
		t.Fatalf("the other reader was handed %q, which is not given back yet", m.Data)
	}
	if err := b.GiveBack(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	if got := settleAll(t, messages, len(want)); !slices.Equal(got, want) {
		t.Errorf("the other reader got %q, want %q", got, want)
	}
}

// awaitLook returns when the server has looked for what was given back: what another
// consumer gives back later has come again.
func awaitLook(t *testing.T, s *bustest.Server) {
	t.Helper()
	b := s.Bus(t)
	publish(t, b, "later", 0, 1)
	messages := consume(t, b, bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "later", Filters: []string{bus.ResultFilter("later")}, AckWait: never})
	if err := b.GiveBack(t.Context(), []*bus.Incoming{receive(t, messages)}); err != nil {
		t.Fatal(err)
	}
	settleAll(t, messages, 1)
}

func settleAll(t *testing.T, messages <-chan *bus.Incoming, n int) (got []string) {
	t.Helper()
	for range n {
		m := receive(t, messages)
		got = append(got, string(m.Data))
		if err := m.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func TestNothingIsGivenBackOverALostConnection(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	publish(t, b, "x", 0, handedOut)
	back := leaves(t, s, b, sixteen())
	s.Stop()
	if err := b.GiveBack(t.Context(), back); !bus.IsUnavailable(err) {
		t.Errorf("without a server it said %v, want that it is unavailable", err)
	}
	if err := b.GiveBack(t.Context(), nil); err != nil {
		t.Errorf("nothing to give back is no error, got %v", err)
	}
}
