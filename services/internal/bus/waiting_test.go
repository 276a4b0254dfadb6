package bus_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func rawOn(t *testing.T, server *bustest.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(server.URL())
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

func wait(t *testing.T, b *bus.Bus, delivery string, size int) error {
	t.Helper()
	_, err := b.Publish(t.Context(), bus.Message{
		Subject: bus.WaitingSubject("wms", "shop_1", delivery), Data: make([]byte, size), ExpectStream: bus.StreamWaiting,
	})
	return err
}

// Where WAITING has no room left, it refuses what is new and keeps what is there.
func TestWaitingRefusesRatherThanDiscards(t *testing.T) {
	server := bustest.NewServer(t, bustest.WithTCP())
	b, js := server.Bus(t), rawOn(t, server)
	stream, err := js.Stream(t.Context(), bus.StreamWaiting)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = 16 << 10
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for ; err == nil && stored < 100; stored++ {
		err = wait(t, b, fmt.Sprint(stored), 1<<10)
	}
	stored--
	if !bus.IsFull(err) || stored < 10 {
		t.Fatalf("after %d records: %v, want that it is full", stored, err)
	}
	for i := range stored {
		if _, err := b.Last(t.Context(), bus.StreamWaiting, bus.WaitingSubject("wms", "shop_1", fmt.Sprint(i))); err != nil {
			t.Errorf("record %d of %d: %v", i, stored, err)
		}
	}
	if err := b.Remove(t.Context(), bus.StreamWaiting, bus.WaitingSubject("wms", "shop_1", "0")); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, b, "again", 1<<10); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// Streams of a version that knew no WAITING get it, and keep what they hold.
func TestApplyAddsWaiting(t *testing.T) {
	server := bustest.NewServer(t, bustest.WithTCP())
	b, js := server.Bus(t), rawOn(t, server)
	kept := bus.DispatchSubject("wms", "standard", "shop_1", "a")
	if _, err := b.Publish(t.Context(), bus.Message{Subject: kept, Data: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), bus.StreamWaiting); err != nil {
		t.Fatal(err)
	}
	for _, err := range b.Read(t.Context(), bus.StreamWaiting, bus.WaitingFilter("wms"), 0) {
		if !errors.Is(err, bus.ErrNotFound) {
			t.Fatalf("reading what is not there: %v, want ErrNotFound", err)
		}
	}
	if err := b.Apply(t.Context(), bus.Topology{IngestShards: 2, OrderShards: 2}); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, b, "a", 1); err != nil {
		t.Error(err)
	}
	if last, err := b.Last(t.Context(), bus.StreamDispatch, kept); err != nil || string(last.Data) != "kept" {
		t.Errorf("what was there: %q, %v", last.Data, err)
	}
}
