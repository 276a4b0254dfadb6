package ledger

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// Build returns the next block: all permits and claims, and as many of the
// settlements, closes and deferrals as fit, oldest first; the others wait for the block
// after it, which is safe because until then they count as not yet happened. It
// returns the same block until Committed, so that a write without an answer can
// be repeated. The block must not be changed.
func (r *Recorder) Build(now time.Time, b *budget.Budget) *ledgerv1.Block {
	if r.building != nil {
		return r.building
	}
	block := &ledgerv1.Block{
		Connector: r.identity.Connector, Owner: r.identity.Owner, Epoch: r.identity.Epoch,
		WrittenAt: timestamppb.New(now), LastPermit: b.LastPermit(),
		NextSend: timestamp(b.NextSend()), ClosedUntil: timestamp(b.ClosedUntil()),
		Permits: r.pending.permits, Claims: r.pending.claims, Parallel: r.parallel,
		Levels: levels(b.Levels(now)),
	}
	if b.ClosedUntil().After(now) {
		block.ClosedBecause = r.because
	}
	block.Reopenings = r.pending.reopenings
	free := MaxBlockBytes - maxSettlementBytes - maxHeadBytes
	for _, p := range block.GetPermits() {
		free -= encoded(p)
	}
	for _, c := range block.GetClaims() {
		free -= encoded(c)
	}
	next := pending{}
	block.Closes, next.closes = take(r.pending.closes, &free)
	for _, c := range next.closes {
		next.bytes += encoded(c)
	}
	block.Deferrals, next.deferrals = take(r.pending.deferrals, &free)
	for _, d := range next.deferrals {
		next.bytes += encoded(d)
	}
	settlements := maxSettlementBytes
	block.Settlements, next.settlements = take(r.pending.settlements, &settlements)
	r.pending, r.building = next, block

	for _, s := range block.GetSettlements() {
		if e, ok := r.ends[s.GetPermit()]; ok && e.settled.IsZero() {
			e.void, e.settled = s.GetVoid(), instant(s.GetSettledAt())
			r.ends[s.GetPermit()] = e
		}
	}
	for _, c := range block.GetCloses() {
		delete(r.claims, c.GetResult().GetDeliveryId())
	}
	for _, d := range block.GetDeferrals() {
		delete(r.claims, d.GetDelivery().GetId())
	}
	for _, c := range block.GetClaims() {
		if e, ok := r.claims[c.GetDelivery().GetId()]; ok {
			e.recorded = true
		}
	}
	block.ReadFrom = r.readFrom(now, &free)
	return block
}

// Committed says that the block of Build is stored under sequence.
func (r *Recorder) Committed(sequence uint64) {
	block := r.building
	if block == nil {
		return
	}
	r.building = nil
	r.last, r.onRecord = sequence, block.GetParallel()
	r.ordinal++
	for _, p := range block.GetPermits() {
		r.ends[p.GetNumber()] = end{deadline: p.GetDeadline().AsTime()}
		r.permits.push(sequence, r.ordinal, p.GetNumber())
	}
	for _, c := range block.GetClaims() {
		id := c.GetDelivery().GetId()
		if e, ok := r.claims[id]; ok && whole(c) {
			e.sequence, e.at = sequence, block.GetWrittenAt().AsTime()
			r.claimed.push(sequence, r.ordinal, id)
		}
	}
	for _, c := range block.GetCloses() {
		r.ended(sequence, r.ordinal, c.GetResult().GetDeliveryId())
	}
	for _, d := range block.GetDeferrals() {
		r.ended(sequence, r.ordinal, d.GetDelivery().GetId())
	}
}

// ended says where the end of a delivery's claim must be found.
func (r *Recorder) ended(sequence, ordinal uint64, id string) {
	r.closes[id] = sequence
	r.closed.push(sequence, ordinal, id)
}

// readFrom returns the sequence of the oldest block that still matters besides
// the one being built, 0 where none does. Claims that alone hold it back, and those
// that the store may forget, are written again into this one, as far as free bytes
// allow.
func (r *Recorder) readFrom(now time.Time, free *int) uint64 {
	permit := r.permits.oldest(func(number int64, _ uint64) bool {
		if r.matters(number, now) {
			return true
		}
		delete(r.ends, number)
		return false
	})
	closed := r.closed.oldest(func(id string, sequence uint64) bool { return r.closes[id] == sequence })
	others := least(permit.sequence, closed.sequence)
	oldest := r.claimed.oldest(r.standsAt)
	for range carryAtOnce {
		if oldest.sequence == 0 {
			break
		}
		pins := (others == 0 || oldest.sequence < others) && r.ordinal-oldest.ordinal >= r.carryAfter
		if !pins && !r.aged(oldest.key, now) {
			break
		}
		e := r.claims[oldest.key]
		size := encoded(e.claim)
		if size > *free {
			break
		}
		*free -= size
		// Before any further attempt of the same block, which it contains.
		r.building.Claims = append([]*ledgerv1.Claim{proto.CloneOf(e.claim)}, r.building.GetClaims()...)
		e.sequence = 0
		oldest = r.claimed.oldest(r.standsAt)
	}
	return least(others, oldest.sequence)
}

// matters says whether an owner that starts now must know of the permit.
func (r *Recorder) matters(number int64, now time.Time) bool {
	e := r.ends[number]
	until := e.deadline.Add(r.limits.Grace)
	if !e.settled.IsZero() {
		until = e.settled
	}
	return !e.void && !now.After(until.Add(r.limits.Retention()))
}

// take splits off what fits into free bytes.
func take[M proto.Message](entries []M, free *int) (fit, rest []M) {
	for i, m := range entries {
		size := encoded(m)
		if size > *free {
			return entries[:i:i], slices.Clone(entries[i:])
		}
		*free -= size
	}
	return entries, nil
}

// lineup holds keys in the order of their blocks and drops from the front what
// no longer matters.
type lineup[K any] struct{ items []place[K] }

type place[K any] struct {
	sequence, ordinal uint64
	key               K
}

func (l *lineup[K]) push(sequence, ordinal uint64, key K) {
	l.items = append(l.items, place[K]{sequence, ordinal, key})
}

// oldest returns the first that is needed, zero where none is.
func (l *lineup[K]) oldest(needed func(key K, sequence uint64) bool) place[K] {
	for len(l.items) > 0 && !needed(l.items[0].key, l.items[0].sequence) {
		l.items = l.items[1:]
	}
	if len(l.items) == 0 {
		l.items = nil
		return place[K]{}
	}
	return l.items[0]
}

// least is the smaller sequence; 0 means none.
func least(x, y uint64) uint64 {
	if x == 0 || y == 0 {
		return max(x, y)
	}
	return min(x, y)
}

func sortedBySequence(claims []Claim) []Claim {
	return slices.SortedStableFunc(slices.Values(claims), func(x, y Claim) int { return cmp.Compare(x.Sequence, y.Sequence) })
}

func levels(all []budget.Level) []*ledgerv1.Level {
	var records []*ledgerv1.Level
	for _, l := range all {
		records = append(records, &ledgerv1.Level{
			Limit: l.Name, Refill: l.Refill, Per: durationpb.New(l.Per), Points: l.Weighted, DrainedAt: timestamppb.New(l.Drained),
			AsOf: timestamppb.New(l.AsOf),
		})
	}
	return records
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
