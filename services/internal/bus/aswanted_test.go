package bus_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// A start over a consumer that is as it should be writes nothing of it, and one that
// is not is changed.
func TestConsumeWritesAConsumerOnlyWhereItDiffers(t *testing.T) {
	for name, filters := range map[string][]string{
		"one filter":  {bus.DispatchLaneFilter("wms", "standard")},
		"two filters": {bus.DispatchLaneFilter("wms", "standard"), bus.DispatchLaneFilter("wms", "express")},
	} {
		t.Run(name, func(t *testing.T) {
			s := bustest.NewServer(t)
			b := s.Bus(t)
			o := bus.ConsumerOptions{Stream: bus.StreamDispatch, Durable: "wms", Filters: filters, Reset: true}
			run := func(id string) time.Time {
				t.Helper()
				if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.DispatchSubject("wms", "standard", id, id), Data: []byte(id)}); err != nil {
					t.Fatal(err)
				}
				once(t, b, o)
				files, err := filepath.Glob(filepath.Join(s.Folder(), "jetstream", "*", "streams", bus.StreamDispatch, "obs", "wms", "meta.inf"))
				if err != nil || len(files) != 1 {
					t.Fatalf("the server keeps the consumer in %v: %v", files, err)
				}
				info, err := os.Stat(files[0])
				if err != nil {
					t.Fatal(err)
				}
				return info.ModTime()
			}
			made := run("1")
			if again := run("2"); !again.Equal(made) {
				t.Error("the second start wrote the consumer again")
			}
			o.MaxAckPending = 7
			run("3")
			consumer, err := raw(t, s).Consumer(t.Context(), bus.StreamDispatch, "wms")
			if err != nil {
				t.Fatal(err)
			}
			if is := consumer.CachedInfo().Config.MaxAckPending; is != 7 {
				t.Errorf("the consumer hands out %d, want 7", is)
			}
		})
	}
}

// once consumes until there was a message.
func once(t *testing.T, b *bus.Bus, o bus.ConsumerOptions) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Consume(ctx, o, func(context.Context, *bus.Incoming) { cancel() }); err != nil {
		t.Fatal(err)
	}
}
