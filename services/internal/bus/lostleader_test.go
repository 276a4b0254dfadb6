package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// A role that starts while the cluster elects a leader begins when it has one.
func TestShardsAreAwaitedWhileALeaderIsElected(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for an election: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	b := cluster.Connect(t, "test")
	cluster.Kill(cluster.Leader(t, bus.OrderStream(0)))
	killed := time.Now()
	shards, err := b.AwaitShards(t.Context(), bus.PrefixOrder)
	if err != nil || shards != 2 {
		t.Errorf("there are %d shards, %v; want 2", shards, err)
	}
	// An election takes 4 to 9 s; a question that nobody answers is not waited for.
	if took := time.Since(killed); took > 10*time.Second {
		t.Errorf("it took %v to know how many shards there are, want 10 s at most", took)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.AwaitShards(ended, bus.PrefixOrder); err == nil {
		t.Error("who is told to stop gets shards")
	}
	if _, err := b.AwaitShards(t.Context(), "NOTHING"); err == nil || bus.IsUnavailable(err) {
		t.Errorf("shards that are not there: %v, want an error at once", err)
	}
}
