package bus_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestIngestRoomKnowsTheStoreOverRepeatedApplies(t *testing.T) {
	const store = 12 << 20
	b := bustest.Start(t, bustest.WithTopology(bus.Topology{IngestShards: 2, StoreBytes: store}))
	for _, topology := range []bus.Topology{{IngestShards: 2}, {IngestShards: 2, StoreBytes: store}, {IngestShards: 2}} {
		room, err := b.IngestRoom(t.Context(), 2)
		if err != nil || room.Store != store || len(room.Streams) != 2 || room.Streams[1].Most != 2<<20 {
			t.Errorf("%+v, %v; want a third of %d over two shards", room, err, store)
		}
		if err := b.Apply(t.Context(), topology); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.IngestSubject(1), Data: make([]byte, 1000)}); err != nil {
		t.Fatal(err)
	}
	if room, err := b.IngestRoom(t.Context(), 2); err != nil || room.Stored < 1000 || room.Streams[1].Bytes < 1000 {
		t.Errorf("%+v, %v after a message of 1000 bytes", room, err)
	}
}

func TestTrimLeavesWhatIsNotAcknowledged(t *testing.T) {
	b := bustest.Start(t)
	stream := bus.IngestStream(0)
	for range 10 {
		if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.IngestSubject(0), Data: bytes.Repeat([]byte("x"), 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.Trim(t.Context(), stream, "gate", 10, 0); n != 0 || err != nil {
		t.Errorf("%d removed, %v, before anybody has consumed", n, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	err := b.Consume(ctx, bus.ConsumerOptions{Stream: stream, Durable: "gate", AckWait: never}, func(ctx context.Context, m *bus.Incoming) {
		if m.Sequence == 7 {
			stop() // and all others are acknowledged up to here
			return
		}
		if err := m.Ack(ctx); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		keep int64
		seen uint64
		want uint64
	}{{1 << 20, 10, 0}, {9000, 10, 2}, {0, 2, 0}, {0, 5, 3}, {0, 10, 1}, {0, 10, 0}} {
		if n, err := b.Trim(t.Context(), stream, "gate", step.seen, step.keep); n != step.want || err != nil {
			t.Errorf("%d removed, %v, want %d to keep %d bytes", n, err, step.want, step.keep)
		}
	}
	var left []uint64
	for record, err := range b.Read(t.Context(), stream, bus.IngestSubject(0), 1) {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, record.Sequence)
	}
	if len(left) != 4 || left[0] != 7 {
		t.Errorf("%v are left, want 7 to 10", left)
	}
}

// What is stored is compared with what one server may hold, so copies on others
// must not count.
func TestIngestRoomOfAClusterCountsOneCopy(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	b := cluster.Connect(t, "room")
	if err := b.Apply(t.Context(), bus.Topology{IngestShards: 2, OrderShards: 2, Replicas: 3, StoreBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	const messages, size = 20, 100_000
	for range messages {
		if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.IngestSubject(0), Data: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	// Servers tell each other what they hold every second or two.
	var room bus.Room
	for deadline := time.Now().Add(20 * time.Second); room.Stored < messages*size && time.Now().Before(deadline); {
		var err error
		if room, err = b.IngestRoom(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
	}
	if room.Store != 1<<30 || room.Stored < messages*size || room.Stored >= 2*messages*size {
		t.Errorf("%d bytes of %d are stored after %d bytes of events, want about as many", room.Stored, room.Store, messages*size)
	}
}
