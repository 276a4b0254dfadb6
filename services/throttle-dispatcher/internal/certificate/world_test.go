package certificate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// world plays dispatchers on the real budget in virtual time: every 50 ms the
// owner takes what it may send and writes a block. Owners are killed, their
// clocks differ, their limits change.
type world struct {
	random  *rand.Rand
	limits  budget.Limits
	now     time.Duration // true time
	offset  time.Duration // of the owner's clock
	began   time.Time     // by that clock
	owner   int
	budget  *budget.Budget
	auditor *Auditor // the owner's own; reads the log anew at each takeover
	whole   *Auditor // reads everything once
	log     []*ledgerv1.Block
	reply   time.Duration
	pending []pending
	// arrivals in true time, of calls handed out since the limits were changed last.
	arrivals []landing
	// parallel is how many calls the owner has under way at most, 0 for any number,
	// drawn from bounds; under are those that are.
	bounds   *rand.Rand
	parallel int
	under    []landing
	// changes are what our calls do to a bucket of points: their costs as they arrive,
	// and what is given back.
	changes []change
	levels  []budget.Level // on record, of the newest block
	// spends is the share of their costs that calls do cost, in eighths.
	spends int64
	// rests: nothing waits in the first half of each span of that length.
	rests time.Duration
	// reads is how far back an owner reads.
	reads time.Duration
}

// landing is a call that left at a time; in under, at is when it ends.
type landing struct{ sent, at time.Duration }

type change struct {
	at     time.Duration
	points int64
}

type pending struct {
	at time.Duration // when the owner hears of it
	s  *ledgerv1.Settlement
}

func newWorld(t *testing.T, seed uint64, limits budget.Limits) *world {
	t.Helper()
	limits, err := limits.Normal()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), limits: limits, reply: 40 * time.Millisecond, spends: 8, reads: 20 * time.Second}
	if w.whole, err = New(limits); err != nil {
		t.Fatal(err)
	}
	w.takeOver(t)
	return w
}

func (w *world) local(d time.Duration) time.Time { return epoch.Add(d + w.offset) }

// takeOver kills the owner; the next one reads the log.
func (w *world) takeOver(t *testing.T) {
	t.Helper()
	w.pending = nil
	if w.random.IntN(2) == 0 {
		// A process of the same name: the one before is dead, and its connections.
		w.arrivals = slices.DeleteFunc(w.arrivals, func(a landing) bool { return a.sent > w.now || a.at > w.now+w.limits.Grace })
		w.changes = slices.DeleteFunc(w.changes, func(c change) bool { return c.points > 0 && c.at > w.now+w.limits.Grace })
	} else {
		w.owner++
		w.offset = time.Duration(w.random.Int64N(2*int64(w.limits.ClockTolerance)+1)) - w.limits.ClockTolerance
	}
	w.began = w.local(w.now)
	if w.parallel, w.under = 0, nil; w.bounds != nil {
		w.parallel = max(0, w.bounds.IntN(12)-2)
	}
	var err error
	if w.budget, err = budget.New(w.limits); err != nil {
		t.Fatal(err)
	}
	if w.auditor, err = New(w.limits); err != nil {
		t.Fatal(err)
	}
	history := budget.History{Levels: w.levels, Parallel: map[string]budget.Bound{}}
	permits := map[int64]budget.Past{}
	name := fmt.Sprint(w.owner)
	for _, b := range w.log {
		// A new owner does not read everything; peaks carry the rest.
		recent := b.GetWrittenAt().AsTime().After(epoch.Add(w.now - w.reads))
		if recent {
			w.auditor.Add(b, false)
		}
		history.LastPermit, history.NextSend = b.GetLastPermit(), b.GetNextSend().AsTime()
		for _, p := range b.GetPermits() {
			permits[p.GetNumber()] = budget.Past{Permit: budget.Permit{
				Number: p.GetNumber(), SendAt: p.GetSendAt().AsTime(), NotAfter: p.GetNotAfter().AsTime(), Deadline: p.GetDeadline().AsTime(),
				Cost: p.GetCost(),
			}, Gone: b.GetOwner() == name, Holder: holder(b)}
		}
		history.Writer = holder(b)
		history.Parallel[holder(b)] = budget.Bound{Calls: int(b.GetParallel()), Since: b.GetWrittenAt().AsTime()}
		for _, s := range b.GetSettlements() {
			p := permits[s.GetPermit()]
			p.SettledAt = s.GetSettledAt().AsTime()
			permits[s.GetPermit()] = p
			if s.GetVoid() {
				delete(permits, s.GetPermit())
			}
		}
	}
	for _, p := range permits {
		history.Permits = append(history.Permits, p)
	}
	w.budget.Restore(w.local(w.now), history)
}

// tick lets the owner work for 50 ms.
func (w *world) tick() {
	now := w.local(w.now)
	block := &ledgerv1.Block{Connector: "erp", Owner: fmt.Sprint(w.owner), WrittenAt: timestamppb.New(now), RestoredAt: timestamppb.New(w.began), Peaks: w.auditor.Peaks()}
	block.Parallel = int32(w.parallel)
	w.pending = slices.DeleteFunc(w.pending, func(p pending) bool {
		if p.at > w.now {
			return false
		}
		block.Settlements = append(block.Settlements, p.s)
		if p.s.GetVoid() {
			w.budget.Void(p.s.GetPermit())
		} else {
			w.budget.SettleFor(p.s.GetPermit(), p.s.GetSettledAt().AsTime(), p.s.GetSpent())
		}
		return true
	})
	costs := make([]int64, 1000)
	if w.rests > 0 && w.now%w.rests < w.rests/2 {
		costs = nil
	}
	for i := range costs {
		costs[i] = 1 + w.random.Int64N(8)
	}
	for _, p := range w.budget.ReserveFor(now, 100*time.Millisecond, costs) {
		block.Permits = append(block.Permits, &ledgerv1.Permit{
			Number: p.Number, SendAt: timestamppb.New(p.SendAt), NotAfter: timestamppb.New(p.NotAfter), Deadline: timestamppb.New(p.Deadline),
			Cost: p.Cost,
		})
		w.send(p)
	}
	w.levels = w.budget.Levels(now)
	block.LastPermit, block.NextSend = w.budget.LastPermit(), timestamppb.New(w.budget.NextSend())
	w.log = append(w.log, proto.CloneOf(block))
	w.auditor.Add(block, true)
	w.whole.Add(block, true)
	w.now += 50 * time.Millisecond
}

func (w *world) send(p budget.Permit) {
	sent := p.SendAt.Sub(epoch) - w.offset + time.Duration(w.random.Int64N(int64(w.limits.Tolerance)))/8
	if w.random.IntN(50) == 0 {
		w.pending = append(w.pending, pending{sent, &ledgerv1.Settlement{Permit: p.Number, Void: true}})
		return
	}
	reply := time.Duration(float64(w.reply) * (0.5 + w.random.ExpFloat64()))
	sent, room := w.room(sent, reply, p.NotAfter.Sub(epoch)-w.offset)
	if !room {
		w.pending = append(w.pending, pending{sent, &ledgerv1.Settlement{Permit: p.Number, Void: true}})
		return
	}
	arrived := sent + reply/4
	for _, l := range w.limits.Windows {
		if l.ArrivesWithin > 0 {
			arrived = min(arrived, sent+l.ArrivesWithin)
		}
	}
	settled := sent + reply
	latest := p.Deadline.Sub(epoch) - w.offset
	arrived, settled = min(arrived, latest), min(settled, latest)
	w.arrivals = append(w.arrivals, landing{sent, arrived})
	w.under = append(w.under, landing{sent, settled})
	spent := p.Cost * w.spends / 8
	w.changes = append(w.changes, change{arrived, p.Cost})
	if spent < p.Cost {
		w.changes = append(w.changes, change{settled, spent - p.Cost})
	}
	w.budget.Issued(p.Number, w.local(sent))
	w.pending = append(w.pending, pending{settled, &ledgerv1.Settlement{
		Permit: p.Number, SettledAt: timestamppb.New(w.local(settled)),
		FirstByteAt: timestamppb.New(w.local(sent)), IssuedAt: timestamppb.New(w.local(sent)), Spent: &spent,
	}})
}

// room returns when a call can leave that may leave then and takes so long, and false
// where as many are under way until its permit runs out.
func (w *world) room(sent, takes, notAfter time.Duration) (time.Duration, bool) {
	w.under = slices.DeleteFunc(w.under, func(c landing) bool { return c.at < w.now })
	for ; w.parallel > 0; sent += time.Millisecond {
		met := 0
		for _, c := range w.under {
			if c.at > sent && c.sent < sent+takes {
				met++
			}
		}
		if met < w.parallel {
			break
		}
		if sent >= notAfter {
			return sent, false
		}
	}
	return sent, sent <= notAfter
}

func holder(b *ledgerv1.Block) string {
	return b.GetOwner() + "/" + b.GetRestoredAt().AsTime().String()
}

// filled is the highest level that a server saw by then in a bucket.
func (w *world) filled(b Bucket, through time.Time) float64 {
	changes := slices.Clone(w.changes)
	slices.SortStableFunc(changes, func(x, y change) int { return cmp.Compare(x.at, y.at) })
	level, most, last := 0.0, 0.0, time.Duration(0)
	for _, c := range changes {
		if !epoch.Add(c.at).Before(through) {
			break
		}
		points := float64(c.points)
		if !b.Points {
			points = float64(cmp.Compare(c.points, 0))
			points = max(points, 0)
		}
		level = max(0, level-float64(b.Refill)*float64(c.at-last)/float64(b.Per))
		level, last = max(0, level+points), c.at
		most = max(most, level)
	}
	return most
}

// judge holds the certificates against the limits and against the server.
func (w *world) judge(t *testing.T, when string) {
	t.Helper()
	some, all := w.auditor.Report(w.local(w.now)), w.whole.Report(w.local(w.now))
	for n, s := range all.Limits {
		if s.IsBucket() && (some.Limits[n].Last != s.Last || some.Limits[n].Largest != s.Largest) {
			t.Errorf("%s: who read all says %d and %d at most of %q, the owner says %d and %d", when, s.Last, s.Largest, s.Name, some.Limits[n].Last, some.Limits[n].Largest)
		}
	}
	for who, auditor := range map[string]*Auditor{"the owner's": w.auditor, "the whole log's": w.whole} {
		report := auditor.Report(w.local(w.now))
		for _, s := range report.Limits {
			if s.Largest > s.Calls || s.IsBucket() && s.Largest > s.Calls-s.Headroom || s.LargestSent > s.Largest {
				t.Errorf("%s: %s certificate of %q: at most %d of %d, %d sent", when, who, s.Name, s.Largest, s.Calls, s.LargestSent)
			}
			var seen []time.Duration
			// Two clocks' tolerance of what Through may mean.
			through := report.Through.Add(-2*w.limits.ClockTolerance - w.limits.Tolerance)
			if s.IsBucket() {
				if most := w.filled(s.Bucket, through); most > float64(s.Largest)+1e-6 {
					t.Errorf("%s: a server saw a level of %.3f of %q, %s certificate says at most %d", when, most, s.Name, who, s.Largest)
				}
				continue
			}
			for _, a := range w.arrivals {
				if epoch.Add(a.at).Before(through) {
					seen = append(seen, a.at)
				}
			}
			if n := closed(seen, s.Per); s.Per > 0 && n > s.Largest {
				t.Errorf("%s: %d calls arrived in a window of %q, %s certificate says at most %d", when, n, s.Name, who, s.Largest)
			}
		}
	}
}

func TestNeverOverNorUnderTheServersCount(t *testing.T) {
	for name, limits := range map[string]budget.Limits{
		"paced": {Windows: []budget.Window{{Name: "minute", Calls: 40, Per: 4 * time.Second, Headroom: 1}}},
		"burst": {Pacing: budget.Burst, Windows: []budget.Window{{Name: "second", Calls: 20, Per: time.Second}, {Name: "long", Calls: 60, Per: 6 * time.Second}}},
		"declared": {Windows: []budget.Window{
			{Name: "second", Calls: 50, Per: time.Second, Headroom: 1, ArrivesWithin: 20 * time.Millisecond},
		}, Concurrency: []budget.Concurrency{{Name: "parallel", Calls: 8}}},
		"buckets": {Buckets: []budget.Bucket{
			{Name: "points", Capacity: 300, Refill: 11, Per: time.Second, Weighted: true, Headroom: 7},
			{Name: "calls", Capacity: 60, Refill: 7, Per: 2 * time.Second},
		}},
		"a bucket behind a window": {
			Windows: []budget.Window{{Name: "second", Calls: 20, Per: time.Second}},
			Buckets: []budget.Bucket{{Name: "points", Capacity: 30, Refill: 17, Per: time.Second, Weighted: true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			count := uint64(10)
			var seeds []uint64
			if len(limits.Buckets) > 0 {
				count = 40 // they are quick, and what two owners leave in a bucket meets in one of ten
				// The next owner's clock was read for the last one's, and its bucket did not
				// drain in between.
				seeds = []uint64{1431, 1471, 1679}
			}
			for seed := range count {
				seeds = append(seeds, seed)
			}
			for _, seed := range seeds {
				limits := limits
				limits.CallTimeout, limits.Grace = 2*time.Second, 100*time.Millisecond
				w := newWorld(t, seed, limits)
				if seed%2 == 1 {
					w.reply = 700 * time.Millisecond
				}
				w.spends = 8 - int64(seed%3)*3
				if seed%4 > 1 {
					w.bounds = rand.New(rand.NewPCG(seed, 2))
				}
				if len(limits.Buckets) > 0 {
					w.rests, w.reads = 20*time.Second, 2*w.limits.Retention()
				}
				for n := range 1200 {
					w.tick()
					if seed > 1 && w.random.IntN(100) == 0 {
						w.takeOver(t)
					}
					if seed > 3 && n%400 == 399 && len(limits.Windows) > 0 {
						w.change(t)
					}
					if n%50 == 0 {
						w.judge(t, fmt.Sprintf("seed %d, %v", seed, w.now))
					}
				}
				if n := w.whole.Report(w.local(w.now)).Calls; n < 100 {
					t.Fatalf("only %d calls", n)
				}
			}
		})
	}
}

// change gives the first window other calls, and adds a new one of the same length
// beside it or takes it away.
func (w *world) change(t *testing.T) {
	t.Helper()
	w.limits.Windows = slices.Clone(w.limits.Windows)
	first := &w.limits.Windows[0]
	first.Calls = 10 + w.random.IntN(40)
	if last := w.limits.Windows[len(w.limits.Windows)-1]; last.Name == "added" {
		w.limits.Windows = w.limits.Windows[:len(w.limits.Windows)-1]
	} else {
		added := *first
		added.Name, added.Calls = "added", first.Calls+3
		w.limits.Windows = append(w.limits.Windows, added)
	}
	w.arrivals, w.changes = nil, nil
	for _, set := range []func(budget.Limits) error{
		func(l budget.Limits) error { return w.budget.SetLimits(w.local(w.now), l) }, w.auditor.SetLimits, w.whole.SetLimits,
	} {
		if err := set(w.limits); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFindsALimiterThatCountsFromTheSendTime: the mistake of most limiters shows
// in the log.
func TestFindsALimiterThatCountsFromTheSendTime(t *testing.T) {
	limits := budget.Limits{Pacing: budget.Burst, Windows: []budget.Window{{Name: "second", Calls: 20, Per: time.Second}}}
	w := newWorld(t, 1, limits)
	w.reply = 400 * time.Millisecond
	for range 200 {
		for _, p := range w.pending {
			w.budget.Settle(p.s.GetPermit(), w.local(w.now-100*time.Millisecond))
		}
		w.tick()
	}
	s := w.whole.Report(w.local(w.now)).Limits[0]
	var arrivals []time.Duration
	for _, a := range w.arrivals {
		arrivals = append(arrivals, a.at)
	}
	if seen := closed(arrivals, time.Second); s.Largest <= s.Calls || s.Largest < seen {
		t.Errorf("the certificate says at most %d of %d; %d arrived", s.Largest, s.Calls, seen)
	}
}

// TestFindsALimiterThatMistakesABucket: what token buckets get wrong shows in the
// log, and not beside a limiter that does not.
func TestFindsALimiterThatMistakesABucket(t *testing.T) {
	limits := budget.Limits{Buckets: []budget.Bucket{{Name: "points", Capacity: 100, Refill: 40, Per: time.Second, Weighted: true}}}
	for name, mistake := range map[string]func(*world, pending){
		"none":                             func(*world, pending) {},
		"it drains from the send time on":  func(w *world, p pending) { w.budget.Settle(p.s.GetPermit(), p.s.GetIssuedAt().AsTime()) },
		"all of a cost is given back":      func(w *world, p pending) { w.budget.SettleFor(p.s.GetPermit(), w.local(w.now), 0) },
		"it forgets what it has no end of": func(w *world, p pending) { w.budget.Void(p.s.GetPermit()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, limits)
			w.reply, w.rests = 900*time.Millisecond, 6*time.Second
			for range 400 {
				for _, p := range w.pending {
					mistake(w, p)
				}
				w.tick()
			}
			report := w.whole.Report(w.local(w.now))
			s := report.Limits[0]
			saw := w.filled(s.Bucket, report.Through.Add(-w.limits.Tolerance))
			t.Logf("the certificate says at most %d of %d; a server saw %.1f", s.Largest, s.Calls, saw)
			if over := s.Largest > s.Calls; over == (name == "none") || float64(s.Largest) < saw {
				t.Errorf("the certificate says at most %d of %d; a server saw %.1f", s.Largest, s.Calls, saw)
			}
		})
	}
}

func TestPaceLatencyAndCallsPerDelivery(t *testing.T) {
	w := newWorld(t, 3, budget.Limits{Windows: []budget.Window{{Name: "minute", Calls: 100, Per: time.Minute, Headroom: 1}}})
	for range 20 * 180 {
		w.tick()
	}
	report := w.auditor.Report(w.local(w.now))
	if report.Pace < 96 || report.Pace > 99.5 {
		t.Errorf("pace %.2f a minute, want 99 less the void ones", report.Pace)
	}
	if report.Latency < 20*time.Millisecond || report.Latency > 120*time.Millisecond {
		t.Errorf("latency %v, replies take about 60 ms", report.Latency)
	}
	if s := report.Limits[0]; s.Last < 95 || s.Last > 100 || s.LargestSent > 100 {
		t.Errorf("%+v, want about 99 in the last minute", s)
	}
	later := w.auditor.Report(w.local(w.now + 10*time.Minute))
	if later.Pace != 0 || later.Limits[0].Last != 0 || later.Limits[0].Largest != report.Limits[0].Largest {
		t.Errorf("ten minutes after the last call: %+v", later)
	}
}

func BenchmarkAdd(b *testing.B) {
	limits := budget.Limits{Windows: []budget.Window{
		{Name: "second", Calls: 1000, Per: time.Second}, {Name: "minute", Calls: 60_000, Per: time.Minute}, {Name: "hour", Calls: 3_600_000, Per: time.Hour},
	}}
	a, err := New(limits)
	if err != nil {
		b.Fatal(err)
	}
	const perBlock = 100
	number, now := int64(0), epoch
	b.ReportAllocs()
	for b.Loop() {
		block := &ledgerv1.Block{Owner: "one", WrittenAt: timestamppb.New(now), Peaks: a.Peaks()}
		for range perBlock {
			number++
			block.Permits = append(block.Permits, &ledgerv1.Permit{
				Number: number, SendAt: block.GetWrittenAt(), NotAfter: block.GetWrittenAt(), Deadline: block.GetWrittenAt(),
			})
			if old := number - 2*perBlock; old > 0 {
				block.Settlements = append(block.Settlements, &ledgerv1.Settlement{Permit: old, SettledAt: block.GetWrittenAt()})
			}
		}
		now = now.Add(100 * time.Millisecond)
		a.Add(block, true)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(number), "ns/call")
}
