package throttledispatcher

import (
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	windows "github.com/peppasync/peppasync/services/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
)

// A delivery whose long wait is over stands in a lane of its own, and not behind or before
// those of the lane that it came by.
func TestTurnAfterALongWait(t *testing.T) {
	w := &worker{name: "wms", jobs: map[string]*job{}, queue: queue.New[*job](withWaiting([]queue.Lane{{Name: "standard", Weight: 1}}))}
	add := func(id, lane string, sequence uint64) {
		w.jobs[id] = &job{delivery: &dispatchv1.Delivery{Id: id, Key: id, Lane: "standard"}}
		w.queue.Add(queue.Item[*job]{ID: id, Key: id, Lane: lane, Sequence: sequence, Value: w.jobs[id]})
	}
	add("waited", laneWaiting, 1)
	add("after it", laneWaiting, 2)
	for n := range uint64(500) {
		add("new "+time.Duration(n).String(), "standard", 10+n)
	}
	now := time.Now()
	s := &snapshot{
		at: now, state: dispatcherv1.State_STATE_RUNNING, lanes: w.lanes(now), gap: time.Second,
		outlook: maintenance.NewWatch(now, maintenance.Settings{Calendar: windows.Calendar{}}).Outlook(),
	}
	d, lane := w.lookUp("after it")
	s.foretell(d, lane, nil)
	// One of ten sends is for those that waited: the second of them is about the 15th.
	if in := d.GetEta().AsTime().Sub(now); lane != laneWaiting || d.GetLane() != "standard" || in < 10*time.Second || in > 20*time.Second {
		t.Errorf("it stands in %q, came by %q and arrives in %v, want about 14 s", lane, d.GetLane(), in)
	}
}
