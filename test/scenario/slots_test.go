package scenario

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
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

// TestKilledInTheFirstMoments kills the product while the first calls of a burst
// are under way, before or just after any reply. The restarted one does not know
// what was sent and how long the systems work on it, and feeds on all the same: all
// that may be under way at a call's longest is half a minute.
func TestKilledInTheFirstMoments(t *testing.T) {
	const rounds, atMost = 8, 6 * time.Second
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var slowest time.Duration
	for range rounds {
		after := time.Duration(random.IntN(160)) * time.Millisecond
		t.Run("after "+after.String(), func(t *testing.T) {
			stage := open(t, scene.Options{Script: scene.Saturday().Scaled(400), Binary: binary(t, false)})
			burst := scene.Burst()
			if err := burst.Do(t.Context(), stage); err != nil {
				t.Fatal(err)
			}
			err := runner.Until(t.Context(), time.Millisecond, "ten orders are captured", func() bool { return len(stage.World.Shop.Captured()) >= 10 })
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(after) // the moment of the kill is what is drawn
			if err := stage.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := stage.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			fed := func() int { return stage.World.ERP.Report().Orders }
			before := fed()
			until(t, time.Minute, "the ERP gets more orders", func() bool { return fed() > before+10 })
			took := time.Since(begun)
			if slowest = max(slowest, took); took > atMost {
				t.Errorf("the restarted product feeds the ERP after %v, want at most %v", took.Round(time.Millisecond), atMost)
			}
		})
	}
	t.Logf("at most %v from the start to the tenth order", slowest.Round(time.Millisecond))
}
