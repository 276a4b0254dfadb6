package scenario

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/wms"
)

// TestKilledWithEverySlotTaken kills the product while all ten calls that the
// warehouse takes at once are under way. The restarted one does not know what
// became of them, and must feed on all the same: not before the warehouse is done
// with them, which works on calls that nobody waits for, and not as late as
// their timeout.
func TestKilledWithEverySlotTaken(t *testing.T) {
	stage := open(t, scene.Options{Script: scene.Saturday().Scaled(100), Binary: binary(t, false)})
	slow := []faults.Rule{{Kind: faults.Slow, Operations: []string{wms.OpUpsert}, Delay: jsontime.Duration(2 * time.Second)}}
	if err := stage.World.WMS.SetFaults(slow); err != nil {
		t.Fatal(err)
	}
	burst := scene.Burst()
	if err := burst.Do(t.Context(), stage); err != nil {
		t.Fatal(err)
	}
	until(t, soon, "the WMS has taken the first calls and works on ten others", func() bool { return stage.World.WMS.Report().Accepted > 10 })
	if err := stage.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := stage.World.WMS.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	if err := stage.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	until(t, time.Minute, "the WMS has more orders than were under way", func() bool { return stage.World.WMS.Report().Accepted > 30 })
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the restarted product feeds the WMS after %v", took.Round(100*time.Millisecond))
	}
	if r := stage.World.WMS.Report(); r.Throttled != 0 {
		t.Errorf("%d calls are throttled: the old ones were still under way", r.Throttled)
	}
}
