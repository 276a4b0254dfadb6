package certificate

import (
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
	arrivals []time.Duration
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
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), limits: limits, reply: 40 * time.Millisecond}
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
		w.arrivals = slices.DeleteFunc(w.arrivals, func(a time.Duration) bool { return a > w.now+w.limits.Grace })
	} else {
		w.owner++
		w.offset = time.Duration(w.random.Int64N(2*int64(w.limits.ClockTolerance)+1)) - w.limits.ClockTolerance
	}
	w.began = w.local(w.now)
	var err error
	if w.budget, err = budget.New(w.limits); err != nil {
		t.Fatal(err)
	}
	if w.auditor, err = New(w.limits); err != nil {
		t.Fatal(err)
	}
	history := budget.History{}
	permits := map[int64]budget.Past{}
	name := fmt.Sprint(w.owner)
	for _, b := range w.log {
		// A new owner does not read everything; peaks carry the rest.
		recent := b.GetWrittenAt().AsTime().After(epoch.Add(w.now - 20*time.Second))
		if recent {
			w.auditor.Add(b, false)
		}
		history.LastPermit, history.NextSend = b.GetLastPermit(), b.GetNextSend().AsTime()
		for _, p := range b.GetPermits() {
			permits[p.GetNumber()] = budget.Past{Permit: budget.Permit{
				Number: p.GetNumber(), SendAt: p.GetSendAt().AsTime(), NotAfter: p.GetNotAfter().AsTime(), Deadline: p.GetDeadline().AsTime(),
			}, Gone: b.GetOwner() == name}
		}
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
	w.pending = slices.DeleteFunc(w.pending, func(p pending) bool {
		if p.at > w.now {
			return false
		}
		block.Settlements = append(block.Settlements, p.s)
		if p.s.GetVoid() {
			w.budget.Void(p.s.GetPermit())
		} else {
			w.budget.Settle(p.s.GetPermit(), p.s.GetSettledAt().AsTime())
		}
		return true
	})
	for _, p := range w.budget.Reserve(now, 100*time.Millisecond, 1000) {
		block.Permits = append(block.Permits, &ledgerv1.Permit{
			Number: p.Number, SendAt: timestamppb.New(p.SendAt), NotAfter: timestamppb.New(p.NotAfter), Deadline: timestamppb.New(p.Deadline),
		})
		w.send(p)
	}
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
	arrived := sent + reply/4
	for _, l := range w.limits.Windows {
		if l.ArrivesWithin > 0 {
			arrived = min(arrived, sent+l.ArrivesWithin)
		}
	}
	settled := sent + reply
	latest := p.Deadline.Sub(epoch) - w.offset
	arrived, settled = min(arrived, latest), min(settled, latest)
	w.arrivals = append(w.arrivals, arrived)
	w.budget.Issued(p.Number, w.local(sent))
	w.pending = append(w.pending, pending{settled, &ledgerv1.Settlement{
		Permit: p.Number, SettledAt: timestamppb.New(w.local(settled)),
		FirstByteAt: timestamppb.New(w.local(sent)), IssuedAt: timestamppb.New(w.local(sent)),
	}})
}

// judge holds the certificates against the limits and against the server.
func (w *world) judge(t *testing.T, when string) {
	t.Helper()
	for who, auditor := range map[string]*Auditor{"the owner's": w.auditor, "the whole log's": w.whole} {
		report := auditor.Report(w.local(w.now))
		for _, s := range report.Limits {
			if s.Largest > s.Calls || s.LargestSent > s.Largest {
				t.Errorf("%s: %s certificate of %q: at most %d of %d, %d sent", when, who, s.Name, s.Largest, s.Calls, s.LargestSent)
			}
			var seen []time.Duration
			for _, a := range w.arrivals {
				// Two clocks' tolerance of what Through may mean.
				if epoch.Add(a).Before(report.Through.Add(-2*w.limits.ClockTolerance - w.limits.Tolerance)) {
					seen = append(seen, a)
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
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				limits := limits
				limits.CallTimeout, limits.Grace = 2*time.Second, 100*time.Millisecond
				w := newWorld(t, seed, limits)
				if seed%2 == 1 {
					w.reply = 700 * time.Millisecond
				}
				for n := range 1200 {
					w.tick()
					if seed > 1 && w.random.IntN(100) == 0 {
						w.takeOver(t)
					}
					if seed > 3 && n%400 == 399 {
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
	w.arrivals = nil
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
	if seen := closed(w.arrivals, time.Second); s.Largest <= s.Calls || s.Largest < seen {
		t.Errorf("the certificate says at most %d of %d; %d arrived", s.Largest, s.Calls, seen)
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
