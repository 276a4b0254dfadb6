package bus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// Who reads a stream of a cluster that has just lost its leader gets all of it soon,
// whatever he asked while there was none, and also where he has a minute.
func TestReadsAreAnsweredAfterALostLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for elections: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	const records = 20
	publisher := cluster.Connect(t, "publisher")
	for i := range records {
		if _, err := publisher.Publish(t.Context(), bus.Message{Subject: bus.ResultSubject("test", fmt.Sprint("d", i)), Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	// Elections take 4 to 9 s.
	const soon = 20 * time.Second
	reader := cluster.Connect(t, "reader")
	node := cluster.Leader(t, bus.StreamResult)
	cluster.Kill(node)
	killed := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	consumed := 0
	go func() {
		consuming, stop := context.WithCancel(ctx)
		defer stop()
		done <- reader.Consume(consuming, bus.ConsumerOptions{Stream: bus.StreamResult, Ephemeral: true, Filters: []string{bus.ResultFilter("test")}},
			func(context.Context, *bus.Incoming) {
				if consumed++; consumed == records {
					stop()
				}
			})
	}()
	for {
		_, err := reader.Last(ctx, bus.StreamResult, bus.ResultFilter("test"))
		if err == nil {
			break
		}
		if !bus.IsUnavailable(err) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	read := time.Since(killed)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	all := time.Since(killed)
	t.Logf("the newest record is read %v after the loss, all %d records are consumed after %v", read, consumed, all)
	if consumed != records || read > soon || all > soon {
		t.Errorf("%d of %d records; want them within %v", consumed, records, soon)
	}
}
