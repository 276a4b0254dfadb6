package ledger

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// Bounds of a block. A broker's usual largest message is 1 MiB; what is left is
// for headers and for records that grow with later versions.
const (
	// MaxBlockBytes bounds an encoded block.
	MaxBlockBytes = 640 << 10
	// MaxEntryBytes bounds one claim, with its payload, and one close.
	MaxEntryBytes = 384 << 10
	// MaxPermits bounds the permits of a block; ask the budget for no more.
	MaxPermits = 1024

	// maxSettlementBytes is kept free for settlements in every block.
	maxSettlementBytes = 64 << 10
	// maxHeadBytes is kept free for the fields of the block itself.
	maxHeadBytes = 4 << 10
	// mostWords bounds, in bytes, what people and systems say in it.
	mostWords = 500
	// carryAfter is how many blocks back the oldest claim may be before it is
	// written again, so that a new owner has little to read.
	carryAfter = 1024
	// carryAge is how old a claim's block may be before it is written again,
	// whatever else holds the reading back: the store forgets blocks after 30 days,
	// and a claim may be open for as long as a connector is paused. The 20 days
	// between are for when no owner runs.
	carryAge = 10 * 24 * time.Hour
	// carryAtOnce bounds how many are written again in one block.
	carryAtOnce = 64
)

// Errors of Recorder. Test with errors.Is.
var (
	// ErrBlockFull: the entry does not fit into the block that is being
	// collected; write that one and try again.
	ErrBlockFull = errors.New("ledger block is full")
	// ErrEntryTooLarge: the entry fits into no block; it has to be held or cut.
	ErrEntryTooLarge = errors.New("ledger entry is too large")
)

// Identity says who writes.
type Identity struct {
	Connector string
	Owner     string
	Epoch     uint64
}

// Recorder collects what happens between two blocks and keeps what a new owner
// would have to read. It is not safe for concurrent use.
type Recorder struct {
	identity Identity
	limits   budget.Limits
	last     uint64
	ordinal  uint64
	// carryAfter and carryAge are the constants of those names.
	carryAfter uint64
	carryAge   time.Duration

	pending  pending
	building *ledgerv1.Block
	// parallel is what blocks are to say of it, and onRecord what the newest says.
	parallel, onRecord int32
	// because is why it is closed, as long as it is.
	because string

	permits lineup[int64]
	ends    map[int64]end
	claims  map[string]*entry
	claimed lineup[string]
	// closes are the ends of claims that must be found, deferrals among them.
	closes map[string]uint64
	closed lineup[string]
}

// pending is what the next block will hold.
type pending struct {
	permits     []*ledgerv1.Permit
	claims      []*ledgerv1.Claim
	settlements []*ledgerv1.Settlement
	closes      []*ledgerv1.Close
	deferrals   []*dispatchv1.Waiting
	reopenings  []*ledgerv1.Reopening
	// bytes is the encoded size of all but the settlements.
	bytes int
}

// entry is a claim and where it stands in full; sequence is 0 until that block,
// which is from at, is committed. A closed one stays until its close is in a block: an owner that
// found neither would take the delivery for one that was never sent.
type entry struct {
	claim    *ledgerv1.Claim
	sequence uint64
	at       time.Time
	recorded bool
	closed   bool
}

// end is until when a permit must be found by a new owner.
type end struct {
	deadline time.Time
	settled  time.Time
	void     bool
}

// NewRecorder returns the recorder of an owner that has read state. Closes in it
// count as not acknowledged until Acked says so.
func NewRecorder(identity Identity, limits budget.Limits, state State) (*Recorder, error) {
	limits, err := limits.Normal()
	if err != nil {
		return nil, err
	}
	if identity.Connector == "" {
		return nil, errors.New("ledger: the identity names no connector")
	}
	r := &Recorder{
		identity: identity, limits: limits, last: state.LastSequence, carryAfter: carryAfter, carryAge: carryAge,
		ends: make(map[int64]end), claims: make(map[string]*entry), closes: make(map[string]uint64),
		because: state.ClosedBecause,
	}
	for _, p := range state.Permits {
		r.ends[p.Number] = end{deadline: p.Deadline, settled: p.SettledAt}
		r.permits.push(p.Sequence, 0, p.Number)
	}
	for _, c := range state.Claims {
		r.claims[c.GetDelivery().GetId()] = &entry{claim: proto.CloneOf(c.Claim), sequence: c.Sequence, at: c.At, recorded: true}
	}
	for _, c := range sortedBySequence(state.Claims) {
		r.claimed.push(c.Sequence, 0, c.GetDelivery().GetId())
	}
	// By their blocks, the oldest first; a delivery may be deferred and then closed.
	deferrals := state.Deferrals
	for _, c := range state.Closes {
		for len(deferrals) > 0 && deferrals[0].Sequence <= c.Sequence {
			r.ended(deferrals[0].Sequence, 0, deferrals[0].GetDelivery().GetId())
			deferrals = deferrals[1:]
		}
		r.ended(c.Sequence, 0, c.GetResult().GetDeliveryId())
	}
	for _, d := range deferrals {
		r.ended(d.Sequence, 0, d.GetDelivery().GetId())
	}
	return r, nil
}

// LastSequence returns the sequence that the next block's compare-and-set must
// expect.
func (r *Recorder) LastSequence() uint64 { return r.last }

// SetLimits takes new limits: they decide how long a permit must be found.
func (r *Recorder) SetLimits(limits budget.Limits) error {
	limits, err := limits.Normal()
	if err != nil {
		return err
	}
	r.limits = limits
	return nil
}

// Permit records that p is handed out for a delivery, or for a probe where the
// id is empty. ErrBlockFull where it does not fit: then p must be made void.
func (r *Recorder) Permit(p budget.Permit, deliveryID string) error {
	record := &ledgerv1.Permit{
		Number: p.Number, SendAt: timestamppb.New(p.SendAt), NotAfter: timestamppb.New(p.NotAfter),
		Deadline: timestamppb.New(p.Deadline), DeliveryId: deliveryID,
	}
	if p.Cost > 1 {
		record.Cost = p.Cost
	}
	if len(r.pending.permits) == MaxPermits {
		return fmt.Errorf("permit %d: %w: it holds %d permits", p.Number, ErrBlockFull, MaxPermits)
	}
	if err := r.room(record); err != nil {
		return fmt.Errorf("permit %d: %w", p.Number, err)
	}
	r.pending.permits = append(r.pending.permits, record)
	return nil
}

// Claim records what is about to be sent, or the next attempt of what is
// already claimed. Of the latter only permit, attempt, next attempt and arrived_by
// count, unless the open claim is given up: then a whole one replaces it.
// ErrBlockFull or ErrEntryTooLarge where it does not fit.
func (r *Recorder) Claim(c *ledgerv1.Claim) error {
	id := c.GetDelivery().GetId()
	open, again := r.claims[id]
	switch {
	case id == "":
		return errors.New("claim names no delivery")
	case again && open.closed:
		return fmt.Errorf("claim of delivery %q: %w: its close is not written yet", id, ErrBlockFull)
	case !again && !whole(c):
		return fmt.Errorf("claim of delivery %q names no operation", id)
	}
	record := proto.CloneOf(c)
	replaces := again && whole(c) && givenUp(open.claim) && !sameBinding(open.claim, c)
	if again && !replaces {
		record = further(c)
	}
	if err := r.room(record); err != nil {
		return fmt.Errorf("claim of delivery %q: %w", id, err)
	}
	r.pending.claims = append(r.pending.claims, record)
	switch {
	case replaces:
		// The block of the one before must be found until this one is committed.
		open.claim = proto.CloneOf(c)
	case again:
		merge(open.claim, c)
	default:
		r.claims[id] = &entry{claim: proto.CloneOf(c)}
	}
	return nil
}

// Settlement says how a permit ended. Times that are not known are zero.
type Settlement struct {
	Number int64
	// No byte left before FirstByteAt; the first had left by IssuedAt.
	FirstByteAt, IssuedAt time.Time
	// By SettledAt the reply was in, or the connection dead.
	SettledAt time.Time
	// Spent is what the call did cost where its reply told, else nil.
	Spent *int64
}

// Settle records the end of a permit.
func (r *Recorder) Settle(s Settlement) {
	r.pending.settlements = append(r.pending.settlements, &ledgerv1.Settlement{
		Permit: s.Number, SettledAt: timestamppb.New(s.SettledAt), FirstByteAt: timestamp(s.FirstByteAt), IssuedAt: timestamp(s.IssuedAt),
		Spent: s.Spent,
	})
}

// Void records that no byte was written under the permit. One that is not yet
// on record is left out of it.
func (r *Recorder) Void(number int64) {
	for i, p := range r.pending.permits {
		if p.GetNumber() == number {
			r.pending.permits = append(r.pending.permits[:i], r.pending.permits[i+1:]...)
			r.pending.bytes -= encoded(p)
			return
		}
	}
	r.pending.settlements = append(r.pending.settlements, &ledgerv1.Settlement{Permit: number, Void: true})
}

// Close records the end of a delivery, claimed or not. It is in the ledger once
// a block that holds it is committed; its message may be acknowledged only
// then. ErrEntryTooLarge where no block can hold it.
func (r *Recorder) Close(c *ledgerv1.Close) error {
	id := c.GetResult().GetDeliveryId()
	if id == "" {
		return errors.New("close names no delivery")
	}
	if err := Fits(c); err != nil {
		return err
	}
	r.endClaim(id)
	r.pending.closes = append(r.pending.closes, c)
	r.pending.bytes += encoded(c)
	return nil
}

// Fits returns nil for a close that a block can hold, else ErrEntryTooLarge.
func Fits(c *ledgerv1.Close) error {
	if size := encoded(c); size > MaxEntryBytes {
		return fmt.Errorf("close of delivery %q: %w: %d bytes, at most %d", c.GetResult().GetDeliveryId(), ErrEntryTooLarge, size, MaxEntryBytes)
	}
	return nil
}

// Defer records that a delivery's claim ends though the delivery does not: it goes
// on after a wait, under a claim of its own. What is said of Close holds for it.
func (r *Recorder) Defer(waiting *dispatchv1.Waiting) error {
	id := waiting.GetDelivery().GetId()
	if id == "" {
		return errors.New("deferral names no delivery")
	}
	if size := encoded(waiting); size > MaxEntryBytes {
		return fmt.Errorf("deferral of delivery %q: %w: %d bytes, at most %d", id, ErrEntryTooLarge, size, MaxEntryBytes)
	}
	r.endClaim(id)
	r.pending.deferrals = append(r.pending.deferrals, waiting)
	r.pending.bytes += encoded(waiting)
	return nil
}

// endClaim drops what is pending of a delivery's claim; one that is on record stays
// until its end is in a block.
func (r *Recorder) endClaim(id string) {
	kept := r.pending.claims[:0]
	for _, p := range r.pending.claims {
		if p.GetDelivery().GetId() == id {
			r.pending.bytes -= encoded(p)
			continue
		}
		kept = append(kept, p)
	}
	r.pending.claims = kept
	if e, ok := r.claims[id]; ok {
		e.closed = true
		if !e.recorded {
			delete(r.claims, id)
		}
	}
}

// Because says why no call is handed out for a while. Of long words the beginning is
// kept.
func (r *Recorder) Because(words string) { r.because = shortened(words) }

// Reopen records that a person ended a pause. What does not fit into the head of a
// block has to wait for the next one.
func (r *Recorder) Reopen(reopening *ledgerv1.Reopening) error {
	if len(r.pending.reopenings) > 0 {
		return fmt.Errorf("reopening: %w: another one is not written yet", ErrBlockFull)
	}
	reopening = proto.CloneOf(reopening)
	for _, words := range []*string{&reopening.By, &reopening.Reason, &reopening.ClosedBecause} {
		*words = shortened(*words)
	}
	r.pending.reopenings = append(r.pending.reopenings, reopening)
	return nil
}

// shortened keeps words to what the head of a block has room for, four times.
func shortened(words string) string {
	words = strings.ToValidUTF8(words, "")
	if len(words) > mostWords {
		words = strings.ToValidUTF8(words[:mostWords], "")
	}
	return words
}

// Acked says that the delivery's message is gone from the queue, so that its
// close or deferral need not be found any more.
func (r *Recorder) Acked(deliveryID string) { delete(r.closes, deliveryID) }

// Bound says that from the next block on at most so many calls are under way at a
// time; 0 that nothing bounds them. A lower bound must hold before that block is
// built, a higher one only after it is committed: see OnRecord.
func (r *Recorder) Bound(parallel int) {
	r.parallel = int32(min(max(parallel, 0), math.MaxInt32))
}

// OnRecord returns the bound that the newest committed block holds, 0 for none.
func (r *Recorder) OnRecord() int { return int(r.onRecord) }

// Widens says whether a higher bound waits to be written. A first one, and a lower
// one, go along with what else there is.
func (r *Recorder) Widens() bool { return r.onRecord > 0 && r.parallel > r.onRecord }

// Pending says whether there is anything to write.
func (r *Recorder) Pending() bool {
	p := &r.pending
	return r.building != nil || r.Widens() || len(p.permits)+len(p.claims)+len(p.settlements)+len(p.closes)+len(p.deferrals)+len(p.reopenings) > 0
}

// CarryAfter changes how old an open claim's block may become until it is written
// again; it is for tests that cannot wait for days.
func (r *Recorder) CarryAfter(age time.Duration) { r.carryAge = age }

// Aged says whether a block is to be written only because an open claim stands in
// one so old that the store may forget it.
func (r *Recorder) Aged(now time.Time) bool {
	oldest := r.claimed.oldest(r.standsAt)
	return oldest.sequence != 0 && r.aged(oldest.key, now)
}

func (r *Recorder) aged(id string, now time.Time) bool { return now.Sub(r.claims[id].at) >= r.carryAge }

// standsAt says whether the block of that sequence is where a claim stands in full.
func (r *Recorder) standsAt(id string, sequence uint64) bool {
	e, ok := r.claims[id]
	return ok && e.sequence == sequence
}

func (r *Recorder) room(m proto.Message) error {
	size := encoded(m)
	if size > MaxEntryBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrEntryTooLarge, size, MaxEntryBytes)
	}
	if free := MaxBlockBytes - maxSettlementBytes - maxHeadBytes - r.pending.bytes; size > free {
		return fmt.Errorf("%w: %d bytes do not fit into %d", ErrBlockFull, size, max(free, 0))
	}
	r.pending.bytes += size
	return nil
}

// encoded is the size of m as a field of a block: tag and length take up to 5
// bytes.
func encoded(m proto.Message) int { return proto.Size(m) + 5 }

// givenUp says that a claim's attempts are over and had no effect for certain, so
// that it binds nothing any more.
func givenUp(c *ledgerv1.Claim) bool { return c.GetNextAttemptAt() != nil && c.GetArrivedBy() == nil }

// sameBinding says that two claims of a delivery send the same.
func sameBinding(a, b *ledgerv1.Claim) bool {
	bare := func(c *ledgerv1.Claim) *ledgerv1.Claim {
		c = proto.CloneOf(c)
		merge(c, nil)
		c.SentAt = nil
		return c
	}
	return proto.Equal(bare(a), bare(b))
}

// further is the record of another attempt of a claim that is on record.
func further(c *ledgerv1.Claim) *ledgerv1.Claim {
	return &ledgerv1.Claim{
		Delivery: &dispatchv1.Delivery{Id: c.GetDelivery().GetId()},
		Permit:   c.GetPermit(), Attempt: c.GetAttempt(), NextAttemptAt: c.GetNextAttemptAt(), ArrivedBy: c.GetArrivedBy(),
	}
}
