package throttledispatcher_test

import (
	"testing"

	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// However many connectors have a backlog, what is held in memory of it is bounded, and
// a lane has enough for a second at 100 a second.
func TestManyConnectorsHoldNoMoreTogether(t *testing.T) {
	for connectors, want := range map[int]int{0: 512, 1: 512, 50: 512, 100: 256, 200: 128, 1000: 128} {
		if got := throttledispatcher.PlacesPerLane(connectors); got != want {
			t.Errorf("%d connectors: %d places in each lane, want %d", connectors, got, want)
		}
	}
}
