package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// A process that hangs has asked for messages that it will not handle; whoever
// takes over gets them nevertheless, at once.
func TestAnewEndsWhatAHangingProcessHasAskedFor(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	o := bus.ConsumerOptions{
		Stream: bus.StreamDispatch, Durable: "wms", Filters: []string{bus.DispatchLaneFilter("wms", "standard")}, Reset: true,
	}
	ask := func(id string) {
		t.Helper()
		if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.DispatchSubject("wms", "standard", id, id), Data: []byte(id)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ask("first")
	if err := b.Consume(ctx, o, func(context.Context, *bus.Incoming) { stop() }); err != nil {
		t.Fatal(err)
	}
	// The hanging one: its request stays with the server, and so does its inbox.
	hanging, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hanging.Close)
	inbox := nats.NewInbox()
	hangs, err := hanging.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := hanging.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.DISPATCH.wms", inbox, []byte(`{"batch":100,"expires":60000000000}`)); err != nil {
		t.Fatal(err)
	}
	if err := hanging.Flush(); err != nil {
		t.Fatal(err)
	}
	renewed := make(chan struct{}, 2)
	o.Anew, o.Renewed = true, func() { renewed <- struct{}{} }
	messages := consume(t, b, o)
	if m := receive(t, messages); string(m.Data) != "first" {
		t.Fatalf("got %q, want the first", m.Data)
	}
	if len(renewed) != 1 {
		t.Errorf("it said %d times that it was made anew, want once", len(renewed))
	}
	ask("second")
	if m := receive(t, messages); string(m.Data) != "second" {
		t.Fatalf("got %q, want the second", m.Data)
	}
	for {
		m, err := hangs.NextMsg(100 * time.Millisecond)
		if err != nil {
			break
		}
		if string(m.Data) == "second" {
			t.Fatal("the hanging process was handed the second")
		}
	}
}

// Nothing is taken over before it is known that one may.
func TestBeforeHoldsATakeoverBack(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	publish(t, b, "x", 0, 1)
	asked, may := make(chan struct{}), make(chan error)
	messages := consume(t, b, bus.ConsumerOptions{
		Stream: bus.StreamResult, Durable: "x", Reset: true,
		Before: func(ctx context.Context) error {
			select {
			case asked <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case err := <-may:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	wait := func(what <-chan struct{}) {
		t.Helper()
		select {
		case <-what:
		case <-time.After(patience):
			t.Fatalf("not asked within %v", patience)
		}
	}
	wait(asked)
	if _, err := raw(t, s).Consumer(t.Context(), bus.StreamResult, "x"); err == nil {
		t.Error("the consumer was made before it was known that it may")
	}
	may <- errors.New("not yet")
	wait(asked)
	may <- nil
	receive(t, messages)
	// And so after every interruption.
	s.Restart(t)
	wait(asked)
	may <- nil
	receive(t, messages)
}
