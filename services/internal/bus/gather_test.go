package bus_test

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// Streams are asked for as soon as most servers of a cluster answer, which is before
// they have heard of the last.
func TestApplyWaitsForTheLastServerOfACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster: runs without -short, as in make test")
	}
	cluster, last := bustest.NewGathering(t)
	b := cluster.Connect(t, "test")
	applied := make(chan error, 1)
	go func() { applied <- b.Apply(t.Context(), bus.Topology{OrderShards: 1, Replicas: 3}) }()
	select {
	case err := <-applied:
		t.Fatalf("Apply = %v before the last server was there, want it to wait", err)
	case <-time.After(time.Second):
	}
	cluster.StartAgain(t, last)
	if err := <-applied; err != nil {
		t.Error(err)
	}
}
