package certificate

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// minCloses is how many deliveries must have ended for their calls to be a
// measure.
const minCloses = 20

// silence is how long the log may say nothing of a call whose deadline is over
// until it counts as ended by it. A block says it sooner: it holds all that its
// writer knows, and while the bus is silent there is none.
const silence = time.Minute

// Auditor reads the log of one connector, block by block, and keeps the
// certificate. Its memory is a few bytes for each call that can still stand in a
// window, and what is under way. It is not safe for concurrent use.
type Auditor struct {
	limits budget.Limits
	judges []*judge
	// tail holds the calls that are not counted yet, by number; those before head
	// are.
	tail []call
	head int
	last int64 // the highest number seen

	owner    string
	restored int64 // when that owner began
	// parallel is how many calls that owner has under way at a time at most since
	// written, when its newest block was built; 0 where nothing bounds them.
	parallel int
	written  int64
	clock    int64 // the newest time seen
	pace     pace
	total    int64
	blocks   int // read so far
}

type state int

const (
	open state = iota
	settled
	// abandoned: its owner is gone, or says nothing after its deadline.
	abandoned
	void
)

// call is what the log knows of one permit, times in nanoseconds.
type call struct {
	number                   int64
	sent, notAfter, deadline int64
	// No byte left before began; the first had left by issued. 0 where that is not
	// on record.
	began, issued int64
	// ended is f of the package comment but for the declared bound; over is a time by
	// which it has arrived if it counts as one of those that were over then, 0 for none.
	ended, over int64
	// cost is what it was reserved for in buckets of points, spent what it did cost.
	cost, spent int64
	state       state
	waiting     bool // others waited behind it
	// judged has a bit for each judge whose limit was in force.
	judged uint64
}

// New returns an auditor that has read nothing, or what is wrong with the limits.
func New(limits budget.Limits) (*Auditor, error) {
	a := &Auditor{}
	if err := a.SetLimits(limits); err != nil {
		return nil, err
	}
	return a, nil
}

// SetLimits changes what is judged. A limit whose figures change is judged anew,
// by the calls that are handed out from now on.
func (a *Auditor) SetLimits(limits budget.Limits) error {
	limits, err := limits.Normal()
	if err != nil {
		return err
	}
	old := a.judges
	a.limits, a.judges = limits, nil
	moved := make([]uint64, len(old)) // the new bits of each old judge
	for n, limit := range limitsOf(limits) {
		j := newJudge(limit, a.skew())
		if i := slices.IndexFunc(old, func(o *judge) bool { return o.limit.like(limit) }); i >= 0 {
			if j.inherit(old[i]) {
				moved[i] |= 1 << n
			}
		} else if limit.Per > 0 {
			j.seed(longest(old))
		}
		a.judges = append(a.judges, j)
	}
	for i := range a.tail {
		was := a.tail[i].judged
		a.tail[i].judged = 0
		for bit, to := range moved {
			if was&(1<<bit) != 0 {
				a.tail[i].judged |= to
			}
		}
	}
	a.pace.setSpan(limitsOf(limits))
	return nil
}

// Add reads the next block. waiting says whether deliveries that might have gone
// were left waiting when it was written. Blocks must come in the order of the
// log; what an earlier block said is not said again.
func (a *Auditor) Add(block *ledgerv1.Block, waiting bool) {
	seen := a.clock
	a.clock = max(a.clock, block.GetWrittenAt().AsTime().UnixNano())
	a.blocks++
	// Before the owner changes: the first block of one holds what it read of those before.
	judged := a.adopt(block.GetPeaks())
	if restored := nanos(block.GetRestoredAt()); block.GetOwner() != a.owner || restored != a.restored {
		a.takeOver(block.GetOwner() != a.owner, restored, seen)
		a.owner, a.restored = block.GetOwner(), restored
	}
	a.parallel, a.written = int(block.GetParallel()), block.GetWrittenAt().AsTime().UnixNano()
	for i, p := range block.GetPermits() {
		if p.GetNumber() <= a.last {
			continue
		}
		a.last = p.GetNumber()
		a.tail = append(a.tail, call{
			number: p.GetNumber(), judged: judged, waiting: waiting || i < len(block.GetPermits())-1,
			sent: nanos(p.GetSendAt()), notAfter: nanos(p.GetNotAfter()), deadline: nanos(p.GetDeadline()),
			cost: max(p.GetCost(), 1), spent: max(p.GetCost(), 1),
		})
	}
	calls := 0
	for _, s := range block.GetSettlements() {
		if !s.GetVoid() {
			calls++
		}
		a.settle(s)
	}
	a.pace.block(a.clock, calls, len(block.GetCloses()))
	a.count(a.clock - int64(a.limits.Grace) - a.skew())
}

// settle ends a call. What is counted already, or was never read, is left out.
func (a *Auditor) settle(s *ledgerv1.Settlement) {
	waiting := a.tail[a.head:]
	i := sort.Search(len(waiting), func(i int) bool { return waiting[i].number >= s.GetPermit() })
	if i == len(waiting) || waiting[i].number != s.GetPermit() || waiting[i].state != open {
		return
	}
	c := &waiting[i]
	if s.GetVoid() {
		c.state = void
		return
	}
	c.state, c.ended = settled, nanos(s.GetSettledAt())
	c.began, c.issued = nanos(s.GetFirstByteAt()), nanos(s.GetIssuedAt())
	if s.Spent != nil {
		c.spent = max(s.GetSpent(), 0)
	}
}

// takeOver notes that another owner writes from here on; seen is the newest time of
// those before. What is open stays without a settlement. Another process may have another clock; one of the same
// name was dead by then, and its connections with it.
func (a *Auditor) takeOver(other bool, restored, seen int64) {
	for _, j := range a.judges {
		j.leave(a.tail[a.head:], a.written, seen)
	}
	var left []*call
	over := a.written
	for i := range a.tail[a.head:] {
		c := &a.tail[a.head+i]
		if c.state != open {
			continue
		}
		a.abandon(c)
		if dead := restored + int64(a.limits.Grace); !other && restored != 0 {
			c.ended = min(c.ended, dead)
		}
		left, over = append(left, c), max(over, c.notAfter)
	}
	if !other && restored != 0 {
		over = min(over, restored)
	}
	if a.parallel > 0 && len(left) > a.parallel {
		slices.SortStableFunc(left, func(x, y *call) int { return cmp.Compare(y.ended, x.ended) })
		for _, c := range left[a.parallel:] {
			c.over = over
		}
	}
	// Until here all was by one clock.
	a.count(a.clock)
	for _, j := range a.judges {
		j.takeOver(other, restored)
	}
}

func (a *Auditor) abandon(c *call) {
	c.state, c.ended = abandoned, c.deadline+int64(a.limits.Grace)
}

// count counts the calls that have ended up to the first that has not. One whose
// deadline was over at overdue will not be heard of any more.
func (a *Auditor) count(overdue int64) {
	for a.head < len(a.tail) {
		c := &a.tail[a.head]
		if c.state == open {
			if overdue <= c.deadline {
				break
			}
			a.abandon(c)
		}
		a.head++
		if c.state == void {
			continue
		}
		a.total++
		a.pace.add(c)
		for n, j := range a.judges {
			j.take(c, c.judged&(1<<n) != 0)
		}
	}
	if a.head > 64 && a.head > len(a.tail)/2 {
		a.tail = a.tail[:copy(a.tail, a.tail[a.head:])]
		a.head = 0
	}
}

func (a *Auditor) skew() int64 { return 2 * int64(a.limits.ClockTolerance) }

// Peaks returns the figures so far, for the next block: with them the
// certificate goes on where the next owner begins to read, and the block says
// under which limits its calls were handed out.
func (a *Auditor) Peaks() []*ledgerv1.Peak {
	peaks := make([]*ledgerv1.Peak, 0, len(a.judges))
	for _, j := range a.judges {
		j.moveOn(a.tail[a.head:], a.written, a.clock)
		peak := &ledgerv1.Peak{
			Limit: j.limit.Name, Calls: int64(j.limit.Calls), Largest: int64(j.largest), LargestSent: int64(j.sent),
		}
		if j.limit.Per > 0 {
			peak.Per = durationpb.New(j.limit.Per)
		}
		if j.limit.ArrivesWithin > 0 {
			peak.ArrivesWithin = durationpb.New(j.limit.ArrivesWithin)
		}
		if k := j.tank; k != nil {
			left, asOf := k.carries()
			peak.Tank = &ledgerv1.Tank{
				Refill: k.Refill, Per: durationpb.New(time.Duration(k.Per)), Points: k.Points,
				Level: left.whole, Part: left.part, AsOf: timestamppb.New(moment(asOf)),
			}
		}
		if j.reachedAt != 0 {
			peak.ReachedAt = timestamppb.New(moment(j.reachedAt))
		}
		if !j.since.IsZero() {
			peak.Since = timestamppb.New(j.since)
		}
		peaks = append(peaks, peak)
	}
	return peaks
}

// adopt takes in figures that a block carries, and returns which judges' limits
// were in force when it was written.
func (a *Auditor) adopt(peaks []*ledgerv1.Peak) (judged uint64) {
	for n, j := range a.judges {
		for _, p := range peaks {
			found := limitOf(p)
			if j.tank != nil && j.limit.like(found) {
				a.carry(j.tank, p.GetTank())
			}
			if !j.limit.same(found) {
				continue
			}
			judged |= 1 << n
			if int(p.GetLargest()) > j.largest {
				j.largest, j.reachedAt = int(p.GetLargest()), nanos(p.GetReachedAt())
			}
			j.sent = max(j.sent, int(p.GetLargestSent()))
			if since := p.GetSince(); since != nil && (j.since.IsZero() || since.AsTime().Before(j.since)) {
				j.since = since.AsTime()
			}
			break
		}
		if j.since.IsZero() && judged&(1<<n) != 0 {
			j.since = moment(a.clock)
		}
	}
	return judged
}

// carry takes in the level that a block carries.
func (a *Auditor) carry(into *tank, k *ledgerv1.Tank) {
	if k.GetLevel() < 0 || k.GetPart() < 0 || k.GetPart() >= into.Per {
		return
	}
	// Whether the first block that was read is also its owner's first, and what it
	// carries that of an owner before, nobody knows, so that it was taken for that; the
	// second one says what it is.
	if a.blocks == 2 && k.GetAsOf() != nil {
		into.forget()
	}
	into.carry(amount{k.GetLevel(), k.GetPart()}, nanos(k.GetAsOf()))
}

// limitOf is what a peak was found under.
func limitOf(p *ledgerv1.Peak) Limit {
	l := Limit{Calls: int(p.GetCalls()), Per: p.GetPer().AsDuration(), ArrivesWithin: p.GetArrivesWithin().AsDuration()}
	if k := p.GetTank(); k != nil {
		l.Bucket = Bucket{Refill: k.GetRefill(), Per: int64(k.GetPer().AsDuration()), Points: k.GetPoints()}
	}
	return l
}

// nanos is t in nanoseconds since 1970, 0 where it is absent.
func nanos(t *timestamppb.Timestamp) int64 { return t.AsTime().UnixNano() }

func moment(n int64) time.Time { return time.Unix(0, n).UTC() }
