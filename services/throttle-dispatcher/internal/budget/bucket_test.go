package budget

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func leaky(capacity, refill int64, headroom int64) Limits {
	return Limits{Buckets: []Bucket{{Name: "bucket", Capacity: capacity, Refill: refill, Per: time.Second, Headroom: headroom}}}
}

func points(capacity, refill int64) Limits {
	l := leaky(capacity, refill, 0)
	l.Buckets[0].Weighted = true
	return l
}

func settleAll(b *Budget, permits []Permit, at time.Time) {
	for _, p := range permits {
		b.Settle(p.Number, at)
	}
}

func TestABucketLetsABurstGoAndThenWhatRefills(t *testing.T) {
	b := newBudget(t, leaky(40, 2, 0))
	burst := b.Reserve(epoch, 0, 100)
	if len(burst) != 40 {
		t.Fatalf("%d calls at once, a bucket of 40 takes 40", len(burst))
	}
	if at, ok := b.Next(epoch.Add(time.Hour)); ok {
		t.Fatalf("Next is %v while all are in flight, and nothing drains of those", at)
	}
	replied := epoch.Add(2 * time.Hour)
	settleAll(b, burst, replied)
	got := sendTimes(b.Reserve(replied, 1600*millisecond, 100))
	want := []time.Duration{500 * millisecond, 1000 * millisecond, 1500 * millisecond}
	for i := range want {
		want[i] += 2 * time.Hour
	}
	if !slices.Equal(got, want) {
		t.Errorf("after the replies calls go at %v, want %v: as it drains, and no sooner", got, want)
	}
}

func TestTheHeadroomOfABucketStaysFree(t *testing.T) {
	if got := len(newBudget(t, leaky(40, 2, 5)).Reserve(epoch, 0, 100)); got != 35 {
		t.Errorf("%d calls at once, want 35", got)
	}
}

func TestAWindowSpacesTheBurstOfABucket(t *testing.T) {
	l := leaky(5, 1, 0)
	l.Windows = perSecond(10, 0).Windows
	b := newBudget(t, l)
	got := sendTimes(b.Reserve(epoch, time.Second, 100))
	want := []time.Duration{0, 100 * millisecond, 200 * millisecond, 300 * millisecond, 400 * millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("calls go at %v, want %v", got, want)
	}
}

func TestWhatACallDidNotCostIsGivenBack(t *testing.T) {
	b := newBudget(t, points(1000, 50))
	first := b.ReserveFor(epoch, 0, []int64{600, 600})
	if len(first) != 1 || first[0].Cost != 600 {
		t.Fatalf("got %v, want one permit of 600: two do not fit into 1000", first)
	}
	b.SettleFor(first[0].Number, epoch, 100)
	if at, ok := b.NextFor(epoch, 900); !ok || !at.Equal(epoch) {
		t.Errorf("900 fit at %v %v, want at once: 500 of 600 came back", at, ok)
	}
	// 100 are in it, so that 950 fit when 50 have drained.
	if at, ok := b.NextFor(epoch, 950); !ok || !at.Equal(epoch.Add(time.Second)) {
		t.Errorf("950 fit at %v %v, want after a second", at, ok)
	}
	if at, ok := b.NextFor(epoch, 1001); ok {
		t.Errorf("1001 fit at %v into a bucket of 1000", at)
	}
	// A call that cost more than it was taken for counts with what it cost.
	second := b.ReserveFor(epoch, 0, []int64{1})
	b.SettleFor(second[0].Number, epoch, 800)
	if at, ok := b.NextFor(epoch, 200); !ok || !at.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("200 fit at %v %v, want after 2 s, when 100 of 900 have drained", at, ok)
	}
}

func TestABucketOfCallsCountsOneForEach(t *testing.T) {
	l := points(1000, 50)
	l.Buckets = append(l.Buckets, Bucket{Name: "calls", Capacity: 2, Refill: 1, Per: time.Second})
	b := newBudget(t, l)
	if got := b.ReserveFor(epoch, 0, []int64{300, 300, 300}); len(got) != 2 {
		t.Fatalf("%d calls, the bucket of calls takes 2", len(got))
	}
	if most, name := l.MostCost(); most != 1000 || name != "bucket" {
		t.Errorf("the largest cost is %d by %q, want 1000 by the bucket of points", most, name)
	}
}

func TestVoidPermitsDoNotFillABucket(t *testing.T) {
	b := newBudget(t, leaky(2, 1, 0))
	for _, p := range b.Reserve(epoch, 0, 2) {
		b.Void(p.Number)
	}
	if got := len(b.Reserve(epoch, 0, 5)); got != 2 {
		t.Errorf("%d permits for two that were void, want 2", got)
	}
}

func TestSettledInTimeToComeDrainsFromThen(t *testing.T) {
	b := newBudget(t, leaky(2, 1, 0))
	p := b.Reserve(epoch, 0, 2)
	b.Settle(p[0].Number, epoch)
	b.Settle(p[1].Number, epoch.Add(10*time.Second))
	// The first has drained after 1 s, and the second counts whole until 10 s.
	if at, ok := b.Next(epoch); !ok || !at.Equal(epoch.Add(time.Second)) {
		t.Fatalf("Next is %v %v, want after 1 s", at, ok)
	}
	b.Reserve(epoch.Add(time.Second), 0, 1)
	if at, ok := b.Next(epoch.Add(time.Second)); !ok || !at.Equal(epoch.Add(11*time.Second)) {
		t.Errorf("Next is %v %v, want a second after the cut-off one has ended", at, ok)
	}
}

func TestABucketWithoutFiguresStartsFull(t *testing.T) {
	l := leaky(40, 2, 0)
	l.ClockTolerance = 50 * millisecond
	b := newBudget(t, l)
	b.Restore(epoch, History{})
	if at, ok := b.Next(epoch); !ok || !at.Equal(epoch.Add(500*millisecond)) {
		t.Errorf("the first call goes at %v %v, want after half a second", at, ok)
	}
	// Another rate is another bucket; a larger one at the same rate is not.
	idle := newBudget(t, l)
	wider := leaky(50, 2, 0)
	if err := idle.SetLimits(epoch, wider); err != nil {
		t.Fatal(err)
	}
	if got := len(idle.Reserve(epoch, 0, 100)); got != 50 {
		t.Errorf("%d calls go at once into an empty bucket of 50", got)
	}
	idle = newBudget(t, l)
	if err := idle.SetLimits(epoch, leaky(40, 4, 0)); err != nil {
		t.Fatal(err)
	}
	if got := len(idle.Reserve(epoch, 0, 100)); got != 0 {
		t.Errorf("%d calls go at once under a rate of which nothing is known", got)
	}
}

func TestALevelOnRecordIsTakenUp(t *testing.T) {
	l := leaky(10, 1, 0)
	l.ClockTolerance = 50 * millisecond
	before := newBudget(t, l)
	permits := before.Reserve(epoch, 0, 6)
	settleAll(before, permits[:4], epoch)
	h := History{LastPermit: 6, Levels: before.Levels(epoch), Writer: "a"}
	for i, p := range permits {
		past := Past{Permit: p, Holder: "a"}
		if i < 4 {
			past.SettledAt = epoch
		}
		h.Permits = append(h.Permits, past)
	}
	after := newBudget(t, l)
	after.Restore(epoch.Add(time.Second), h)
	// Of 4 settled ones 1 has drained, but for 0.1 s of clocks; 2 are in flight.
	if got := len(after.Reserve(epoch.Add(time.Second), 0, 100)); got != 4 {
		t.Errorf("%d calls go, want 4 beside the 3.1 that are in the bucket and the 2 in flight", got)
	}
	if at, ok := after.Next(epoch.Add(time.Second)); !ok || !at.Equal(epoch.Add(1100*millisecond)) {
		t.Errorf("the fifth goes at %v %v, want 0.1 s later", at, ok)
	}
	// The two drain from their deadline on. Who takes over later knows that from the
	// level, and does not add them once more.
	late := epoch.Add(time.Hour)
	h.Levels, h.Writer = after.Levels(late), "b"
	third := newBudget(t, l)
	third.Restore(late, h)
	if got := len(third.Reserve(late.Add(100*millisecond), 0, 100)); got != 10 {
		t.Errorf("%d calls go, want 10: what was cut off an hour ago has drained", got)
	}
}

// What an owner two before has in flight is in no level yet.
func TestWhatHasNotEndedIsInNoLevelOnRecord(t *testing.T) {
	l := leaky(10, 1, 0)
	l.ClockTolerance = 50 * millisecond
	before := newBudget(t, l)
	p := before.Reserve(epoch, 0, 10)
	dead := p[0].Deadline.Add(DefaultGrace)
	for name, c := range map[string]struct {
		holder  string
		settled time.Time
		frees   time.Time
	}{
		"another's, no end on record":    {"a", time.Time{}, dead.Add(100*millisecond + time.Second)},
		"another's, ended as it was cut": {"a", epoch.Add(2 * time.Second), epoch.Add(3100 * millisecond)},
		"the writer's, likewise":         {"b", epoch.Add(2 * time.Second), epoch.Add(3100 * millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			h := History{LastPermit: 10, Levels: newBudget(t, l).Levels(epoch.Add(time.Second)), Writer: "b"}
			for _, permit := range p {
				h.Permits = append(h.Permits, Past{Permit: permit, Holder: c.holder, SettledAt: c.settled})
			}
			after := newBudget(t, l)
			after.Restore(epoch.Add(time.Second), h)
			if at, ok := after.Next(epoch.Add(time.Second)); !ok || !at.Equal(c.frees) {
				t.Errorf("the next call goes at %v %v, want %v", at, ok, c.frees)
			}
		})
	}
}

func TestAPermitPastItsDeadlineIsInTheLevelOnRecord(t *testing.T) {
	b := newBudget(t, leaky(10, 1, 0))
	p := b.Reserve(epoch, 0, 4)
	dead := p[0].Deadline.Add(DefaultGrace)
	if level := b.Levels(dead)[0]; level.Drained.Before(dead.Add(4 * time.Second)) {
		t.Errorf("it drains until %v, want 4 s more than %v", level.Drained, dead)
	}
	if at, ok := b.Next(dead); !ok || len(b.Reserve(dead, 0, 10)) != 6 {
		t.Errorf("the record changed the budget: next %v %v", at, ok)
	}
}

func TestSlowStretchesWhatABucketRefills(t *testing.T) {
	b := newBudget(t, points(1000, 50))
	b.ReserveFor(epoch, 0, []int64{10})
	b.Slow(0.1)
	b.ReserveFor(epoch, 0, []int64{10})
	if at, ok := b.NextFor(epoch, 10); !ok || !at.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("the next call of 10 points goes at %v %v, want after 2 s: a tenth of 50 points a second", at, ok)
	}
}

// A bucket is used as fast as it drains, and never beyond what it holds.
func TestABucketIsUsedInFull(t *testing.T) {
	for name, c := range map[string]struct {
		limits  Limits
		cost    int64
		latency time.Duration
	}{
		"40 at 2 a second":               {leaky(40, 2, 0), 1, 300 * millisecond},
		"40 at 2 a second, slow":         {leaky(40, 2, 0), 1, 5 * time.Second},
		"1000 points at 50 a second":     {points(1000, 50), 10, 400 * millisecond},
		"20 at one a minute":             {Limits{Buckets: []Bucket{{Name: "b", Capacity: 20, Refill: 1, Per: time.Minute}}}, 1, time.Second},
		"with a headroom of a quarter":   {leaky(40, 2, 10), 1, time.Second},
		"costs that divide nothing well": {points(4004, 60), 37, 700 * millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBudget(t, c.limits)
			bucket := c.limits.Buckets[0]
			lasts := 20 * bucket.DrainTime()
			type flight struct {
				number int64
				ends   time.Time
			}
			var flying []flight
			calls := int64(0)
			for now := epoch; now.Sub(epoch) < lasts; now = now.Add(50 * millisecond) {
				for len(flying) > 0 && !flying[0].ends.After(now) {
					b.Settle(flying[0].number, flying[0].ends)
					flying = flying[1:]
				}
				for _, p := range b.ReserveFor(now, 50*millisecond, slices.Repeat([]int64{c.cost}, 200)) {
					flying = append(flying, flight{p.Number, p.SendAt.Add(c.latency)})
					calls++
				}
			}
			drained := int64(lasts) / int64(bucket.Per) * bucket.Refill
			allowed := bucket.Most() + drained
			if spent := calls * c.cost; spent > allowed || spent < allowed*98/100 {
				t.Errorf("%d spent of %d, want at least 98%%", spent, allowed)
			}
		})
	}
}

func TestWrongBucketsAreToldApart(t *testing.T) {
	l := leaky(0, 0, 3)
	l.Buckets[0].Per = -1
	l.Windows = []Window{{Name: "bucket", Calls: 1, Per: time.Second}}
	_, err := New(l)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"two limits have this name", "capacity is 0", "refill is 0", "per is -1ns", "headroom is 3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	l = leaky(1_000_000, 1, 0)
	l.Buckets[0].Per = time.Hour
	if _, err := New(l); err == nil || !strings.Contains(err.Error(), "to drain") {
		t.Errorf("a bucket that takes a century to drain: %v", err)
	}
}
