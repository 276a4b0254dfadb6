package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestBacklogOfAConsumer(t *testing.T) {
	b := bustest.Start(t)
	if _, err := b.Backlog(t.Context(), bus.StreamDispatch, "nobody"); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("the backlog of nobody: %v, want ErrNotFound", err)
	}
	var sequences []uint64
	for i := range 30 {
		ack, err := b.Publish(t.Context(), bus.Message{Subject: bus.DispatchSubject("erp", "bulk", "key", fmt.Sprint(i))})
		if err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, ack.Sequence)
	}
	ctx, stop := context.WithCancel(t.Context())
	handed := 0
	err := b.Consume(ctx, bus.ConsumerOptions{
		Stream: bus.StreamDispatch, Durable: "erp", Filters: []string{bus.DispatchLaneFilter("erp", "bulk")}, MaxAckPending: 10,
	}, func(context.Context, *bus.Incoming) {
		if handed++; handed == 10 {
			stop()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Backlog(t.Context(), bus.StreamDispatch, "erp")
	if want := (bus.Backlog{Pending: 20, Delivered: sequences[9]}); err != nil || got != want {
		t.Errorf("backlog %+v (%v), want %+v", got, err, want)
	}
}
