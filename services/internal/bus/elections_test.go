//go:build unix

package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// What a leader had handed out when another one takes its place comes again, in
// order, although the signs of life are too far apart to tell.
func TestQuietIsTakenOverFromANewLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	b := cluster.Connect(t, "lanes")
	messages := consume(t, b, bus.ConsumerOptions{
		Stream: bus.StreamDispatch, Durable: "wms", Filters: []string{bus.DispatchLaneFilter("wms", "standard")},
		Reset: true, Quiet: true, AckWait: 5 * time.Minute,
	})
	ask := func(id string) {
		t.Helper()
		if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.DispatchSubject("wms", "standard", id, id), Data: []byte(id)}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(id string) {
		t.Helper()
		if m := receive(t, messages); string(m.Data) != id {
			t.Fatalf("got %q, want the %s", m.Data, id)
		}
	}
	ask("first")
	want("first")
	nc, err := nats.Connect(cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := nc.RequestWithContext(ctx, "$JS.API.CONSUMER.LEADER.STEPDOWN.DISPATCH.wms", nil); err != nil {
		t.Fatal(err)
	}
	want("first")
	ask("second")
	want("second")
}
