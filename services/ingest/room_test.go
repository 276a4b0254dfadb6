package ingest

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// Between two looks at what is stored no more comes in than can be worked off.
func TestRoomGivesOutWhatIsLeftOnce(t *testing.T) {
	const event = 1000
	var r room
	if err := r.admit(1 << 40); err != nil {
		t.Errorf("%v before it is known what may be stored", err)
	}
	r.leave(1 << 40)
	// Nine tenths of the store are 90,000 bytes. What is there takes 30,000 when it is
	// worked off, and each event three times its own bytes.
	stored := bus.Room{Store: 100_000, Stored: 10_000, Streams: []bus.StreamRoom{{Bytes: 10_000}}}
	r.seen(stored, time.Now())
	admitted := 0
	for r.admit(event) == nil {
		admitted++
	}
	if admitted != 20 {
		t.Errorf("%d events of %d bytes let in, want 20", admitted, event)
	}
	if r.full() == nil {
		t.Error("ready, and the last event was not let in")
	}
	// They are being stored still when it is looked again.
	r.seen(stored, time.Now())
	if r.admit(event) == nil {
		t.Error("what is being stored is let in twice")
	}
	for range admitted {
		r.leave(event)
	}
	r.seen(bus.Room{Store: 100_000, Stored: 30_000, Streams: []bus.StreamRoom{{Bytes: 30_000}}}, time.Now())
	if r.admit(event) == nil {
		t.Error("an event is let in beside what needs all that is left")
	}
	r.seen(bus.Room{Store: 100_000, Stored: 30_000, Streams: []bus.StreamRoom{{}}}, time.Now())
	if err := r.full(); err != nil {
		t.Errorf("not ready with room for what was refused: %v", err)
	}
	if err := r.admit(event); err != nil {
		t.Errorf("%v once events that are worked off are gone", err)
	}
}
