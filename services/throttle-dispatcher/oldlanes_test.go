package throttledispatcher_test

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// What is queued in a lane when that is renamed is sent all the same, and so is
// what comes into it later, from an order that remembers it.
func TestLaneThatTheCatalogDoesNotNameAnyMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	w.start()
	w.want(0, "")
	w.delivered(1)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = true })
	w.want(1, "")
	w.want(2, "")
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.Paused = false
		for i := range spec.Lanes {
			if spec.Lanes[i].Name == v1alpha1.LaneStandard {
				spec.Lanes[i].Name = "usual_things" // an underline is escaped in the names of consumers
			}
		}
	})
	w.delivered(3)
	w.allAcknowledged(delivery(1), delivery(2))
	told := func() int { return len(w.log.with("lane that the connector does not have any more")) }
	if told() != 1 {
		t.Errorf("%d lines name the lane, want 1", told())
	}
	if testing.Short() {
		return
	}
	// A worker that finds the lane empty says nothing, and looks again.
	w.catalog.respec(brief)
	during(time.Second)
	if told() != 1 {
		t.Errorf("%d lines name the lane, of which one is from when it was empty", told())
	}
	w.want(3, "")
	w.delivered(4)
	if told() != 2 {
		t.Errorf("%d lines name the lane, want 2", told())
	}
}
