package bus_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// A RESULT of an older build takes no TTL, and says so in a way that is understood. Apply
// brings it up to date with all that is in it, and then what nobody reads any more goes.
func TestApplyLetsResultsGo(t *testing.T) {
	topology := bus.Topology{IngestShards: 1, OrderShards: 1}
	server := bustest.NewServer(t, bustest.WithTCP(), bustest.WithTopology(topology))
	b := server.Bus(t)
	conn, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), bus.StreamResult)
	if err != nil {
		t.Fatal(err)
	}
	before := s.CachedInfo().Config
	before.AllowMsgTTL = false
	if err := js.DeleteStream(t.Context(), bus.StreamResult); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	old := bus.Message{Subject: bus.ResultSubject("ingest", "old"), Data: []byte("old")}
	if _, err := b.Publish(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	page := bus.Message{Subject: bus.ResultSubject("ingest", "page"), Data: []byte(strings.Repeat("x", 100_000)), TTL: time.Second}
	if _, err := b.Publish(t.Context(), page); !bus.IsTTLRefused(err) {
		t.Fatalf("a stream without TTL answers %v", err)
	}
	if err := b.Apply(t.Context(), topology); err != nil {
		t.Fatal(err)
	}
	const pages = 20
	for range pages {
		if _, err := b.Publish(t.Context(), page); err != nil {
			t.Fatal(err)
		}
	}
	bytes := func() uint64 {
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Bytes
	}
	full := bytes()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); bytes() > 1000; {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%d pages were %d bytes, of which %d are there still", pages, full, bytes())
		}
	}
	t.Logf("%d pages were %d bytes in RESULT; a while later it has %d", pages, full, bytes())
	if _, err := b.Last(t.Context(), bus.StreamResult, page.Subject); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("the page is there: %v", err)
	}
	if found, err := b.Last(t.Context(), bus.StreamResult, old.Subject); err != nil || string(found.Data) != "old" {
		t.Errorf("what was there before the upgrade is %q, %v", found.Data, err)
	}
}
