package bus_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestApplyAgainAndGrow(t *testing.T) {
	b := bustest.Start(t, bustest.WithTopology(bus.Topology{IngestShards: 2, OrderShards: 3}))
	shards := func(prefix string, want int) {
		t.Helper()
		if got, err := b.Shards(t.Context(), prefix); err != nil || got != want {
			t.Fatalf("Shards(%s) = %d, %v; want %d", prefix, got, err, want)
		}
	}
	shards(bus.PrefixIngest, 2)
	shards(bus.PrefixOrder, 3)
	key := "shop_1"
	state := bus.Message{Subject: bus.OrderStateSubject(key), Data: []byte("kept"), ExpectStream: bus.OrderStream(bus.OrderShard(key, 3))}
	if _, err := b.Publish(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), bus.Topology{IngestShards: 4, OrderShards: 3, JournalMaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	shards(bus.PrefixIngest, 4)
	if last, err := b.Last(t.Context(), state.ExpectStream, state.Subject); err != nil || string(last.Data) != "kept" {
		t.Fatalf("after a second apply the state is %q, %v", last.Data, err)
	}
	for name, topology := range map[string]bus.Topology{
		"fewer ingest shards": {IngestShards: 3, OrderShards: 3},
		"fewer order shards":  {IngestShards: 4, OrderShards: 2},
		"more order shards":   {IngestShards: 4, OrderShards: 4},
		"too many":            {IngestShards: 4, OrderShards: 65},
	} {
		if err := b.Apply(t.Context(), topology); err == nil || !strings.Contains(err.Error(), "shards") {
			t.Errorf("%s: Apply = %v, want a refusal that speaks of shards", name, err)
		}
	}
	shards(bus.PrefixIngest, 4)
	shards(bus.PrefixOrder, 3)
	if _, err := b.Shards(t.Context(), "NOTHING"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("Shards of nothing: %v, want ErrNotFound", err)
	}
}

func TestOrderStreamKeepsTheNewestOnly(t *testing.T) {
	b := bustest.Start(t, bustest.WithTopology(bus.Topology{OrderShards: 1}))
	for _, data := range []string{"1", "2", "3"} {
		if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.OrderStateSubject("shop_1"), Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	var all []string
	for record, err := range b.Read(t.Context(), bus.OrderStream(0), bus.OrderStateFilter, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(record.Data))
	}
	if len(all) != 1 || all[0] != "3" {
		t.Fatalf("the stream holds %q, want the newest only", all)
	}
}
