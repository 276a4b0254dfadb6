package certificate

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

var epoch = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

func at(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(epoch.Add(d)) }

// truth is one call as it was.
type truth struct {
	sent, issued, arrived, settled time.Duration
	void, lost                     bool // lost: it never ends by itself
	reported                       bool
	cost, spent                    int64
}

// trial is a log without any limiter behind it, written from a random history.
type trial struct {
	limits  budget.Limits
	auditor *Auditor
	calls   []truth
	now     time.Duration
}

func (w *trial) block(t *rapid.T, permits int, whole bool) {
	block := &ledgerv1.Block{Connector: "erp", Owner: "one", WrittenAt: at(w.now), Peaks: w.auditor.Peaks()}
	sent := w.now
	if n := len(w.calls); n > 0 {
		sent = max(sent, w.calls[n-1].sent)
	}
	for range permits {
		sent += duration(t, 0, 300*time.Millisecond, "gap")
		c := truth{sent: sent, void: rapid.IntRange(0, 7).Draw(t, "void") == 0, lost: rapid.IntRange(0, 15).Draw(t, "lost") == 0}
		c.issued = c.sent + duration(t, 0, w.limits.Tolerance, "late")
		out := duration(t, 0, 2*time.Second, "out")
		for _, l := range w.limits.Windows {
			if l.ArrivesWithin > 0 {
				out = min(out, l.ArrivesWithin)
			}
		}
		// It arrives after its first byte and before it is settled.
		c.arrived = c.issued + out
		c.settled = c.arrived + duration(t, 1, 2*time.Second, "back")
		if latest := c.sent + w.limits.Tolerance + w.limits.CallTimeout + w.limits.Grace; c.lost || c.settled > latest {
			c.settled = latest
			c.arrived = min(c.arrived, latest)
		}
		c.cost = rapid.Int64Range(1, 6).Draw(t, "cost")
		c.spent = c.cost
		if rapid.Bool().Draw(t, "tells") {
			c.spent = rapid.Int64Range(0, c.cost+1).Draw(t, "spent")
		}
		w.calls = append(w.calls, c)
		notAfter := c.sent + w.limits.Tolerance
		block.Permits = append(block.Permits, &ledgerv1.Permit{
			Number: int64(len(w.calls)), SendAt: at(c.sent), NotAfter: at(notAfter), Deadline: at(notAfter + w.limits.CallTimeout), Cost: c.cost,
		})
	}
	for i := range w.calls {
		c := &w.calls[i]
		due := whole || w.now > c.sent+w.limits.Tolerance+w.limits.CallTimeout+w.limits.Grace
		if c.reported || c.lost && !c.void || c.settled > w.now || !due && rapid.IntRange(0, 5).Draw(t, "later") == 0 {
			continue
		}
		c.reported = true
		s := &ledgerv1.Settlement{Permit: int64(i + 1), Void: c.void}
		if !c.void {
			s.SettledAt, s.FirstByteAt, s.IssuedAt = at(c.settled), at(c.issued-c.issued%2), at(c.issued)
			if c.spent != c.cost {
				s.Spent = &c.spent
			}
		}
		block.Settlements = append(block.Settlements, s)
	}
	w.auditor.Add(block, false)
}

// depth is how many intervals share a point, by trying all points where one
// begins: a way of counting that has nothing in common with the auditor's.
// An open interval does not hold its end.
func depth(intervals [][2]time.Duration, open bool) int {
	most := 0
	for k, i := range intervals {
		n := 0
		for l, o := range intervals {
			if k == l || o[0] <= i[0] && (i[0] < o[1] || !open && i[0] == o[1]) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// closed is the most instants in any closed window.
func closed(instants []time.Duration, per time.Duration) int {
	slices.Sort(instants)
	most, from := 0, 0
	for to := range instants {
		for instants[to]-instants[from] > per {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

func duration(t *rapid.T, lo, hi time.Duration, label string) time.Duration {
	share := rapid.SampledFrom([]int64{0, 0, 1, 10, 100, 250, 500, 900, 1000}).Draw(t, label)
	return lo + (hi-lo)*time.Duration(share)/1000
}

func someLimits(t *rapid.T) budget.Limits {
	limits := budget.Limits{
		Tolerance: duration(t, 1, 500*time.Millisecond, "tolerance"), CallTimeout: duration(t, 1, 3*time.Second, "timeout"),
		Grace: duration(t, 1, 200*time.Millisecond, "grace"), ClockTolerance: 20 * time.Millisecond,
		Concurrency: []budget.Concurrency{{Name: "parallel", Calls: 3}},
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "windows") {
		w := budget.Window{Name: string(rune('a' + i)), Calls: 5, Per: duration(t, 100*time.Millisecond, 5*time.Second, "per")}
		if rapid.Bool().Draw(t, "declared") {
			w.ArrivesWithin = duration(t, 1, 500*time.Millisecond, "arrives within")
		}
		limits.Windows = append(limits.Windows, w)
	}
	for i := range 2 {
		limits.Buckets = append(limits.Buckets, budget.Bucket{
			Name: string(rune('x' + i)), Capacity: 20, Refill: rapid.Int64Range(1, 7).Draw(t, "refill"),
			Per: duration(t, 50*time.Millisecond, 2*time.Second, "refill per"), Weighted: i == 0,
		})
	}
	return limits
}

// highest is the highest level of a bucket, and the one at a time: a call that can
// be under way holds all that it is reserved for, and what others left since a moment
// has drained since then, whichever moment gives the most. All in nanoseconds of Per.
func (w *trial) highest(b Bucket, last time.Duration) (highest, then int64) {
	level := func(t time.Duration, of int) int64 {
		from := []time.Duration{t}
		for _, c := range w.calls {
			if !c.void && c.settled <= t {
				from = append(from, c.settled)
			}
		}
		most := int64(0)
		for _, s := range from {
			sum := -b.Refill * int64(t-s)
			for i, c := range w.calls {
				whole, spent := b.Per*b.weigh(max(c.cost, c.spent)), b.Per*b.weigh(c.spent)
				switch {
				case c.void:
				case i == of, w.begun(c) <= t && t < c.settled:
					sum += whole
				case s <= c.settled && c.settled <= t:
					sum += spent
				}
			}
			most = max(most, sum)
		}
		return most
	}
	for k, c := range w.calls {
		if !c.void {
			highest = max(highest, level(w.begun(c), k))
		}
	}
	return highest, level(last, -1)
}

// begun is when no byte of it had left before, as the log says.
func (w *trial) begun(c truth) time.Duration {
	if !c.reported {
		return c.sent
	}
	return max(c.sent, c.issued-c.issued%2)
}

// upTo rounds nanoseconds of Per up to whole ones.
func upTo(amount, per int64) int { return int((amount + per - 1) / per) }

// TestEqualsBruteForce: once every call has ended the figures are exactly the
// depth of the intervals; at any time no fewer calls are reported than arrived.
func TestEqualsBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits, err := someLimits(t).Normal()
		if err != nil {
			t.Fatal(err)
		}
		w := &trial{limits: limits}
		if w.auditor, err = New(limits); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 25).Draw(t, "blocks") {
			w.now += duration(t, 0, 2*time.Second, "pause")
			w.block(t, rapid.IntRange(0, 6).Draw(t, "permits"), false)
			report := w.auditor.Report(epoch.Add(w.now))
			w.covers(t, report)
		}
		w.now += time.Hour
		w.block(t, 0, true)
		w.now += time.Hour
		w.fills(t)
		report := w.auditor.Report(epoch.Add(w.now))
		if report.Through != epoch.Add(w.now) {
			t.Fatalf("through %v, want now: everything has ended", report.Through)
		}
		w.equals(t, report)
	})
}

// fills demands that the levels are those of brute force.
func (w *trial) fills(t *rapid.T) {
	for i := range w.calls {
		if c := &w.calls[i]; !c.reported {
			c.spent = c.cost // nobody heard of it
		}
	}
	last := w.now - time.Hour + time.Millisecond
	for n, s := range w.auditor.Report(epoch.Add(last)).Limits {
		if !s.IsBucket() {
			continue
		}
		highest, then := w.highest(s.Bucket, last)
		if want := upTo(highest, s.Bucket.Per); s.Largest != want {
			t.Fatalf("limit %d, %+v: the certificate says a level of at most %d, brute force %d", n, s.Limit, s.Largest, want)
		}
		if want := upTo(then, s.Bucket.Per); s.Last != want {
			t.Fatalf("limit %d, %+v: the certificate says a level of %d at the end, brute force %d", n, s.Limit, s.Last, want)
		}
	}
}

// covers demands that the figures hold for every call before Through.
func (w *trial) covers(t *rapid.T, report Report) {
	for _, s := range report.Limits {
		var arrivals []time.Duration
		for _, c := range w.calls {
			if !c.void && epoch.Add(c.issued).Before(report.Through) {
				arrivals = append(arrivals, c.arrived)
			}
		}
		if n := closed(arrivals, s.Per); s.Per > 0 && n > s.Largest {
			t.Fatalf("limit %+v: %d calls arrived in one window before %v, the certificate says %d", s.Limit, n, report.Through, s.Largest)
		}
	}
}

func (w *trial) equals(t *rapid.T, report Report) {
	counted := int64(0)
	for _, s := range report.Limits {
		if s.IsBucket() {
			continue
		}
		var intervals [][2]time.Duration
		var sends []time.Duration
		counted = 0
		for _, c := range w.calls {
			if c.void {
				continue
			}
			counted++
			end := c.settled
			if !c.reported {
				c.issued = c.sent + w.limits.Tolerance
			}
			begin := c.sent
			if s.Per == 0 && !c.reported {
				continue // of which nobody knows
			}
			if c.reported {
				begin = max(begin, c.issued-c.issued%2)
			}
			if s.ArrivesWithin > 0 {
				end = min(end, c.issued+s.ArrivesWithin)
			}
			end += s.Per
			intervals = append(intervals, [2]time.Duration{begin, end})
			sends = append(sends, begin)
		}
		if n := depth(intervals, s.Per == 0); n != s.Largest {
			t.Fatalf("limit %+v: the certificate says %d, brute force %d of %v", s.Limit, s.Largest, n, intervals)
		}
		if n := closed(sends, s.Per); s.Per > 0 && n != s.LargestSent {
			t.Fatalf("limit %+v: %d send times in one window, brute force %d", s.Limit, s.LargestSent, n)
		}
		if s.Last != 0 {
			t.Fatalf("limit %+v: %d in the last window, an hour after the last call", s.Limit, s.Last)
		}
	}
	if report.Calls != counted {
		t.Fatalf("%d calls are counted, %d were made", report.Calls, counted)
	}
}
