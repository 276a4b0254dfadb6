package logicgate

import (
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
)

func TestWhenEventsHaveToGoEarly(t *testing.T) {
	for name, c := range map[string]struct {
		stored, store int64
		stream        bus.StreamRoom
		full          bool
		keep          int64
		tooMuch       bool
	}{
		"there is room":                       {300, 1000, bus.StreamRoom{Bytes: 200, Most: 333}, false, 0, false},
		"the stream is at its bound":          {150, 1000, bus.StreamRoom{Bytes: 90, Most: 100}, false, 50, true},
		"the store fills up":                  {720, 1000, bus.StreamRoom{Bytes: 20, Most: 333}, false, 0, true},
		"nothing to remove":                   {800, 1000, bus.StreamRoom{Most: 333}, false, 0, false},
		"the store is not known":              {600, 0, bus.StreamRoom{Bytes: 600}, false, 0, false},
		"the store is not known, but is full": {600, 0, bus.StreamRoom{Bytes: 600}, true, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			keep, tooMuch := excess(bus.Room{Stored: c.stored, Store: c.store, Streams: []bus.StreamRoom{c.stream}}, c.stream, c.full)
			if keep != c.keep || tooMuch != c.tooMuch {
				t.Errorf("keep %d, too much %v; want %d, %v", keep, tooMuch, c.keep, c.tooMuch)
			}
		})
	}
}

// Ingest takes nothing while the store is full. Were there events that are worked
// off and did not have to go, it would take nothing for as long as they are kept.
func TestEventsGoBeforeTheDoorClosesForThem(t *testing.T) {
	const store, shards = 1000, 2
	for others := int64(0); others <= store; others += 10 {
		for events := int64(2); others+events <= store; events += 10 {
			stream := bus.StreamRoom{Bytes: events / shards, Most: store / 3 / shards}
			room := bus.Room{Stored: others + events, Store: store, Streams: []bus.StreamRoom{stream, stream}}
			if keep, tooMuch := excess(room, stream, false); room.Full() && (!tooMuch || keep != 0) {
				t.Errorf("full with %d bytes of events beside %d: keep %d, too much %v", events, others, keep, tooMuch)
			}
		}
	}
}
