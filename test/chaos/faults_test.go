package chaos

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// misled makes the ERP fail in every way that it knows: in each of them on certain
// calls, and now and then on others.
func misled() (certain, all []faults.Rule) {
	rule := func(kind faults.Kind, how func(r *faults.Rule), calls ...int) {
		r := faults.Rule{Kind: kind, Operations: []string{netsuite.OpUpsert}, Calls: calls}
		if how != nil {
			how(&r)
		}
		certain = append(certain, r)
	}
	delayed := func(delay time.Duration) func(*faults.Rule) {
		return func(r *faults.Rule) { r.Delay = jsontime.Duration(delay) }
	}
	asking := func(seconds string) func(*faults.Rule) { return func(r *faults.Rule) { r.RetryAfter = seconds } }
	rule(faults.CutBeforeCommit, nil, 3, 31)
	rule(faults.CutAfterCommit, nil, 5, 33)
	rule(faults.CutCommitLater, delayed(horizon-time.Second), 7, 35)
	rule(faults.CloseMidRequest, nil, 9, 37)
	rule(faults.CloseAfterReply, nil, 11, 39)
	rule(faults.ServerErrorAfterCommit, nil, 13, 41)
	rule(faults.ServerError, nil, 15, 43)
	rule(faults.Slow, delayed(3*time.Second), 17, 45)
	rule(faults.SlowReply, delayed(3*time.Second), 19, 47)
	rule(faults.PageForReply, nil, 21, 49)
	// What is refused once more while others pass, and says nothing of a wait, is taken for
	// that order's own trouble and pauses nobody: so the first refusal is of this kind.
	rule(faults.Throttle, nil, 30)
	rule(faults.ThrottleHTML, asking("1"), 50, 100)
	rule(faults.Throttle, asking("1"), 60, 110)
	rule(faults.Throttle, asking("1.5"), 70, 120)
	rule(faults.Throttle, func(r *faults.Rule) { r.RetryDate = jsontime.Duration(2 * time.Second) }, 80, 130)
	rule(faults.ThrottleInBody, asking("1"), 95)
	rule(faults.Unavailable, asking("1"), 140)
	rule(faults.UnavailableHTML, nil, 150)
	all = append(all, certain...)
	for i, r := range certain {
		// Those from the tenth on are pauses, which must leave time for the others.
		switch r.Calls = nil; {
		case i < 6:
			r.Probability = 0.02
		case i < 9:
			r.Probability = 0.01
		default:
			r.Probability = 0.002
		}
		if r.Kind != faults.Throttle || r.RetryAfter != "" {
			all = append(all, r)
		}
	}
	return certain, all
}

// mislead sets the faults. What it returns waits until each of the certain ones has
// happened, and ends them.
func (f *field) mislead() func() {
	f.t.Helper()
	certain, all := misled()
	if err := f.world.ERP.SetFaults(all); err != nil {
		f.t.Fatal(err)
	}
	return func() {
		f.t.Helper()
		var fired []int
		f.until(time.Minute, "every kind of fault has happened", func() bool {
			fired = f.world.ERP.FaultsByRule()
			for i, r := range certain {
				if fired[i] < len(r.Calls) {
					return false
				}
			}
			return true
		})
		for i, r := range all {
			f.t.Logf("%s %s%s: %d times", r.Kind, r.RetryAfter, date(r), fired[i])
		}
		if err := f.world.ERP.SetFaults(nil); err != nil {
			f.t.Fatal(err)
		}
	}
}

func date(r faults.Rule) string {
	if r.RetryDate == 0 {
		return ""
	}
	return "by a date"
}

// clock is how moments are told, as in the product's log.
const clock = "15:04:05.000"

// leftAlone judges that no call came to the ERP in the time for which it had asked when
// it throttled one. The reply takes up to 300 ms, and then has to be put on record; who
// is killed before that takes it along.
func (f *field) leftAlone() {
	f.t.Helper()
	const onRecord = 500 * time.Millisecond
	log := f.world.ERP.Arrivals()
	calls := log.Snapshot()
	for i, a := range calls {
		if a.Outcome == arrivals.Throttled && f.diedWithin(log.Origin().Add(a.At), onRecord) {
			calls[i].Outcome = arrivals.Pending
		}
	}
	throttled, early := early(arrivals.Throttled, calls)
	f.t.Logf("%d calls were throttled", throttled)
	if throttled == 0 {
		f.t.Error("no call was throttled")
	}
	if early > 0 {
		f.t.Errorf("%d calls came to the ERP in the time for which it had asked to be left alone", early)
		for _, a := range calls {
			if a.Outcome == arrivals.Throttled {
				f.t.Logf("throttled at %v, answered at %v, asked for %v", log.Origin().Add(a.At).UTC().Format(clock), log.Origin().Add(a.Answered).UTC().Format(clock), a.Asked)
			}
		}
		for _, kill := range f.toll.kills {
			f.t.Logf("killed %s at %v; it fed the ERP: %v", kill.replica, kill.at.UTC().Format(clock), kill.fed)
		}
	}
}

// TestMisled lets the ERP cut, stall, throttle, be away and commit late while orders are
// edited, so that edits arrive while their orders are in doubt. When it asks to be left
// alone, it is.
func TestMisled(t *testing.T) {
	what := fifty()
	what.replicas = 1
	f := open(t, what)
	ended := f.mislead()
	span := lasting(20*time.Second, 2*time.Minute)
	f.sell(int(15 * span.Seconds()))
	f.editing(10, span)
	ended()
	f.settled(2*span + time.Minute)
	f.leftAlone()
}

// TestMisledAndKilled does the same to three replicas, one of which is killed every
// 3 s.
func TestMisledAndKilled(t *testing.T) {
	what := fifty()
	f := open(t, what)
	ended := f.mislead()
	span := lasting(20*time.Second, 2*time.Minute)
	f.sell(int(15 * span.Seconds()))
	for end := time.Now().Add(span); time.Now().Before(end); {
		f.editing(5, 500*time.Millisecond)
		f.killing(2500*time.Millisecond, 2*time.Second)
	}
	ended()
	f.settled(2*span + time.Minute)
	f.leftAlone()
}

// TestAwayAndAsking has the ERP answer everything with 503 for a while, and ask each time
// to be left alone for 2 s. Once it counts as down it is asked by one question at a time,
// each when it said, and fed again by then and a second at the latest.
func TestAwayAndAsking(t *testing.T) {
	const asked, untilDown, recovers = 2 * time.Second, time.Second, time.Second
	what := fifty()
	what.replicas = 1
	f := open(t, what)
	rounds := 1
	if *long {
		rounds = 10
	}
	for range rounds {
		f.sell(200)
		f.accepted(f.world.ERP.Arrivals().Tally()["accepted"]+20, 30*time.Second)
		if err := f.world.ERP.SetFaults([]faults.Rule{{Kind: faults.Unavailable, RetryAfter: "2"}}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		f.editing(2, untilDown+4*asked)
		end := time.Now()
		if err := f.world.ERP.SetFaults(nil); err != nil {
			t.Fatal(err)
		}
		var first time.Time
		f.until(20*time.Second, "a call is accepted after the outage", func() (ok bool) {
			first, ok = firstAccepted(f.world.ERP.Arrivals(), end)
			return ok
		})
		asks, early := early(arrivals.Unavailable, between(f.world.ERP.Arrivals(), begin.Add(untilDown), end))
		t.Logf("asked %d times while it was down; the first call is accepted %v after it", asks, first.Sub(end))
		if asks < 2 || early > 0 {
			t.Errorf("asked %d times while it was down, %d times before it had said; want twice at least, and never", asks, early)
		}
		if first.Sub(end) > asked+recovers {
			t.Errorf("the first call is accepted %v after the outage, want %v at most", first.Sub(end), asked+recovers)
		}
		f.settled(time.Minute)
	}
}

// TestHeavyTail answers most calls at once and some after up to 20 s.
func TestHeavyTail(t *testing.T) {
	besideOthers(t)
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
	besideOthers(t)
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
