package bus_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

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
