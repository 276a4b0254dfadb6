package bus

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Each setting by which a stream loses what it acknowledged is named; those that Apply
// makes are safe.
func TestUnsafeStreams(t *testing.T) {
	t.Parallel()
	for _, config := range (Topology{Replicas: 3}).withDefaults().streams() {
		if found := unsafeIn(config, 3); len(found) > 0 {
			t.Errorf("what Apply makes is not safe: %q", found)
		}
	}
	safe := jetstream.StreamConfig{Name: "DISPATCH", Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, Replicas: 3}
	for name, test := range map[string]struct {
		change func(*jetstream.StreamConfig)
		want   string
	}{
		"one copy on three servers": {func(c *jetstream.StreamConfig) { c.Replicas = 1 }, "has 1 copies where NATS has 3 servers"},
		"discards the oldest":       {func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "discards its oldest"},
		"an order stream with an age": {func(c *jetstream.StreamConfig) {
			c.Name, c.Discard, c.MaxAge = OrderStream(0), jetstream.DiscardOld, time.Hour
		}, "discards its oldest"},
		"acknowledges before it writes": {func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, "before it has written"},
		"in memory":                     {func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "kept in memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := safe
			test.change(&config)
			found := unsafeIn(config, 3)
			if len(found) != 1 || !strings.Contains(found[0], test.want) {
				t.Errorf("found %q, want one that says %q", found, test.want)
			}
		})
	}
	if found := unsafeIn(jetstream.StreamConfig{Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, Replicas: 1}, 1); len(found) > 0 {
		t.Errorf("one copy on one server: %q", found)
	}
}
