package feedback_test

import (
	"math"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
)

// refuse lets a call be refused that was sent a moment ago.
func refuse(p *feedback.Pace, now time.Time) bool {
	return p.Throttled(now.Add(-100*ms), now, now.Add(time.Second), 1)
}

func TestPace(t *testing.T) {
	at := epoch.Add
	near := func(t *testing.T, p *feedback.Pace, now time.Time, want float64) {
		t.Helper()
		if got := p.Part(now); math.Abs(got-want) > 1e-9 {
			t.Errorf("part %v at %v, want %v", got, now.Sub(epoch), want)
		}
	}
	t.Run("one refusal, and back to exactly the whole", func(t *testing.T) {
		var p feedback.Pace
		near(t, &p, epoch, 1)
		if !refuse(&p, epoch) {
			t.Error("it changes nothing")
		}
		near(t, &p, epoch, 0.85)
		near(t, &p, at(time.Second), 0.85) // closed until then
		near(t, &p, at(time.Second+90*time.Second), 0.925)
		if got := p.Part(at(time.Second + 3*time.Minute)); got != 1 {
			t.Errorf("part %v after three minutes", got)
		}
		if _, _, whole := p.Grows(at(0)); whole.Sub(at(181*time.Second)).Abs() > time.Millisecond {
			t.Errorf("whole at %v", whole.Sub(epoch))
		}
	})
	t.Run("a pause that is over before its time", func(t *testing.T) {
		var p feedback.Pace
		p.Throttled(at(-time.Second), epoch, at(time.Hour), 1)
		p.Resumed(at(time.Minute))
		near(t, &p, at(time.Minute+90*time.Second), 0.925)
		p.Resumed(at(2 * time.Minute)) // it grows already
		near(t, &p, at(time.Minute+90*time.Second), 0.925)
	})
	t.Run("calls that were under way together count once", func(t *testing.T) {
		var p feedback.Pace
		for range 10 {
			p.Throttled(at(-time.Second), epoch, at(time.Second), 1)
		}
		near(t, &p, epoch, 0.85)
	})
	t.Run("a single one soon after it changes nothing, and is no help afterwards", func(t *testing.T) {
		var p feedback.Pace
		refuse(&p, epoch)
		if refuse(&p, at(20*time.Second)) {
			t.Error("one soon after")
		}
		for range 1000 {
			p.Passed(at(30 * time.Second))
		}
		if refuse(&p, at(150*time.Second)) {
			t.Error("one after halfway, where lowering did not help")
		}
		for range 1000 {
			p.Passed(at(151 * time.Second))
		}
		if !refuse(&p, at(10*time.Minute)) {
			t.Error("one at the whole pace")
		}
	})
	t.Run("a single one halfway lowers it, where there was none before", func(t *testing.T) {
		var p feedback.Pace
		refuse(&p, epoch)
		for range 1000 {
			p.Passed(at(time.Minute))
		}
		if !refuse(&p, at(100*time.Second)) {
			t.Error("it changes nothing")
		}
		near(t, &p, at(100*time.Second), 0.85*(0.85+99./1200))
	})
	t.Run("frequent ones lower it to the least, and not below", func(t *testing.T) {
		var p feedback.Pace
		now := epoch
		for range 400 {
			now = now.Add(2 * time.Second)
			refuse(&p, now)
		}
		near(t, &p, now, feedback.Least)
	})
	t.Run("others count", func(t *testing.T) {
		var p feedback.Pace
		p.Throttled(epoch, at(ms), at(time.Second), 0.4)
		near(t, &p, at(ms), 0.4*0.85)
	})
}
