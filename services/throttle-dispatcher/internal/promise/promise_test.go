package promise

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	schedules "github.com/peppasync/peppasync/services/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

// feed is a dispatcher in virtual time: the real budget, queue and watch of
// maintenance windows, a server that answers, a tick of 10 ms or more.
type feed struct {
	limits  budget.Limits
	latency time.Duration
	lanes   []queue.Lane
	waiting map[string]int
	// begins is when it begins if not at epoch, tick how often it looks.
	begins  time.Time
	tick    time.Duration
	windows []window
	// outage: it ends as this begins, and the pace grows for so long; throttled: so many
	// calls were refused before.
	outage    time.Duration
	throttled int

	// cost returns what the n-th call is reserved for and did cost; nil for 1.
	cost func(n int) (reserved, spent int64)
	// full: nothing is known of the buckets when it begins.
	full bool

	sent                   int
	reserved, spent, ended float64
	ids                    []string
	random                 *rand.Rand
	now                    time.Time
	budget                 *budget.Budget
	queue                  *queue.Queue[string]
	flying                 []flight
	ends                   map[string][]time.Time // of calls that have ended, by window
	arrived                map[string]time.Time
	watch                  *maintenance.Watch
	pace                   feedback.Pace
}

// window is one of a connector's maintenance.
type window struct {
	schedule, zone string
	lasts, rampUp  time.Duration
}

type flight struct {
	permit    budget.Permit
	id, key   string
	sent, end time.Time
	spent     int64
}

const lead = 35 * time.Second

func (f *feed) begin(t *testing.T) {
	t.Helper()
	f.begins, f.tick = cmp.Or(f.begins, epoch), cmp.Or(f.tick, 10*time.Millisecond)
	var err error
	if f.budget, err = budget.New(f.limits); err != nil {
		t.Fatal(err)
	}
	for n := range 30 { // what calls cost before
		if f.cost != nil {
			reserved, spent := f.cost(n)
			f.reserved, f.spent, f.ended = f.reserved+float64(reserved), f.spent+float64(spent), f.ended+1
		}
	}
	if f.full {
		f.budget.Restore(f.begins, budget.History{})
	}
	f.random = rand.New(rand.NewPCG(1, 2))
	f.queue, f.now, f.arrived, f.ends = queue.New[string](f.lanes), f.begins, map[string]time.Time{}, map[string][]time.Time{}
	f.watch = maintenance.NewWatch(f.now, maintenance.Settings{Calendar: calendar(t, f.windows), Lead: lead, OutageRampUp: f.outage})
	f.watch.Recovered(f.now)
	for range f.throttled {
		f.now = f.now.Add(time.Second)
		f.pace.Throttled(f.now, f.now, f.now.Add(time.Minute), 1)
	}
	sequence := uint64(0)
	// The lanes' deliveries came in mixed, as orders do.
	for more := true; more; {
		more = false
		for _, l := range f.lanes {
			n := int(sequence)
			if f.waiting[l.Name] == 0 {
				continue
			}
			more = true
			f.waiting[l.Name]--
			sequence++
			id := fmt.Sprintf("%s-%d", l.Name, n)
			f.ids = append(f.ids, id)
			f.queue.Add(queue.Item[string]{ID: id, Key: id, Lane: l.Name, Sequence: sequence, Value: id})
		}
	}
}

func calendar(t *testing.T, windows []window) schedules.Calendar {
	t.Helper()
	var all []schedules.Window
	for _, w := range windows {
		schedule, err := schedules.ParseSchedule(w.schedule)
		if err != nil {
			t.Fatal(err)
		}
		zone, err := schedules.LoadZone(w.zone)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, schedules.Window{Schedule: schedule, Zone: zone, Duration: w.lasts, RampUp: w.rampUp})
	}
	return schedules.NewCalendar(all)
}

// step plays one tick.
func (f *feed) step() {
	f.flying = slices.DeleteFunc(f.flying, func(c flight) bool {
		if c.end.After(f.now) {
			return false
		}
		f.budget.SettleFor(c.permit.Number, c.end, c.spent)
		f.reserved, f.spent, f.ended = f.reserved+float64(c.permit.Cost), f.spent+float64(c.spent), f.ended+1
		f.queue.Done(c.key)
		f.arrived[c.id] = c.end
		for _, w := range f.limits.Windows {
			counts := c.end
			if w.ArrivesWithin > 0 && c.sent.Add(w.ArrivesWithin).Before(counts) {
				counts = c.sent.Add(w.ArrivesWithin)
			}
			f.ends[w.Name] = append(f.ends[w.Name], counts.Add(w.Per))
		}
		return true
	})
	_, closed := f.watch.Closed(f.now)
	f.budget.Slow(min(f.watch.Part(f.now), f.pace.Part(f.now)))
	for !closed && f.queue.Ready(f.now) {
		reserved, spent := int64(1), int64(1)
		if f.cost != nil {
			reserved, spent = f.cost(f.sent)
		}
		permits := f.budget.ReserveFor(f.now, f.tick, []int64{reserved})
		if len(permits) == 0 {
			break
		}
		f.sent++
		item, _ := f.queue.Take(f.now)
		sent := permits[0].SendAt
		f.budget.Issued(permits[0].Number, sent)
		took := time.Duration(float64(f.latency) * (0.8 + 0.4*f.random.Float64()))
		f.flying = append(f.flying, flight{permit: permits[0], id: item.ID, key: item.Key, sent: sent, end: sent.Add(took), spent: spent})
	}
	f.now = f.now.Add(f.tick)
}

// state is what a dispatcher knows.
func (f *feed) state() State {
	part, from, whole := f.pace.Grows(f.now)
	window, outage := f.watch.Ramps(f.now)
	until, _ := f.watch.Closed(f.now)
	s := State{
		Now: f.now, NotBefore: f.budget.NextSend(), Gap: f.limits.Gap(), Slowed: f.budget.GapAt(0.5) / 2,
		Latency: f.latency, Flying: len(f.flying),
		Reopened: rampOf(window), Ramps: []Ramp{rampOf(outage), {from, part, whole}},
		Closings: func(yield func(Closing) bool) {
			for c := range f.watch.Outlook().After(f.now) {
				if !yield(Closing{c.From, c.Until, rampOf(c.Ramp)}) {
					return
				}
			}
		},
	}
	if until.After(s.NotBefore) {
		s.NotBefore = until
	}
	for _, c := range f.limits.Concurrency {
		s.Parallel = c.Calls - c.Headroom
	}
	for _, w := range f.limits.Windows {
		within := f.latency
		if w.ArrivesWithin > 0 {
			within = min(within, w.ArrivesWithin)
		}
		window := Window{Calls: w.Calls, Per: w.Per, Within: within}
		if !f.limits.Paced(w) {
			window.Calls -= w.Headroom
		}
		for _, at := range f.ends[w.Name] {
			if at.After(f.now) {
				window.Taken = append(window.Taken, Release{At: at, Calls: 1})
			}
		}
		s.Windows = append(s.Windows, window)
	}
	reserved, spent := 1.0, 1.0
	if f.ended > 0 {
		reserved, spent = f.reserved/f.ended, f.spent/f.ended
	}
	for _, k := range f.budget.Fills(f.now) {
		s.Buckets = append(s.Buckets, Bucket{Room: k.Room, Settled: k.Settled, Flying: k.Flying, Reserved: k.Takes(reserved), Spent: k.Takes(spent)})
	}
	for _, l := range f.queue.Lanes(f.now) {
		s.Lanes = append(s.Lanes, Lane{Name: l.Name, Weight: l.Weight, Waiting: l.Waiting})
	}
	return s
}

func rampOf(r maintenance.Ramp) Ramp {
	return Ramp{From: r.From, Part: maintenance.First, Whole: r.From.Add(r.Lasts)}
}

// promises are what was said at one moment.
type promises struct {
	at      time.Time
	drained time.Time
	byID    map[string][3]time.Time
}

func (f *feed) promise() promises {
	s := f.state()
	p := promises{at: f.now, byID: map[string][3]time.Time{}}
	p.drained, _ = s.Drained()
	for i, id := range f.ids {
		// A sample: to look for a place takes longer the more there are.
		if i%max(7, len(f.ids)/25) > 0 {
			continue
		}
		if place, ok := f.queue.Place(id); ok && !place.Taken {
			turn := s.Turn(place.Lane, place.Ahead)
			p.byID[id] = [3]time.Time{s.Arrival(max(1, turn-places)), s.Arrival(turn), s.Arrival(turn + places)}
		}
	}
	return p
}

// places is by how many its turn may be off: lanes are mixed evenly, not by rule.
// Under Burst one place may be a whole window.
const places = 3

// TestPromisesAreKept: at a steady pace, at one that grows, and over maintenance windows every
// promise, made at any time during the drain, is right within 3% of the time that
// is left, or a few places.
func TestPromisesAreKept(t *testing.T) {
	lanes := []queue.Lane{{Name: "express", Weight: 7}, {Name: "standard", Weight: 2}, {Name: "bulk", Weight: 1}}
	limit := func(calls int, per time.Duration) budget.Window {
		return budget.Window{Name: fmt.Sprint(calls, per), Calls: calls, Per: per, Headroom: 1}
	}
	bucket := func(capacity, refill int64, points bool) budget.Bucket {
		return budget.Bucket{Name: "bucket", Capacity: capacity, Refill: refill, Per: time.Second, Weighted: points}
	}
	slow := budget.Limits{Windows: []budget.Window{limit(11, time.Minute)}}
	at := func(text string) time.Time {
		moment, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	}
	for name, f := range map[string]*feed{
		"100 a minute": {
			limits: budget.Limits{Windows: []budget.Window{limit(100, time.Minute)}}, latency: 200 * time.Millisecond,
			waiting: map[string]int{"standard": 300, "express": 40},
		},
		"three lanes of unlike length": {
			limits: budget.Limits{Windows: []budget.Window{limit(600, time.Minute)}}, latency: 50 * time.Millisecond,
			waiting: map[string]int{"standard": 500, "express": 200, "bulk": 900},
		},
		"replies so slow that the window binds": {
			limits: budget.Limits{Windows: []budget.Window{limit(20, time.Second)}}, latency: 500 * time.Millisecond,
			waiting: map[string]int{"standard": 1000},
		},
		"a declared bound on the way": {
			limits: budget.Limits{Windows: []budget.Window{
				{Name: "w", Calls: 20, Per: time.Second, Headroom: 1, ArrivesWithin: 100 * time.Millisecond},
			}}, latency: 800 * time.Millisecond,
			waiting: map[string]int{"standard": 1000},
		},
		"concurrency binds": {
			limits: budget.Limits{
				Windows: []budget.Window{limit(600, time.Minute)}, Concurrency: []budget.Concurrency{{Name: "parallel", Calls: 4}},
			}, latency: 2 * time.Second,
			waiting: map[string]int{"standard": 300, "bulk": 100},
		},
		"a long window that is nearly used up": {
			limits:  budget.Limits{Windows: []budget.Window{limit(60, time.Minute), limit(400, 10*time.Minute)}},
			latency: 200 * time.Millisecond, waiting: map[string]int{"standard": 900},
		},
		"a bucket that was idle": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(40, 2, false)}}, latency: 200 * time.Millisecond,
			waiting: map[string]int{"standard": 300, "express": 40},
		},
		"a bucket with room for all of it": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(400, 2, false)}}, latency: 200 * time.Millisecond,
			waiting: map[string]int{"standard": 300, "express": 40},
		},
		"a bucket of which nothing is known": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(40, 2, false)}}, latency: 200 * time.Millisecond, full: true,
			waiting: map[string]int{"standard": 300, "express": 40},
		},
		"a bucket, and replies as slow as it drains": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(40, 5, false)}}, latency: 6 * time.Second,
			waiting: map[string]int{"standard": 600, "bulk": 100},
		},
		"a bucket of points that are given back in part": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(1000, 50, true)}}, latency: 400 * time.Millisecond,
			waiting: map[string]int{"standard": 300, "bulk": 100}, cost: func(int) (int64, int64) { return 40, 25 },
		},
		"a bucket of points that are given back nearly all": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(2000, 100, true)}}, latency: 400 * time.Millisecond,
			waiting: map[string]int{"standard": 300, "bulk": 100}, cost: func(int) (int64, int64) { return 752, 9 },
		},
		"a bucket of points that calls hold while they are slow": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(2000, 50, true)}}, latency: 2 * time.Second,
			waiting: map[string]int{"standard": 600}, cost: func(int) (int64, int64) { return 100, 10 },
		},
		"a bucket of calls of unlike costs": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(500, 50, true)}}, latency: 300 * time.Millisecond,
			waiting: map[string]int{"standard": 600}, cost: func(n int) (int64, int64) { return []int64{5, 60, 12}[n%3], []int64{5, 31, 12}[n%3] },
		},
		"a bucket behind a window": {
			limits: budget.Limits{
				Windows: []budget.Window{limit(600, time.Minute)}, Buckets: []budget.Bucket{bucket(200, 2, false)},
			}, latency: 200 * time.Millisecond,
			waiting: map[string]int{"standard": 500},
		},
		"bursts": {
			limits:  budget.Limits{Pacing: budget.Burst, Windows: []budget.Window{limit(50, 10*time.Second)}},
			latency: 300 * time.Millisecond, waiting: map[string]int{"standard": 600, "express": 100},
		},
		"a window of two hours tonight": {
			limits: slow, latency: time.Second, begins: at("2026-11-27T18:30:00Z"), tick: 500 * time.Millisecond,
			windows: []window{{"0 22 * * *", "UTC", 2 * time.Hour, 0}}, waiting: map[string]int{"standard": 2500, "bulk": 500},
		},
		"windows that overlap, and ramps, while clocks change": {
			limits: slow, latency: time.Second, begins: at("2026-10-24T20:00:00Z"), tick: 500 * time.Millisecond,
			windows: []window{
				{"30 2 * * *", "Europe/Berlin", 30 * time.Minute, 40 * time.Minute}, {"0 5 * * *", "Europe/Berlin", time.Hour, time.Hour},
				{"15 5 * * SUN", "Europe/Berlin", 90 * time.Minute, 20 * time.Minute},
			}, waiting: map[string]int{"standard": 4500, "bulk": 500},
		},
		"a ramp that begins before the one before it is over": {
			limits: slow, latency: time.Second, tick: 500 * time.Millisecond,
			windows: []window{{"*/30 * * * *", "UTC", 5 * time.Minute, time.Hour}}, waiting: map[string]int{"standard": 1000},
		},
		"a window is open and its ramp comes": {
			limits: slow, latency: time.Second, begins: at("2026-11-27T02:30:00Z"), tick: 500 * time.Millisecond,
			windows: []window{{"0 2 * * *", "UTC", time.Hour, time.Hour}}, waiting: map[string]int{"standard": 1000},
		},
		"after an outage": {
			limits: budget.Limits{Windows: []budget.Window{limit(100, time.Minute)}}, latency: time.Second,
			outage: 15 * time.Minute, waiting: map[string]int{"standard": 1500},
		},
		"after refusals": {
			limits: budget.Limits{Windows: []budget.Window{limit(100, time.Minute)}}, latency: time.Second,
			throttled: 6, waiting: map[string]int{"standard": 1500},
		},
		"bursts that a ramp spreads": {
			limits:  budget.Limits{Pacing: budget.Burst, Windows: []budget.Window{limit(50, 10*time.Second)}},
			latency: 300 * time.Millisecond, outage: 10 * time.Minute, waiting: map[string]int{"standard": 2500},
		},
		"a ramp up to where the window binds": {
			limits: budget.Limits{Windows: []budget.Window{limit(20, time.Second)}}, latency: 900 * time.Millisecond,
			outage: 5 * time.Minute, waiting: map[string]int{"standard": 6000},
		},
		"a ramp up to where concurrency binds": {
			limits: budget.Limits{
				Windows: []budget.Window{limit(600, time.Minute)}, Concurrency: []budget.Concurrency{{Name: "parallel", Calls: 16}},
			}, latency: 4 * time.Second, outage: 10 * time.Minute, waiting: map[string]int{"standard": 3000},
		},
		"a ramp of concurrency alone": {
			limits:  budget.Limits{Concurrency: []budget.Concurrency{{Name: "parallel", Calls: 40}}},
			latency: 4 * time.Second, outage: 10 * time.Minute, waiting: map[string]int{"standard": 6000},
		},
		"a bucket before a window, and its ramp": {
			limits: budget.Limits{Buckets: []budget.Bucket{bucket(400, 1, false)}}, latency: 200 * time.Millisecond, tick: 100 * time.Millisecond,
			windows: []window{{"20 8 * * *", "UTC", time.Hour, 20 * time.Minute}}, waiting: map[string]int{"standard": 4000},
		},
		"a day's quota is used up before a window": {
			limits:  budget.Limits{Windows: []budget.Window{limit(11, time.Minute), limit(500, 4*time.Hour)}},
			latency: time.Second, tick: 500 * time.Millisecond,
			windows: []window{{"0 9 * * *", "UTC", 2 * time.Hour, 10 * time.Minute}}, waiting: map[string]int{"standard": 1500},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f.lanes = lanes
			f.begin(t)
			said := []promises{f.promise()}
			for n := 1; f.queue.Len() > 0; n++ {
				f.step()
				if n%500 == 0 && len(said) < 20 || n%10_000 == 0 && len(said) < 40 {
					said = append(said, f.promise())
				}
				if f.now.Sub(f.begins) > 24*time.Hour {
					t.Fatal("it never ends")
				}
			}
			f.keep(t, said)
		})
	}
}

func (f *feed) keep(t *testing.T, said []promises) {
	t.Helper()
	slack := f.limits.Gap() + f.latency + f.tick
	for _, k := range f.limits.Buckets {
		slack += k.Takes(f.reserved / f.ended) // as a gap: calls go as this much has drained
	}
	worst, most := 0.0, time.Duration(0)
	last := f.now.Add(-f.tick)
	check := func(what string, at time.Time, promised [3]time.Time, came time.Time) {
		// How far outside of what it says for the places around.
		off := max(promised[0].Sub(came), came.Sub(promised[2]), 0)
		left := came.Sub(at)
		if off > slack {
			worst = max(worst, float64(off)/float64(left))
		}
		most = max(most, promised[1].Sub(came).Abs())
		if off > slack+left*3/100 {
			t.Errorf("%s was promised at %v for %v, it came at %v", what, at.Sub(f.begins), promised[1].Sub(f.begins), came.Sub(f.begins))
		}
	}
	for _, p := range said {
		check("the end", p.at, [3]time.Time{p.drained, p.drained, p.drained}, last)
		for id, promised := range p.byID {
			check(id, p.at, promised, f.arrived[id])
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d moments over %v; a promise is at most %v off, beside a place or two %.2f%% of the time left", len(said), last.Sub(f.begins), most, 100*worst)
}

// What is under way does not drain: after a burst into an empty bucket the next call
// waits for the first replies.
func TestABucketDrainsAsCallsEnd(t *testing.T) {
	const call, latency = 200 * time.Millisecond, 6 * time.Second
	s := State{Now: epoch, Latency: latency, Buckets: []Bucket{{Room: 40 * call, Reserved: call, Spent: call}}}
	for n, want := range map[int]time.Duration{1: 0, 40: 0, 41: latency + call, 50: latency + 10*call} {
		if got := s.call(n).Sub(epoch); got != want {
			t.Errorf("call %d goes after %v, want %v", n, got, want)
		}
	}
	// Of what has ended it drains at once, and as long as there is some.
	s.Buckets[0].Settled = 4 * time.Second
	for n, want := range map[int]time.Duration{20: 0, 21: call, 40: 4 * time.Second, 41: latency + call} {
		if got := s.call(n).Sub(epoch); got != want {
			t.Errorf("beside what is in it, call %d goes after %v, want %v", n, got, want)
		}
	}
	if got := s.PerMinute(); got != 300 {
		t.Errorf("%v calls a minute, want 300", got)
	}
}

func TestNothingWaits(t *testing.T) {
	if at, ok := (State{Now: epoch}).Drained(); ok {
		t.Errorf("drained at %v with nothing there", at)
	}
	if at, ok := (State{Now: epoch, Flying: 1, Latency: time.Second}).Drained(); !ok || at != epoch.Add(time.Second) {
		t.Errorf("one call under way ends at %v %v, want in a second", at, ok)
	}
}

func TestRetriesMakeItLater(t *testing.T) {
	s := State{Now: epoch, Gap: time.Second, Lanes: []Lane{{Name: "standard", Weight: 1, Waiting: 100}}}
	once, _ := s.Drained()
	s.CallsPerDelivery = 2
	twice, _ := s.Drained()
	if once != epoch.Add(99*time.Second) || twice != epoch.Add(199*time.Second) {
		t.Errorf("once %v, twice %v", once.Sub(epoch), twice.Sub(epoch))
	}
	if got := s.PerMinute(); got != 60 {
		t.Errorf("%v a minute, want 60", got)
	}
}

// A lane that is small beside another ends before all of it.
func TestLanesEndByTheirShare(t *testing.T) {
	s := State{Now: epoch, Gap: time.Second, Lanes: []Lane{{"express", 7, 70}, {"bulk", 1, 1000}, {Name: "standard", Weight: 2}}}
	ends := s.Ends()
	if drained, _ := s.Drained(); len(ends) != 2 || ends["bulk"] != drained || ends["express"].Sub(epoch).Round(5*time.Second) != 80*time.Second {
		t.Errorf("the lanes end at %v, want express after 80 s, bulk with the last, and nothing of standard", ends)
	}
}

// While the pace grows, calls go as often as the part of the pace says at each
// moment.
func TestPaceThatGrows(t *testing.T) {
	for _, part := range []float64{0.05, 0.5, 0.85, 0.999} {
		const gap, grows = time.Second, 3 * time.Minute
		start := epoch.Add(time.Minute)
		s := State{Now: epoch, NotBefore: start, Gap: gap, Slowed: gap, Ramps: []Ramp{{start, part, start.Add(grows)}}}
		const step = time.Millisecond
		calls := 0.0
		for n, passed := 2, time.Duration(0); n <= 400; passed += step {
			calls += min(1, part+(1-part)*passed.Seconds()/grows.Seconds()) * step.Seconds() / gap.Seconds()
			if calls < float64(n-1) {
				continue
			}
			if got := s.call(n).Sub(s.NotBefore); (got - passed).Abs() > 10*step {
				t.Fatalf("from a part of %v, call %d goes after %v, want %v", part, n, got, passed)
			}
			n++
		}
	}
	s := State{Now: epoch, Gap: time.Second, Slowed: time.Second, Ramps: []Ramp{{epoch.Add(-time.Minute), 0.5, epoch.Add(-time.Second)}}}
	if got := s.call(11).Sub(epoch); got != 10*time.Second {
		t.Errorf("once it is whole, ten gaps take %v", got)
	}
}

// A million deliveries are promised at once.
func BenchmarkArrival(b *testing.B) {
	s := State{Now: epoch, Gap: 606 * time.Millisecond, Latency: time.Second, Parallel: 10, Flying: 10,
		Windows: []Window{{Calls: 100, Per: time.Minute, Within: time.Second}, {Calls: 100_000, Per: 24 * time.Hour, Within: time.Second}},
		Lanes:   []Lane{{"express", 7, 1000}, {"standard", 2, 900_000}, {"bulk", 1, 99_000}},
	}
	for i := range 64 {
		s.Windows[1].Taken = append(s.Windows[1].Taken, Release{At: epoch.Add(time.Duration(i) * time.Minute), Calls: 1000})
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Arrival(s.Turn("standard", 500_000))
	}
}
