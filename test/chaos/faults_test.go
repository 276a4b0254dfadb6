package chaos

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// misled makes the ERP fail in every way that it knows.
func misled() []faults.Rule {
	rule := func(kind faults.Kind, probability float64) faults.Rule {
		return faults.Rule{Kind: kind, Operations: []string{netsuite.OpUpsert}, Probability: probability}
	}
	withDelay := func(r faults.Rule, delay time.Duration) faults.Rule {
		r.Delay = jsontime.Duration(delay)
		return r
	}
	later := rule(faults.Throttle, 0.005)
	later.RetryAfter = "1"
	return []faults.Rule{
		rule(faults.CutBeforeCommit, 0.02), rule(faults.CutAfterCommit, 0.02),
		withDelay(rule(faults.CutCommitLater, 0.02), horizon-time.Second),
		rule(faults.CloseMidRequest, 0.02), rule(faults.CloseAfterReply, 0.02),
		rule(faults.ServerErrorAfterCommit, 0.01), rule(faults.ServerError, 0.01),
		withDelay(rule(faults.Slow, 0.01), 3*time.Second), withDelay(rule(faults.SlowReply, 0.01), 3*time.Second),
		later, rule(faults.ThrottleHTML, 0.002),
	}
}

// TestMisled lets the ERP cut, stall, throttle and commit late while orders are
// edited, so that edits arrive while their orders are in doubt.
func TestMisled(t *testing.T) {
	what := fifty()
	what.replicas = 1
	f := open(t, what)
	if err := f.world.ERP.SetFaults(misled()); err != nil {
		t.Fatal(err)
	}
	span := lasting(20*time.Second, 2*time.Minute)
	f.sell(int(15 * span.Seconds()))
	f.editing(10, span)
	if err := f.world.ERP.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	f.settled(2*span + time.Minute)
}

// TestMisledAndKilled does the same to three replicas, one of which is killed every
// 3 s.
func TestMisledAndKilled(t *testing.T) {
	what := fifty()
	f := open(t, what)
	if err := f.world.ERP.SetFaults(misled()); err != nil {
		t.Fatal(err)
	}
	span := lasting(20*time.Second, 2*time.Minute)
	f.sell(int(15 * span.Seconds()))
	for end := time.Now().Add(span); time.Now().Before(end); {
		f.editing(5, 500*time.Millisecond)
		f.killing(2500*time.Millisecond, 2*time.Second)
	}
	if err := f.world.ERP.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	f.settled(2*span + time.Minute)
}

// TestHeavyTail answers most calls at once and some after up to 20 s.
func TestHeavyTail(t *testing.T) {
	what := fifty()
	what.replicas, what.spec = 1, nil
	what.latency = faults.Latency{
		Distribution: faults.Pareto, Min: jsontime.Duration(time.Millisecond), Max: jsontime.Duration(20 * time.Second), Shape: 0.6,
	}
	f := open(t, what)
	span := lasting(15*time.Second, time.Minute)
	f.sell(int(20 * span.Seconds()))
	f.editing(10, span)
	f.settled(4*span + time.Minute)
}

// TestLimitsChanged lowers and raises the limit while the product runs. Windows that
// began before a change are judged by the larger limit.
func TestLimitsChanged(t *testing.T) {
	what := fifty()
	what.latency = fixed(reply)
	f := open(t, what)
	span := lasting(8*time.Second, 30*time.Second)
	f.backlog(int(110 * span.Seconds()))
	limit := func(calls int) (applied time.Time) {
		f.terms.calls = calls
		f.apply(nil)
		return time.Now()
	}
	// The product learns of a change, and what it has handed out by then is on its way.
	const underWay = 3 * time.Second
	f.editing(2, span)
	lowered := limit(20)
	f.editing(2, span)
	raised := limit(50)
	log := f.world.ERP.Arrivals()
	if most := largest(log, lowered.Add(underWay), raised, what.per); most > 20 {
		t.Errorf("%d calls in a window under a limit of 20", most)
	} else if most < 15 {
		t.Errorf("%d calls in the fullest window under a limit of 20: there is a backlog", most)
	}
	f.editing(2, underWay+2*time.Second)
	if most := largest(log, raised.Add(underWay), time.Now(), what.per); most < 40 {
		t.Errorf("%d calls in the fullest window after the limit was raised to 50 again", most)
	}
	f.settled(4*span + time.Minute)
}
