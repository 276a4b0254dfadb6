package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// Record is one block and its sequence in the stream.
type Record struct {
	Sequence uint64
	Block    *ledgerv1.Block
}

// State is what a sequence of blocks says.
type State struct {
	// LastSequence is the newest block's; 0 where there is none.
	LastSequence uint64
	WrittenAt    time.Time
	LastPermit   int64
	NextSend     time.Time
	ClosedUntil  time.Time
	// ClosedBecause says why, as people read it.
	ClosedBecause string
	// Permits are those handed out, void ones left out, by number.
	Permits []Permit
	// Parallel is how many calls a holder of permits had under way at most at a time;
	// a holder that is not in it, as many as it held.
	Parallel map[string]budget.Bound
	// Levels is what the newest block says of buckets, and Writer its holder.
	Levels []budget.Level
	Writer string
	// Claims are the open ones, in the order in which they were first made.
	Claims []Claim
	// Closes are those of the blocks read, oldest first.
	Closes []Close
	// Deferrals are those of the blocks read that no claim or close has followed,
	// oldest first.
	Deferrals []Deferral
}

// Permit is one permit and how it ended.
type Permit struct {
	budget.Permit
	DeliveryID string
	// Owner handed it out. Holder tells its terms apart: each is named once.
	Owner, Holder string
	// SettledAt is zero where no settlement is recorded.
	SettledAt time.Time
	// Sequence is that of its block.
	Sequence uint64
}

// Claim is an open claim, merged over its attempts: what is sent comes from the
// newest whole one, permit, attempt, next attempt and arrived_by from the newest.
type Claim struct {
	*ledgerv1.Claim
	// Sequence is that of the newest block that holds the whole claim, At when that
	// was written.
	Sequence uint64
	At       time.Time
}

// Close is the end of a delivery.
type Close struct {
	*ledgerv1.Close
	Sequence uint64
}

// Deferral is the end of a claim whose delivery goes on after a wait.
type Deferral struct {
	*dispatchv1.Waiting
	Sequence uint64
}

// Folder folds records one at a time. It is not safe for concurrent use.
type Folder struct {
	state   State
	permits map[int64]*Permit
	claims  map[string]*Claim
	order   map[string]uint64
	closes  []Close
	// deferrals are by delivery.
	deferrals map[string]Deferral
	// parts holds further attempts of claims that were made before the first record
	// read, with the sequence. They are closed further on: what is open would have
	// been read in full.
	parts map[string]uint64
}

// NewFolder returns an empty one.
func NewFolder() *Folder {
	return &Folder{
		state:   State{Parallel: make(map[string]budget.Bound)},
		permits: make(map[int64]*Permit), claims: make(map[string]*Claim), order: make(map[string]uint64), parts: make(map[string]uint64),
		deferrals: make(map[string]Deferral),
	}
}

// Add folds in the next record; it keeps the block, which must not be changed
// afterwards.
func (f *Folder) Add(r Record) error {
	if err := check(r.Block); err != nil {
		return fmt.Errorf("%w at sequence %d: %w", ErrMalformed, r.Sequence, err)
	}
	s, b := &f.state, r.Block
	if r.Sequence <= s.LastSequence {
		return fmt.Errorf("%w at sequence %d: it was read after sequence %d", ErrMalformed, r.Sequence, s.LastSequence)
	}
	holder := holderOf(b)
	// It held when the block was built: before that another one may have.
	if s.Parallel[holder] = (budget.Bound{Calls: int(b.GetParallel()), Since: b.GetWrittenAt().AsTime()}); b.GetParallel() == 0 {
		delete(s.Parallel, holder)
	}
	for _, p := range b.GetPermits() {
		if p.GetNumber() <= s.LastPermit {
			return fmt.Errorf("%w at sequence %d: permit %d was handed out before", ErrMalformed, r.Sequence, p.GetNumber())
		}
		f.permits[p.GetNumber()] = &Permit{
			Permit: budget.Permit{
				Number: p.GetNumber(), SendAt: p.GetSendAt().AsTime(),
				NotAfter: p.GetNotAfter().AsTime(), Deadline: p.GetDeadline().AsTime(), Cost: max(p.GetCost(), 1),
			},
			DeliveryID: p.GetDeliveryId(), Owner: b.GetOwner(), Holder: holder, Sequence: r.Sequence,
		}
	}
	for _, e := range b.GetSettlements() {
		// A permit from before the first block read no longer counts.
		p, ok := f.permits[e.GetPermit()]
		switch {
		case !ok:
		case e.GetVoid():
			delete(f.permits, e.GetPermit())
		case p.SettledAt.IsZero():
			p.SettledAt = e.GetSettledAt().AsTime()
		}
	}
	// Closes became known before this block was written, claims are for its own
	// calls: a delivery closed and claimed in one block is open.
	for _, d := range b.GetDeferrals() {
		f.end(d.GetDelivery().GetId())
		f.deferrals[d.GetDelivery().GetId()] = Deferral{d, r.Sequence}
	}
	for _, c := range b.GetCloses() {
		f.end(c.GetResult().GetDeliveryId())
		f.closes = append(f.closes, Close{c, r.Sequence})
	}
	for _, c := range b.GetClaims() {
		f.claim(c, r.Sequence, b.GetWrittenAt().AsTime())
	}
	s.LastSequence = r.Sequence
	s.WrittenAt, s.LastPermit = b.GetWrittenAt().AsTime(), max(s.LastPermit, b.GetLastPermit())
	s.NextSend, s.ClosedUntil = instant(b.GetNextSend()), instant(b.GetClosedUntil())
	s.ClosedBecause = b.GetClosedBecause()
	s.Levels, s.Writer = nil, holder
	for _, l := range b.GetLevels() {
		s.Levels = append(s.Levels, budget.Level{
			Name: l.GetLimit(), Refill: l.GetRefill(), Per: l.GetPer().AsDuration(), Weighted: l.GetPoints(), Drained: l.GetDrainedAt().AsTime(),
			AsOf: l.GetAsOf().AsTime(),
		})
	}
	return nil
}

// holderOf names the term of ownership in which a block was written: an owner that
// starts again, in the same epoch even, reads the ledger anew.
func holderOf(b *ledgerv1.Block) string {
	return fmt.Sprintf("%s/%d/%d", b.GetOwner(), b.GetEpoch(), b.GetRestoredAt().AsTime().UnixNano())
}

// end ends a delivery's claim.
func (f *Folder) end(id string) {
	delete(f.claims, id)
	delete(f.order, id)
	delete(f.parts, id)
	delete(f.deferrals, id)
}

func (f *Folder) claim(c *ledgerv1.Claim, sequence uint64, at time.Time) {
	id := c.GetDelivery().GetId()
	open, ok := f.claims[id]
	switch {
	case ok && whole(c):
		// The same once more, or one in place of a claim that was given up.
		open.Claim, open.Sequence, open.At = proto.CloneOf(c), sequence, at
	case ok:
		merge(open.Claim, c)
	case whole(c):
		f.claims[id] = &Claim{Claim: proto.CloneOf(c), Sequence: sequence, At: at}
		f.order[id] = sequence
		delete(f.parts, id)
		delete(f.deferrals, id)
	default:
		f.parts[id] = sequence
	}
}

// State returns what was folded so far, or an error if a claim is open of which
// only a further attempt was read. The claims and closes are shared with the
// folder.
func (f *Folder) State() (State, error) {
	for id, sequence := range f.parts {
		return State{}, fmt.Errorf(
			"%w at sequence %d: it repeats the open claim of delivery %q, which no block read before holds; read from an earlier sequence",
			ErrMalformed, sequence, id)
	}
	s := f.state
	s.Parallel = maps.Clone(s.Parallel)
	for _, n := range slices.Sorted(maps.Keys(f.permits)) {
		s.Permits = append(s.Permits, *f.permits[n])
	}
	for _, c := range f.claims {
		s.Claims = append(s.Claims, *c)
	}
	slices.SortFunc(s.Claims, func(x, y Claim) int {
		xid, yid := x.GetDelivery().GetId(), y.GetDelivery().GetId()
		return cmp.Or(cmp.Compare(f.order[xid], f.order[yid]), cmp.Compare(xid, yid))
	})
	s.Closes = slices.Clone(f.closes)
	s.Deferrals = slices.SortedFunc(maps.Values(f.deferrals), func(x, y Deferral) int {
		return cmp.Or(cmp.Compare(x.Sequence, y.Sequence), cmp.Compare(x.GetDelivery().GetId(), y.GetDelivery().GetId()))
	})
	return s, nil
}

// History returns what the budget of the next owner must know of those before.
// gone is the name of an owner whose process is known to have ended, empty for none:
// mostly the next owner's own, since a name belongs to one process at a time.
func (s State) History(gone string) budget.History {
	h := budget.History{
		LastPermit: s.LastPermit, NextSend: s.NextSend, ClosedUntil: s.ClosedUntil, Parallel: s.Parallel,
		Levels: s.Levels, Writer: s.Writer,
	}
	for _, p := range s.Permits {
		h.Permits = append(h.Permits, budget.Past{Permit: p.Permit, Holder: p.Holder, SettledAt: p.SettledAt, Gone: gone != "" && p.Owner == gone})
	}
	return h
}

// ArrivedBy returns by when the requests of a claim's attempts with an unknown
// outcome have arrived, if they arrive at all; zero where no outcome is unknown.
// An attempt that was under way when its owner ended counts as one. limits are
// those of the budget; the clocks of both owners may be wrong in opposite ways.
func (s State) ArrivedBy(c *ledgerv1.Claim, limits budget.Limits) time.Time {
	earlier := instant(c.GetArrivedBy())
	if c.GetNextAttemptAt() != nil {
		return earlier
	}
	// Its permit need not be found any more: then it had settled, or died, before
	// the newest block was written.
	newest := s.WrittenAt
	i, found := slices.BinarySearchFunc(s.Permits, c.GetPermit(), func(p Permit, number int64) int { return cmp.Compare(p.Number, number) })
	if found {
		if newest = s.Permits[i].SettledAt; newest.IsZero() {
			newest = s.Permits[i].Deadline.Add(limits.Grace)
		}
	}
	if newest = newest.Add(2 * limits.ClockTolerance); newest.Before(earlier) {
		return earlier
	}
	return newest
}

// whole says that a claim holds what is sent; a further attempt of a claim that
// is on record names the delivery alone.
func whole(c *ledgerv1.Claim) bool { return c.GetDelivery().GetOperation() != "" }

// merge brings an open claim up to a further attempt.
func merge(open, further *ledgerv1.Claim) {
	open.Permit, open.Attempt, open.NextAttemptAt = further.GetPermit(), further.GetAttempt(), further.GetNextAttemptAt()
	open.ArrivedBy = further.GetArrivedBy()
}

// instant is t as a time, zero where it is absent.
func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
