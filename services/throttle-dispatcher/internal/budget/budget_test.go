package budget

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

const millisecond = time.Millisecond

func perSecond(calls, headroom int) Limits {
	return Limits{Windows: []Window{{Name: "second", Calls: calls, Per: time.Second, Headroom: headroom}}}
}

func newBudget(t *testing.T, l Limits) *Budget {
	t.Helper()
	b, err := New(l)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sendTimes(permits []Permit) (times []time.Duration) {
	for _, p := range permits {
		times = append(times, p.SendAt.Sub(epoch))
	}
	return times
}

func TestAnIdleConnectorSendsAtOnceAndThenEvenly(t *testing.T) {
	b := newBudget(t, perSecond(11, 1))
	got := sendTimes(b.Reserve(epoch, 250*millisecond, 10))
	if want := []time.Duration{0, 100 * millisecond, 200 * millisecond}; !slices.Equal(got, want) {
		t.Errorf("send times %v, want %v", got, want)
	}
	later := epoch.Add(time.Hour)
	if got := b.Reserve(later, 0, 10); len(got) != 1 || !got[0].SendAt.Equal(later) {
		t.Errorf("after an idle hour: %v, want one permit for %v, and no credit for the hour", got, later)
	}
}

func TestAWindowIsClosedAtBothEnds(t *testing.T) {
	l := perSecond(1, 0)
	l.Pacing = Burst
	b := newBudget(t, l)
	p := b.Reserve(epoch, 0, 5)
	if len(p) != 1 {
		t.Fatalf("got %d permits, want 1", len(p))
	}
	if at, ok := b.Next(epoch.Add(time.Hour)); ok {
		t.Errorf("Next is %v while the only permit is out, want no answer", at)
	}
	settled := epoch.Add(2 * time.Hour)
	b.Settle(p[0].Number, settled)
	free := settled.Add(time.Second + 1)
	if at, ok := b.Next(settled); !ok || !at.Equal(free) {
		t.Errorf("Next is %v %v, want %v", at, ok, free)
	}
	if got := b.Reserve(settled.Add(time.Second), 0, 5); len(got) != 0 {
		t.Errorf("got %v a whole window after the settlement, which is still inside of it", got)
	}
	if got := b.Reserve(free, 0, 5); len(got) != 1 {
		t.Errorf("got %d permits once the window had passed, want 1", len(got))
	}
}

func TestVoidPermitsDoNotCount(t *testing.T) {
	l := perSecond(2, 0)
	l.Pacing = Burst
	b := newBudget(t, l)
	p := b.Reserve(epoch, 0, 5)
	b.Void(p[0].Number)
	b.Void(p[0].Number) // a second time changes nothing
	if got := b.Reserve(epoch, 0, 5); len(got) != 1 {
		t.Fatalf("got %d permits for one that was void, want 1", len(got))
	}
	// A permit known to be on the wire cannot be void.
	b.Issued(p[1].Number, epoch)
	b.Void(p[1].Number)
	if live, flying := b.Live(epoch, "second"), b.InFlight(epoch); live != 2 || flying != 1 {
		t.Errorf("live %d, in flight %d, want 2 and 1", live, flying)
	}
}

func TestConcurrencyEndsWithTheSettlement(t *testing.T) {
	b := newBudget(t, Limits{Concurrency: []Concurrency{{Name: "a", Calls: 9}, {Name: "b", Calls: 3, Headroom: 1}}})
	p := b.Reserve(epoch, time.Hour, 10)
	if len(p) != 2 || b.InFlight(epoch) != 2 {
		t.Fatalf("got %d permits, in flight %d, want 2 and 2", len(p), b.InFlight(epoch))
	}
	b.Settle(p[0].Number, epoch)
	if got := b.Reserve(epoch, 0, 10); len(got) != 1 {
		t.Errorf("got %d permits for one reply, want 1", len(got))
	}
	// A connection that was cut counts until its bytes are gone.
	gone := epoch.Add(time.Second)
	b.Settle(p[1].Number, gone)
	if got := b.Reserve(epoch, 0, 10); len(got) != 0 {
		t.Errorf("got %v before %v", got, gone)
	}
	if at, ok := b.Next(epoch); !ok || !at.Equal(gone) {
		t.Errorf("Next is %v %v, want %v", at, ok, gone)
	}
	if got := b.Reserve(gone, 0, 10); len(got) != 1 {
		t.Errorf("got %d permits at %v, want 1", len(got), gone)
	}
}

func TestTheLargestGapAndEveryCountHold(t *testing.T) {
	l := Limits{Windows: []Window{
		{Name: "second", Calls: 50, Per: time.Second},
		{Name: "minute", Calls: 600, Per: time.Minute},
		{Name: "day", Calls: 30, Per: 24 * time.Hour, Headroom: 5},
	}}
	if got := l.Gap(); got != 100*millisecond {
		t.Errorf("gap %v, want 100ms: the minute asks for most, the day is not paced", got)
	}
	b := newBudget(t, l)
	if got := b.Reserve(epoch, time.Hour, 1000); len(got) != 25 {
		t.Errorf("got %d permits, want the day's 30 less its headroom of 5", len(got))
	}
	l = perSecond(100, 1)
	if got, want := l.Gap(), time.Duration(10101011); got != want {
		t.Errorf("gap %v, want %v, rounded up", got, want)
	}
}

func TestCloseHoldsUntilItsTime(t *testing.T) {
	b := newBudget(t, perSecond(100, 0))
	until := epoch.Add(time.Minute)
	b.Close(until)
	b.Close(epoch.Add(time.Second)) // does not open earlier
	if got := b.Reserve(epoch, time.Second, 10); len(got) != 0 {
		t.Errorf("got %v while closed until %v", got, until)
	}
	if at, ok := b.Next(epoch); !ok || !at.Equal(until) || !b.ClosedUntil().Equal(until) || !b.NextSend().Equal(until) {
		t.Errorf("Next %v %v, closed until %v, next send %v, want %v", at, ok, b.ClosedUntil(), b.NextSend(), until)
	}
	if got := b.Reserve(until, 0, 10); len(got) != 1 {
		t.Errorf("got %d permits at the end, want 1", len(got))
	}
}

// A closure that is taken back leaves nothing of itself, not even at the next owner,
// whose record says when the one before would have opened.
func TestReopenTakesBackWhatCloseSaid(t *testing.T) {
	b := newBudget(t, perSecond(11, 1))
	last := b.Reserve(epoch, 0, 1)[0]
	hour := epoch.Add(time.Hour)
	b.Close(hour)
	successor := newBudget(t, perSecond(11, 1))
	past := Past{Permit: last, SettledAt: epoch.Add(50 * millisecond)}
	successor.Restore(epoch.Add(60*millisecond), History{
		LastPermit: 1, NextSend: b.NextSend(), ClosedUntil: b.ClosedUntil(), Permits: []Past{past},
	})
	for name, b := range map[string]*Budget{"the owner": b, "its successor": successor} {
		if at, _ := b.Next(epoch.Add(60 * millisecond)); !at.Equal(hour) {
			t.Errorf("%s sends at %v, and is closed", name, at)
		}
		b.Reopen()
		// The pace holds on.
		if at, ok := b.Next(epoch.Add(60 * millisecond)); !ok || !at.Equal(epoch.Add(100*millisecond)) || !b.ClosedUntil().IsZero() {
			t.Errorf("%s sends at %v (%v) when reopened, want the pace after its last call", name, at.Sub(epoch), ok)
		}
	}
}

func TestDeclaredArrivalFreesAPermitBeforeItsReply(t *testing.T) {
	l := perSecond(1, 0)
	l.Windows[0].ArrivesWithin = 20 * millisecond
	b := newBudget(t, l)
	p := b.Reserve(epoch, 0, 1)[0]
	if _, ok := b.Next(epoch); ok {
		t.Error("Next knows an answer before the permit is on the wire")
	}
	b.Issued(p.Number, epoch.Add(5*millisecond))
	if at, ok := b.Next(epoch); !ok || at.Sub(epoch) != 1025*millisecond+1 {
		t.Errorf("Next %v %v, want 1.025s and 1ns", at.Sub(epoch), ok)
	}
	// A reply before the bound proves the arrival; one after it changes nothing.
	b.Settle(p.Number, epoch.Add(12*millisecond))
	if at, ok := b.Next(epoch); !ok || at.Sub(epoch) != 1012*millisecond+1 {
		t.Errorf("Next %v %v, want 1.012s and 1ns", at.Sub(epoch), ok)
	}
	p = b.Reserve(epoch.Add(2*time.Second), 0, 1)[0]
	b.Issued(p.Number, p.SendAt)
	b.Settle(p.Number, p.SendAt.Add(time.Hour))
	if at, ok := b.Next(p.SendAt); !ok || at.Sub(p.SendAt) != 1020*millisecond+1 {
		t.Errorf("Next %v %v, want 1.020s and 1ns", at.Sub(p.SendAt), ok)
	}
}

func TestLimitsChangeAtOnce(t *testing.T) {
	l := perSecond(4, 0)
	l.Pacing = Burst
	b := newBudget(t, l)
	p := b.Reserve(epoch, 0, 10)
	change := func(calls int, per time.Duration) {
		t.Helper()
		l.Windows[0].Calls, l.Windows[0].Per = calls, per
		if err := b.SetLimits(epoch, l); err != nil {
			t.Fatal(err)
		}
	}
	change(6, time.Second)
	if got := b.Reserve(epoch, 0, 10); len(got) != 2 {
		t.Errorf("widened from 4 to 6: got %d more, want 2", len(got))
	}
	for _, q := range p {
		b.Settle(q.Number, epoch)
	}
	change(3, time.Second)
	if got := b.Reserve(epoch.Add(time.Second), 0, 10); len(got) != 0 {
		t.Errorf("narrowed to 3 with 6 live: got %v", got)
	}
	// A window of another length still knows what may be on its way.
	change(5, time.Minute)
	if got := b.Live(epoch.Add(time.Second), "second"); got != 6 {
		t.Errorf("live under the new window: %d, want 6", got)
	}
	if err := b.SetLimits(epoch, perSecond(0, 0)); err == nil || b.Limits().Windows[0].Calls != 5 {
		t.Errorf("limits of 0 calls: error %v, in force %v", err, b.Limits().Windows)
	}
}

func TestTimesKeepTheMonotonicReading(t *testing.T) {
	b := newBudget(t, perSecond(1, 0))
	p := b.Reserve(time.Now(), time.Second, 1)[0]
	for _, at := range []time.Time{p.SendAt, p.NotAfter, p.Deadline, b.NextSend()} {
		if !strings.Contains(at.String(), "m=") {
			t.Errorf("%v has lost its monotonic reading; a step of the wall clock would move it", at)
		}
	}
}

func TestRestoreCountsWhatADeadProcessLeft(t *testing.T) {
	l := Limits{
		Windows:     []Window{{Name: "strict", Calls: 3, Per: time.Second}},
		Concurrency: []Concurrency{{Name: "parallel", Calls: 2}}, Pacing: Burst,
		Tolerance: 100 * millisecond, CallTimeout: 30 * time.Second, Grace: 50 * millisecond, ClockTolerance: 10 * millisecond,
	}
	p := newBudget(t, l).Reserve(epoch, 0, 2)
	left := Past{Permit: p[1], Gone: true}
	for name, c := range map[string]struct {
		settled time.Duration // of the first call; 0 for not
		restart time.Duration
		arrived time.Duration // after which the second no longer counts but for its window
		done    time.Duration
	}{
		// 50 ms until its bytes are dead everywhere, and twice 10 ms of clocks.
		"replies are fast":               {10 * millisecond, 0, 70 * millisecond, 70 * millisecond},
		"replies took 2 s":               {2 * time.Second, 0, 70 * millisecond, 6020 * millisecond},
		"replies took as long as it may": {20 * time.Second, 0, 70 * millisecond, 30170 * millisecond},
		"no reply is on record":          {0, 0, 70 * millisecond, 30170 * millisecond},
		"it had died before":             {10 * millisecond, time.Minute, 30170 * millisecond, 30170 * millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			h := History{LastPermit: 7, Permits: []Past{left}}
			if c.settled > 0 {
				h.Permits = append(h.Permits, Past{Permit: p[0], SettledAt: epoch.Add(c.settled)})
			}
			b := newBudget(t, l)
			b.Restore(epoch.Add(c.restart), h)
			if at := epoch.Add(c.done); c.done > c.restart && (b.InFlight(at.Add(-1)) != 1 || b.InFlight(at) != 0) {
				t.Errorf("in flight %d just before %v and %d then, want 1 and 0", b.InFlight(at.Add(-1)), c.done, b.InFlight(at))
			}
			b = newBudget(t, l)
			b.Restore(epoch.Add(c.restart), History{LastPermit: 7, Permits: []Past{left}})
			if at := epoch.Add(c.arrived + time.Second); c.done > c.restart && (b.Live(at, "strict") != 1 || b.Live(at.Add(1), "strict") != 0) {
				t.Errorf("live %d a window after %v and %d then, want 1 and 0", b.Live(at, "strict"), c.arrived, b.Live(at.Add(1), "strict"))
			}
			if at := epoch.Add(c.restart); c.done < c.restart && (b.InFlight(at) != 0 || b.Live(at, "strict") != 0) {
				t.Errorf("in flight %d, live %d, want none", b.InFlight(at), b.Live(at, "strict"))
			}
		})
	}
}

// However many permits an owner left, no more of its calls are under way than it
// said, for as long as those of them that may last the longest.
func TestRestoreCountsNoMoreThanTheOwnersBound(t *testing.T) {
	l := Limits{
		Windows:     []Window{{Name: "strict", Calls: 20, Per: time.Second}},
		Concurrency: []Concurrency{{Name: "parallel", Calls: 4}}, Pacing: Burst,
		Tolerance: 100 * millisecond, CallTimeout: time.Second, Grace: 50 * millisecond, ClockTolerance: 10 * millisecond,
	}
	before := newBudget(t, l)
	before.Ahead(20)
	h := History{LastPermit: 12, Parallel: map[string]Bound{"two": {Calls: 2}, "one": {Calls: 1}}}
	for i, p := range before.Reserve(epoch, 0, 12) {
		p.Deadline = p.Deadline.Add(time.Duration(i) * 100 * millisecond)
		h.Permits = append(h.Permits, Past{Permit: p, Holder: []string{"two", "one", "none"}[i/5]})
	}
	b := newBudget(t, l)
	b.Restore(epoch, h)
	// Two and one of those with a bound, and both of the third's.
	if n := b.InFlight(epoch); n != 5 {
		t.Errorf("in flight %d, want 5", n)
	}
	if n := b.Live(epoch, "strict"); n != 12 {
		t.Errorf("live %d, want all 12: each may have arrived", n)
	}
	// The last of the first owner's are its fourth and fifth: 1.1 s, the grace and
	// twice the clocks after their deadlines of 0.3 and 0.4 s.
	ends := epoch.Add(1100*millisecond + 50*millisecond + 20*millisecond)
	for after, want := range map[time.Duration]int{300*millisecond - 1: 5, 300 * millisecond: 4, 400 * millisecond: 3, 900 * millisecond: 2, 1100 * millisecond: 0} {
		b := newBudget(t, l)
		b.Restore(epoch, h)
		if n := b.InFlight(ends.Add(after)); n != want {
			t.Errorf("in flight %d at %v, want %d", n, after, want)
		}
	}
}

// A call that was cut is under way for the grace, also to the next owner.
func TestRestoreCountsWhatWasCutForItsGrace(t *testing.T) {
	l := Limits{
		Concurrency: []Concurrency{{Name: "parallel", Calls: 1}},
		Tolerance:   100 * millisecond, CallTimeout: time.Second, Grace: time.Second, ClockTolerance: 10 * millisecond,
	}
	p := newBudget(t, l).Reserve(epoch, 0, 1)[0]
	b := newBudget(t, l)
	b.Restore(epoch.Add(10*millisecond), History{LastPermit: 1, Permits: []Past{{Permit: p, SettledAt: epoch.Add(time.Second)}}})
	if n := b.InFlight(epoch.Add(time.Second)); n != 1 {
		t.Errorf("in flight %d in its grace, want 1", n)
	}
	if n := b.InFlight(epoch.Add(time.Second + 20*millisecond)); n != 0 {
		t.Errorf("in flight %d after its grace, want none", n)
	}
}

func TestRestoreCountsWhatHasNoSettlement(t *testing.T) {
	l := Limits{
		Windows:     []Window{{Name: "strict", Calls: 2, Per: time.Second}, {Name: "declared", Calls: 2, Per: time.Second, ArrivesWithin: 20 * millisecond}},
		Concurrency: []Concurrency{{Name: "parallel", Calls: 2}}, Pacing: Burst,
		Tolerance: 100 * millisecond, CallTimeout: time.Second, Grace: 50 * millisecond, ClockTolerance: 10 * millisecond,
	}
	p := newBudget(t, l).Reserve(epoch, 0, 10)
	b := newBudget(t, l)
	b.Restore(epoch, History{LastPermit: 7, Permits: []Past{{Permit: p[0]}, {Permit: p[1], SettledAt: epoch.Add(30 * millisecond)}}})
	// The settled one was cut, and is in its grace.
	if b.LastPermit() != 7 || b.InFlight(epoch) != 2 || b.Live(epoch, "strict") != 2 {
		t.Errorf("last permit %d, in flight %d, live %d, want 7, 2 and 2", b.LastPermit(), b.InFlight(epoch), b.Live(epoch, "strict"))
	}
	// The settled one: 30 ms, twice 10 ms of clocks, and the window.
	// The other one: 100 ms + 1 s + 50 ms + 20 ms is when it can no longer be on
	// its way, and a window later it no longer counts.
	got := sendTimes(b.Reserve(epoch, time.Hour, 10))
	if want := []time.Duration{1050*millisecond + 1, 2170*millisecond + 1}; !slices.Equal(got, want) || b.LastPermit() != 9 {
		t.Errorf("send times %v up to permit %d, want %v up to 9", got, b.LastPermit(), want)
	}
	b.Void(8)
	b.Void(9)
	if got := b.Live(epoch.Add(2170*millisecond), "strict"); got != 1 {
		t.Errorf("live at the last moment: %d, want 1", got)
	}
	if got := b.Live(epoch.Add(2170*millisecond+1), "strict"); got != 0 {
		t.Errorf("live after it: %d, want 0", got)
	}
}

func TestBadLimitsAreNamed(t *testing.T) {
	_, err := New(Limits{
		Windows: []Window{
			{Name: "a", Calls: 0, Per: time.Second}, {Name: "a", Calls: 5, Per: -1, Headroom: 5}, {Name: "b", Calls: 5, Per: longestWindow + 1, ArrivesWithin: -1},
		},
		Concurrency: []Concurrency{{Name: "c", Calls: 0}, {Name: "d", Calls: 1, Headroom: 1}},
		Pacing:      7, Tolerance: -1,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{
		`window "a": calls is 0`, `two limits have this name`, `per is -1ns`, `headroom is 5, it must be from 0 to 4`,
		`window "b": per is`, `arrivesWithin is -1ns`, `concurrency "c": calls is 0`, `concurrency "d": headroom is 1`, `pacing is 7`, `tolerance is -1ns`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error lacks %q: %v", part, err)
		}
	}
	if errors.Unwrap(err) == nil {
		t.Error("the problems cannot be taken apart")
	}
}

func TestFarTimesDoNotOverflow(t *testing.T) {
	b := newBudget(t, perSecond(2, 0))
	p := b.Reserve(epoch, 0, 1)[0]
	b.Settle(p.Number, time.Unix(1<<60, 0))
	b.Close(time.Unix(1<<60, 0))
	if got := b.Reserve(epoch.Add(time.Hour), time.Duration(1<<63-1), 5); len(got) != 0 {
		t.Errorf("closed for ever, got %v", got)
	}
	b = newBudget(t, perSecond(1, 0))
	b.Restore(epoch, History{NextSend: time.Unix(-1<<60, 0), ClosedUntil: time.Unix(-1<<60, 0), Permits: []Past{{Permit: Permit{Number: 3, Deadline: time.Unix(1<<60, 0)}}}})
	if got := b.Reserve(epoch, time.Hour, 5); len(got) != 0 {
		t.Errorf("a permit that is live for ever, got %v", got)
	}
}

// TestMemoryStaysBounded runs a day of 1,000 calls a second under a minute's
// window, in steps, and looks at what is kept.
func TestMemoryStaysBounded(t *testing.T) {
	l := Limits{Windows: []Window{{Name: "minute", Calls: 60_000, Per: time.Minute, Headroom: 1}}}
	b := newBudget(t, l)
	now := epoch
	var kept int
	for range 600_000 {
		for _, p := range b.Reserve(now, 0, 10) {
			b.Issued(p.Number, now)
			b.Settle(p.Number, now.Add(millisecond))
		}
		now = now.Add(millisecond)
		kept = max(kept, cap(b.windows[0].bounds.at))
	}
	if kept > 4*60_000 || cap(b.abandoned.at) > 1000 || len(b.open) != 0 {
		t.Errorf("kept %d bounds, %d abandoned, %d open; the window has 60,000 calls", kept, cap(b.abandoned.at), len(b.open))
	}
}
