package ingest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// Where the streams are made anew, or an older copy of them is put back, senders and
// sources tell again what is lost. They get no OK for what is stored nowhere.
func TestWhatTheStreamsHaveLostIsNoRepetition(t *testing.T) {
	server := bustest.NewServer(t)
	f := start(t, server.Bus(t), nil).ready(t).rebuiltAll(t)
	const events = 20
	for i := range events {
		f.deliver(t, fmt.Sprint("w", i), order(i), nil)
	}
	server.Stop()
	kept, err := filepath.Glob(filepath.Join(server.Folder(), "*"))
	if err != nil || len(kept) == 0 {
		t.Fatal(kept, err)
	}
	for _, path := range kept {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	server.StartAgain(t)
	operator := server.Connect(t, bus.Options{Name: "operator"})
	if err := operator.Apply(t.Context(), bus.Topology{IngestShards: 2, OrderShards: 2}); err != nil {
		t.Fatal(err)
	}
	f.eventually(t, "forgotten", func() bool { return f.recent.Len() == 0 })
	f.ready(t).rebuiltAll(t)
	for range 2 {
		for i := range events {
			f.eventually(t, "taken", func() bool {
				return f.deliver(t, fmt.Sprint("w", i), order(i), nil).status == http.StatusOK
			})
		}
	}
	if counts := byID(stored(t, operator)); len(counts) != events || f.Counts().Duplicates != events {
		t.Errorf("stored %v, %+v", counts, f.Counts())
	}
}

// What somebody has purged before logic-gate has read it is lost, too: whoever tells it again
// is not told that it is known.
func TestWhatIsPurgedUnreadIsNoRepetition(t *testing.T) {
	// With more shards it forgets for each, which is more than it has to.
	server := bustest.NewServer(t, bustest.WithTopology(bus.Topology{IngestShards: 1, OrderShards: 1}))
	f := start(t, server.Bus(t), nil).ready(t).rebuiltAll(t)
	const events = 20
	for i := range events {
		f.deliver(t, fmt.Sprint("w", i), order(i), nil)
	}
	server.Purge(t, bus.IngestStream(0))
	f.eventually(t, "forgotten", func() bool { return f.recent.Len() == 0 })
	f.rebuiltAll(t)
	for range 2 {
		for i := range events {
			f.eventually(t, "taken", func() bool {
				return f.deliver(t, fmt.Sprint("w", i), order(i), nil).status == http.StatusOK
			})
		}
	}
	if counts := byID(stored(t, f.bus)); len(counts) != events || f.Counts().Duplicates != events {
		t.Errorf("stored %v, %+v", counts, f.Counts())
	}
}

// What logic-gate has worked off goes early where the store is small: that is in the
// states of its orders, and a repetition of it is one.
func TestWhatWasWorkedOffAndWentIsStillKnown(t *testing.T) {
	var n newest
	streams := func(first, last uint64) []bus.StreamRoom { return []bus.StreamRoom{{First: first, Last: last}} }
	for _, step := range []struct {
		what    string
		worked  uint64
		streams []bus.StreamRoom
		want    bool
	}{
		{"the first look", 0, streams(5, 20), false},
		{"no change", 9, streams(5, 20), false},
		{"all that was worked off went", 9, streams(10, 25), false},
		{"one more than that went", 12, streams(14, 25), true},
		{"it is told once", 12, streams(14, 25), false},
		{"all went unread", 20, streams(26, 25), true},
		{"it goes on", 25, streams(26, 30), false},
		{"all went that was worked off", 30, streams(31, 30), false},
		{"nobody has read anything", 0, streams(32, 32), true},
	} {
		if got := n.lost(n.of(1), []uint64{step.worked}, step.streams); got != step.want {
			t.Errorf("%s: lost %v, want %v", step.what, got, step.want)
		}
	}
}

func TestStreamsThatGoOnHaveLostNothing(t *testing.T) {
	var n newest
	n.stored(0, 7)
	n.stored(0, 5) // acknowledgments overtake each other
	before := n.of(2)
	n.stored(0, 9) // after it was asked, the answer need not have it
	for name, c := range map[string]struct {
		streams []bus.StreamRoom
		want    bool
	}{
		"as it was":           {[]bus.StreamRoom{{Last: 7}, {Last: 0}}, false},
		"longer":              {[]bus.StreamRoom{{Last: 12}, {Last: 3}}, false},
		"a shard more":        {[]bus.StreamRoom{{Last: 7}, {}, {}}, false},
		"shorter by a record": {[]bus.StreamRoom{{Last: 6}, {}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := n.lost(before, nil, c.streams); got != c.want {
				t.Errorf("lost: %v, want %v", got, c.want)
			}
		})
	}
	n.lost(n.of(2), nil, []bus.StreamRoom{{Last: 2}, {Last: 4}})
	if n.lost(n.of(2), nil, []bus.StreamRoom{{Last: 2}, {Last: 4}}) {
		t.Error("it is told of the same loss twice")
	}
	if !n.lost(n.of(2), nil, []bus.StreamRoom{{Last: 2}, {Last: 3}}) {
		t.Error("it is not told of what was seen and not acknowledged here")
	}
	var unseen newest
	unseen.stored(0, 7)
	if !unseen.lost(unseen.of(1), nil, []bus.StreamRoom{{First: 8, Last: 7}}) {
		t.Error("it is not told of what was purged before the first look")
	}
}
