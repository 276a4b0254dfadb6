package order

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

const (
	// clockMargin is how much later than an event was received, by the clock of ingest, a
	// call must have gone out, by that of the throttle-dispatcher, to be later for certain.
	// Where their clocks are further apart, an answer may be taken for newer than it is.
	clockMargin = 2 * time.Second
	// settledAfter is how long after the second that a version names its source must have
	// been asked for its word to be the last one on that version: nothing can happen in
	// that second any more, even if the clock of the source is behind by nearly as much.
	settledAfter = time.Minute
	// maxTopics bounds a reading. Shops have fewer about orders.
	maxTopics = 16
)

// disputes says whether an event makes it necessary to ask the source: it tells
// something else of a version than the state does, and neither is known to be what the
// source says last.
func disputes(state *orderv1.State, o *orderv1.Order, event Event) bool {
	return event.ReadAt.IsZero() && SameVersion(state.GetOrder(), o) && !sameContent(state.GetOrder(), o) &&
		(!isFinal(state) || receivedSince(state, event))
}

// receivedSince says whether an event was received after the source was asked. Most of
// those are late. But plugins of shops change orders without the time of change, and the
// edit would be lost for good. A replay's were received before.
func receivedSince(state *orderv1.State, event Event) bool {
	return event.ReceivedAt.After(state.GetReadAt().AsTime().Add(clockMargin))
}

// SameVersion says whether two orders have the very same time of change, and have one.
func SameVersion(a, b *orderv1.Order) bool {
	return a.GetUpdatedAt() != nil && b.GetUpdatedAt() != nil && compareVersions(a, b) == 0
}

// isFinal says whether the source had said what it is, when its version could not get
// another content any more.
func isFinal(state *orderv1.State) bool {
	version := state.GetOrder().GetUpdatedAt()
	return state.GetReadAt() != nil && version != nil && !state.GetReadAt().AsTime().Before(version.AsTime().Add(settledAfter))
}

// note writes an event that was not stale by its time into what is known of the source's
// word: next is the state with the event folded in, before the one without.
func note(before, next *orderv1.State, o *orderv1.Order, event Event, change Change) {
	newer := compareVersions(before.GetOrder(), o) < 0
	switch {
	case change == ChangeApplied, newer:
		next.ReadAt = stamp(event.ReadAt)
	case change == ChangeSame && event.ReadAt.After(before.GetReadAt().AsTime()):
		next.ReadAt = stamp(event.ReadAt)
	}
	disputed := disputes(before, o, event)
	if r := next.GetReading(); r != nil {
		if at := event.receivedAt(); at.After(r.GetNewestEventAt().AsTime()) {
			r.NewestEventAt = stamp(at)
		}
		// What disagreed about an older version is of no matter any more.
		r.Disputed = disputed || r.GetDisputed() && !newer
		if newer {
			r.Unsettled = nil
		}
		if disputed {
			r.Topics = withTopic(r.GetTopics(), event.Topic)
			leave(r, o, event, change)
			r.Bulk = r.GetBulk() && event.Ask.GetBulk() // somebody waits for a live one
		}
		return
	}
	if disputed && event.Ask != nil {
		r := proto.CloneOf(event.Ask)
		r.SinceRevision, r.Topics = before.GetRevision(), withTopic(nil, event.Topic)
		leave(r, o, event, change)
		open(next, r)
	}
}

// leave keeps what an event said that the state has not. Of several it is the one that
// would count by the rule of arrival, where the source says nothing.
func leave(r *orderv1.Reading, o *orderv1.Order, event Event, change Change) {
	if change != ChangeStale || r.GetUnsettled() != nil && stepsBack(r.GetUnsettled().GetOrder(), o) {
		return
	}
	r.Unsettled = &orderv1.Unsettled{Order: proto.CloneOf(o), Topic: event.Topic, ReceivedAt: stamp(event.receivedAt())}
}

// open asks the source, once more where it was asked before.
func open(state *orderv1.State, r *orderv1.Reading) {
	state.Readings++
	r.Number, r.NewestEventAt, r.Disputed, r.Parts, r.Restarts = state.GetReadings(), nil, false, nil, 0
	state.Reading = r
}

// Ask returns the state with a question to the source, because a person wants it asked
// again; false where it is being asked already, or there is no order.
func Ask(state *orderv1.State, lane string) (*orderv1.State, bool) {
	if state.GetOrder() == nil || state.GetReading() != nil {
		return state, false
	}
	next := proto.CloneOf(state)
	open(next, &orderv1.Reading{Lane: lane, SinceRevision: state.GetRevision()})
	return next, true
}

// Answer returns the state after what the source said when it was asked for the order by
// the reading of that number, at a time by the clock of whoever asked. An answer to a
// question that is not open is ChangeRepeated and changes nothing.
//
// A newer version than the state's always counts. Of the same version, it counts if it is
// certainly no older than any event that was taken in: those before the question are
// older, because what they tell was done before they were sent, or read; those after it
// by their time. Where one is not, and it matters, the source is asked once more.
func Answer(state *orderv1.State, number int64, o *orderv1.Order, asked time.Time) (*orderv1.State, Change) {
	r := state.GetReading()
	if r == nil || r.GetNumber() != number {
		return state, ChangeRepeated
	}
	o = cancelledSince(state.GetOrder(), o)
	next := proto.CloneOf(state)
	next.Reading = nil
	version, same := compareVersions(state.GetOrder(), o), sameContent(state.GetOrder(), o)
	switch {
	case version >= 0 && !covered(r, asked) && (r.GetDisputed() || version == 0 && !same):
		open(next, proto.CloneOf(r))
		return next, ChangeStale
	case version > 0:
		return next, ChangeStale
	}
	next.Order, next.ReadAt = successor(state.GetOrder(), o), stamp(asked)
	if same {
		return next, ChangeSame
	}
	next.Revision++
	return next, ChangeApplied
}

// covered says whether what was asked for at a time is certainly newer than each event that
// was taken in while the reading was open.
func covered(r *orderv1.Reading, asked time.Time) bool {
	return r.GetNewestEventAt() == nil || asked.After(r.GetNewestEventAt().AsTime().Add(clockMargin))
}

// Unanswered returns the state after a reading that came to nothing. The rule of arrival
// counts then, as where the source cannot be asked: ChangeApplied where by that the state
// becomes what an event said against an earlier word of the source. What it does not take
// is returned, nil for nothing. ChangeRepeated where that reading is not open.
func Unanswered(state *orderv1.State, number int64) (*orderv1.State, Change, *orderv1.Unsettled) {
	r := state.GetReading()
	if r == nil || r.GetNumber() != number {
		return state, ChangeRepeated, nil
	}
	next := proto.CloneOf(state)
	next.Reading = nil
	left := r.GetUnsettled()
	// The source's last word on a version is not overruled by what most likely is late, and
	// an order that steps back within a second was not so.
	if left == nil || isFinal(state) || stepsBack(state.GetOrder(), left.GetOrder()) {
		return next, ChangeStale, left
	}
	next.Order, next.ReadAt = successor(state.GetOrder(), left.GetOrder()), nil
	next.Revision++
	return next, ChangeApplied, nil
}

// stamp is no time for the zero one.
func stamp(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}

func withTopic(topics []string, topic string) []string {
	if topic == "" || slices.Contains(topics, topic) || len(topics) >= maxTopics {
		return topics
	}
	return append(topics, topic)
}
