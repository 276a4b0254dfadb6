package order

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// maxEventIDs bounds the state. It has to cover the events of one order that a
// sender may still repeat: shops retry for two days, and an order rarely has
// more than a few dozen events in all. One that has fallen out is caught by its
// business version, unless another had the very same one.
const maxEventIDs = 64

// Change is what an event did to the state of its order.
type Change int

const (
	// ChangeRepeated: this very event was folded in before. Nothing changed.
	ChangeRepeated Change = iota
	// ChangeStale: the state is newer than the event. Only the event's id is new, or,
	// where 64 others are known, nothing.
	ChangeStale
	// ChangeSame: the event says what is known, at most with a later time of
	// change. The revision stays.
	ChangeSame
	// ChangeApplied: the order is another one now, under the next revision.
	ChangeApplied
)

var changeNames = [...]string{"repeated", "stale", "same", "applied"}

// String returns the change as metrics and spans spell it.
func (c Change) String() string {
	if c < 0 || int(c) >= len(changeNames) {
		return "invalid"
	}
	return changeNames[c]
}

// Event is what an event tells beside the order.
type Event struct {
	// ID tells it from others of its order. One without is never taken for a repetition.
	ID    string
	Topic string
	// ReceivedAt is when it came in, by the clock of whoever took it in; zero where nobody
	// said.
	ReceivedAt time.Time
	// ReadAt is when the source itself was asked for the order that it brings; zero where a
	// sender told of it.
	ReadAt time.Time
	// Again: what was read was taken in when it came, and is only repeated.
	Again bool
	// Ask is how the source is asked where events disagree: lane, trace and whether this
	// one is of many. Nil where it
	// cannot be.
	Ask *orderv1.Reading
	// Now is when it is taken in.
	Now time.Time
}

func (e Event) receivedAt() time.Time {
	switch {
	case !e.ReadAt.IsZero():
		return e.ReadAt
	case !e.ReceivedAt.IsZero():
		return e.ReceivedAt
	}
	return e.Now
}

// Fold returns the state after an event that carries the whole order o, and
// what changed. A nil state is an order not seen before; event.Now becomes its time of
// capture.
//
// The business version is the shop's updated_at:
//   - older than the state's: stale;
//   - newer: applied if anything else differs, else only the time moves, because
//     shops touch orders without changing what they say, and a new revision
//     costs a call at every system that has the order;
//   - equal: shops write whole seconds, and a checkout makes several versions within
//     one. What the source itself said stands. Else the later arrival wins unless it is
//     a step back in the order's life (see progress), so that "paid" is not undone
//     by a "created" of the same second that came late: a guess, which is good for until
//     the source has answered. The state then has a Reading, which is to be asked;
//   - absent on either side: likewise, and nothing is asked, since an answer could not
//     be told from what is newer.
func Fold(state *orderv1.State, o *orderv1.Order, event Event) (*orderv1.State, Change) {
	if state == nil || state.GetOrder() == nil {
		first := &orderv1.State{
			Key:        Key(o.GetSource(), o.GetId()),
			Revision:   state.GetRevision() + 1,
			Order:      proto.CloneOf(o),
			EventIds:   appendEventID(state.GetEventIds(), event.ID),
			CapturedAt: timestamppb.New(event.Now),
			ReadAt:     stamp(event.ReadAt),
			Readings:   state.GetReadings(),
			Fetches:    state.GetFetches(),
		}
		return first, ChangeApplied
	}
	if event.ID != "" && slices.Contains(state.GetEventIds(), event.ID) {
		return state, ChangeRepeated
	}
	o = cancelledSince(state.GetOrder(), o)
	change := compare(state, o, event)
	old := compareVersions(state.GetOrder(), o) > 0
	if change == ChangeStale && old && len(state.GetEventIds()) >= maxEventIDs {
		// Its version tells for good that it is old. Its id would take the place of one
		// whose version does not: when a week is replayed, hundreds come at once.
		return state, ChangeStale
	}
	next := proto.CloneOf(state)
	next.EventIds = appendEventID(next.GetEventIds(), event.ID)
	switch change {
	case ChangeApplied:
		next.Order = successor(state.GetOrder(), o)
		next.Revision++
	case ChangeSame:
		next.Order = successor(state.GetOrder(), o)
	case ChangeRepeated, ChangeStale:
	}
	if !old {
		note(state, next, o, event, change)
	}
	return next, change
}

// cancelledSince returns a version with the time since when the order is known to be
// cancelled. Some shops do not say, and their connectors give the time of the change that
// shows it: each touch of a cancelled order would be another order, and a call at every
// system that has it. A time that is not that of the version itself is the shop's own.
func cancelledSince(known, arrived *orderv1.Order) *orderv1.Order {
	since, at := known.GetCancelledAt(), arrived.GetCancelledAt()
	if since == nil || at == nil || !proto.Equal(at, arrived.GetUpdatedAt()) || !since.AsTime().Before(at.AsTime()) {
		return arrived
	}
	next := proto.CloneOf(arrived)
	next.CancelledAt = since
	return next
}

// successor returns arrived as what is known from here on. A version that does
// not tell its time keeps the known one, or the next late arrival would look
// newer than everything.
func successor(known, arrived *orderv1.Order) *orderv1.Order {
	next := proto.CloneOf(arrived)
	if next.GetUpdatedAt() == nil {
		next.UpdatedAt = known.GetUpdatedAt()
	}
	return next
}

// compare says what an event changes about an order.
func compare(state *orderv1.State, arrived *orderv1.Order, event Event) Change {
	known := state.GetOrder()
	version := compareVersions(known, arrived)
	switch {
	case version > 0:
		return ChangeStale
	case sameContent(known, arrived):
		return ChangeSame
	case version < 0:
		return ChangeApplied
	case SameVersion(known, arrived) && event.Again && state.GetReadAt() == nil:
		// Older builds did not write when the source was asked. What such a state has came
		// after an answer that is only repeated.
		return ChangeStale
	case SameVersion(known, arrived) && !event.ReadAt.IsZero():
		// The source's own word needs no guess. It is asked for one order at a time, but
		// answers of different lanes may cross.
		if event.ReadAt.Before(state.GetReadAt().AsTime()) {
			return ChangeStale
		}
		return ChangeApplied
	case SameVersion(known, arrived) && (isFinal(state) || state.GetReadAt() != nil && event.Ask != nil):
		// Most likely one that was late. If not, the answer brings it.
		return ChangeStale
	case stepsBack(known, arrived):
		return ChangeStale
	}
	return ChangeApplied
}

// compareVersions returns a positive number where known is the newer one, a
// negative one where arrived is, and 0 where the shop does not say.
func compareVersions(known, arrived *orderv1.Order) int {
	if known.GetUpdatedAt() == nil || arrived.GetUpdatedAt() == nil {
		return 0
	}
	return known.GetUpdatedAt().AsTime().Compare(arrived.GetUpdatedAt().AsTime())
}

// sameContent says whether two versions differ in nothing but the time of
// change.
func sameContent(a, b *orderv1.Order) bool {
	if proto.Equal(a, b) {
		return true
	}
	adjusted := proto.CloneOf(b)
	adjusted.UpdatedAt = a.GetUpdatedAt()
	return proto.Equal(a, adjusted)
}

// stepsBack says whether arrived is an earlier stage in the life of an order
// than known.
func stepsBack(known, arrived *orderv1.Order) bool {
	return slices.Compare(progress(arrived), progress(known)) < 0
}

// progress places an order in its life: cancelled or not, then money, then
// goods. None of the three goes backwards by itself within one second.
func progress(o *orderv1.Order) []int {
	cancelled := 0
	if o.GetCancelledAt() != nil {
		cancelled = 1
	}
	return []int{
		cancelled,
		slices.Index(financialStages, o.GetFinancialStatus()),
		slices.Index(fulfillmentStages, o.GetFulfillmentStatus()),
	}
}

// A status that is not listed counts as before all of them.
var (
	financialStages   = []string{"pending", "authorized", "partially_paid", "paid", "partially_refunded", "refunded", "voided"}
	fulfillmentStages = []string{"", "partial", "fulfilled", "restocked"}
)

func appendEventID(ids []string, id string) []string {
	kept := slices.Clone(ids)
	if id == "" {
		return kept
	}
	kept = append(kept, id)
	if extra := len(kept) - maxEventIDs; extra > 0 {
		kept = slices.Delete(kept, 0, extra)
	}
	return kept
}
