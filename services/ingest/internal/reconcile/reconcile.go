// Package reconcile decides what is missing: it compares the orders that a source lists
// with what is known of them, says which events are to be told, when to look again, and
// counts. It is pure: values in, values out.
package reconcile

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

const (
	// Grace is how long the webhook of a new version may take before it counts as one
	// that does not come: shops send within seconds.
	Grace = 20 * time.Second
	// settled is from which age on a version needs no grace, by two clocks that may differ.
	settled = 2 * time.Minute
	// keptHours is a day and the hour that has begun.
	keptHours = 25
	// longestPause is the longest time between two tries that fail.
	longestPause = time.Hour
	// ahead is by how much a source's clock may be in front of ours at the most. Shops
	// believe what plugins and imports say: one order of the year 2099 must not make the
	// cursor go there, behind which nothing would be found any more.
	ahead = 24 * time.Hour
	// skew is by how much the clocks of replicas may differ at the most. A record of a time
	// that lies further ahead was written by a clock that has been set back since.
	skew = time.Minute
)

// Judgment says how an order compares with what is known of it.
type Judgment int

const (
	// Known: what is known is as new, or newer.
	Known Judgment = iota
	// Missing: nothing is known of it.
	Missing
	// Stale: an older version is known.
	Stale
)

// Judge compares a version that the source lists with the order's state, nil where there
// is none.
func Judge(state *orderv1.State, updated time.Time) Judgment {
	known := state.GetOrder()
	switch {
	case known == nil:
		return Missing
	case known.GetUpdatedAt() == nil || known.GetUpdatedAt().AsTime().Before(updated):
		return Stale
	}
	return Known
}

// Wait returns how long to wait for the webhook of a version that is not known, listed
// at a moment by the engine's clock: the grace, unless it is old.
func Wait(updated, listed time.Time, grace time.Duration) time.Duration {
	if listed.Sub(updated) >= settled {
		return 0
	}
	return grace
}

// Telling says how orders of a source are told.
type Telling struct {
	Connector string
	Source    connectors.Topical
	// Taken are the topics that flows take.
	Taken []string
	// From is since when new orders are told as such, see From.
	From time.Time
	// Bulk: live orders overtake what they lead to.
	Bulk bool
}

// Events returns what is to be told of an order that is not known, or not in this
// version: an event for its topic, and one for each step of its life that flows take.
// Told twice they are the same events.
//
// One that is not known and was made before From is told as one that changed, and of its
// life nothing: whoever had the shop's orders then has made it where it belongs, and a
// shop changes its old orders for weeks, by fulfilling them. Told as new and paid, each
// would be made once more.
func (t Telling) Events(known, found *orderv1.Order) []*eventv1.Event {
	older := known == nil && found.GetCreatedAt() != nil && found.GetCreatedAt().AsTime().Before(t.From)
	topics := []string{t.Source.Topic(found, known != nil || older)}
	if phased, ok := t.Source.(connectors.Phased); ok && !older {
		for _, topic := range phased.Phases(known, found) {
			if slices.Contains(t.Taken, topic) && !slices.Contains(topics, topic) {
				topics = append(topics, topic)
			}
		}
	}
	id := eventID(found)
	events := make([]*eventv1.Event, len(topics))
	for i, topic := range topics {
		events[i] = &eventv1.Event{Connector: t.Connector, Topic: topic, Id: id, Order: found, Bulk: t.Bulk}
	}
	return events
}

// Missed reports whether a webhook should have told one of the events: no shop sends
// those that nobody asked it for. Where no flow takes anything, all should have come.
func Missed(events []*eventv1.Event, needed []string) bool {
	return len(needed) == 0 || slices.ContainsFunc(events, func(e *eventv1.Event) bool { return slices.Contains(needed, e.GetTopic()) })
}

// eventID is the same for one version of an order.
func eventID(o *orderv1.Order) string {
	return "reconcile-" + hash(o.GetId()+"\x00"+o.GetUpdatedAt().AsTime().UTC().Format(time.RFC3339Nano))
}

const (
	// pageShare is the part of what an account is allowed in the long run that pages may
	// take; the rest is for orders and stock, at any pace.
	pageShare = 0.5
	// really is the part of what a page may cost that it does cost, as orders go.
	really = 1.0 / 3
	// leastPoints is what the smallest of the accounts restores in a second that count
	// points, for where the limits do not say.
	leastPoints = 100
)

// Between is how long to leave between two pages of a cost, so that a long list leaves
// the account to others: a shop counts what was asked whatever the lane, and one whose
// points are gone refuses them all.
func Between(limits []v1alpha1.Limit, cost int64) time.Duration {
	seconds, counted := 0.0, false
	for i := range limits {
		if b := limits[i].Bucket; b != nil && b.Refill.Points > 0 {
			counted = true
			seconds = max(seconds, float64(max(cost, 1))*really*b.Refill.Per.Seconds()/(pageShare*float64(b.Refill.Points)))
		} else if calls, per := limits[i].Rate(); calls > 0 {
			seconds = max(seconds, per.Seconds()/(pageShare*float64(calls)))
		}
	}
	if cost > 1 && !counted {
		seconds = max(seconds, float64(cost)*really/(pageShare*leastPoints))
	}
	return time.Duration(seconds * float64(time.Second))
}

// Meet returns the record of a source that nothing is known of, and otherwise false. One
// at another endpoint than before is another one, of which the counts of the day stay: a
// connector that was tried with a test shop for weeks must not take the real one's orders
// of these weeks for new. One that a clock that was ahead has met is met now.
func Meet(s *sourcev1.Source, connector, endpoint string, now time.Time) (*sourcev1.Source, bool) {
	unknown := s.GetFirstAt() == nil && s.GetCursor() == nil && s.GetComparedAt() == nil
	if Another(s, endpoint) || unknown {
		return &sourcev1.Source{Connector: connector, FirstAt: timestamppb.New(now), EndpointHash: hash(normal(endpoint)), Hours: clone(s).GetHours()}, true
	}
	early := wrong(s.GetFirstAt(), now)
	if s.GetEndpointHash() != "" && !early {
		return s, false
	}
	next := clone(s)
	if next.GetEndpointHash() == "" {
		next.EndpointHash = hash(normal(endpoint))
	}
	if early {
		next.FirstAt = timestamppb.New(now)
	}
	return next, true
}

// From is before when all is left to whoever had the source's orders then; zero where
// that is not known.
func From(s *sourcev1.Source, settings *v1alpha1.Reconcile) time.Time {
	if s.GetFirstAt() == nil {
		return time.Time{}
	}
	return s.GetFirstAt().AsTime().Add(-settings.LookBack.Duration)
}

// Since is from when on to list.
func Since(s *sourcev1.Source, settings *v1alpha1.Reconcile, now time.Time) time.Time {
	from := From(s, settings)
	switch {
	case s.GetCursor() != nil:
		return latest(earliest(until(s), now).Add(-settings.Overlap.Duration), from)
	case !from.IsZero():
		return from
	}
	return now.Add(-settings.LookBack.Duration)
}

// until is up to when all was compared: one order that says a time of tomorrow says nothing
// of those that change until then.
func until(s *sourcev1.Source) time.Time {
	cursor := s.GetCursor().AsTime()
	switch {
	case s.GetComparedUntil() != nil:
		return earliest(cursor, s.GetComparedUntil().AsTime())
	case s.GetComparedAt() != nil:
		return earliest(cursor, s.GetComparedAt().AsTime()) // an earlier build's
	}
	return cursor
}

// Tells reports whether a time of change says how far the source is: none that lies far
// in the future does.
func Tells(updated, now time.Time) bool { return !updated.After(now.Add(ahead)) }

// Due is when the next comparison is to begin, by the settings as they are now. Where
// there was none it is not at once: a source that was made just now tells of its orders
// by itself.
func Due(s *sourcev1.Source, settings *v1alpha1.Reconcile, now time.Time) time.Time {
	every := settings.Every.Duration
	switch {
	case s.GetFailures() > 0 && !s.GetDueAt().AsTime().After(now.Add(max(every, longestPause))):
		return s.GetDueAt().AsTime()
	case s.GetFailures() > 0:
		return now
	case s.GetComparedAt() == nil && s.GetFirstAt() == nil:
		return now.Add(every)
	}
	last := s.GetComparedAt()
	if last == nil {
		last = s.GetFirstAt()
	}
	if wrong(last, now) {
		return now
	}
	return last.AsTime().Add(every)
}

// wrong reports whether a clock that was ahead has written a time: what follows from it
// would be hours away.
func wrong(at *timestamppb.Timestamp, now time.Time) bool {
	return at != nil && at.AsTime().After(now.Add(skew))
}

// Take returns the record with an owner, who is left alone for that long.
func Take(s *sourcev1.Source, connector, owner string, now time.Time, lease time.Duration) *sourcev1.Source {
	next := clone(s)
	next.Connector, next.Owner, next.OwnedUntil = connector, owner, timestamppb.New(now.Add(lease))
	return next
}

// Free reports whether somebody else may begin, where owners are left alone for lease.
func Free(s *sourcev1.Source, owner string, now time.Time, lease time.Duration) bool {
	end := s.GetOwnedUntil()
	return s.GetOwner() == "" || s.GetOwner() == owner || !now.Before(end.AsTime()) || wrong(end, now.Add(lease))
}

// Release returns the record without an owner, where one stops before its comparison has
// come to an end: the next goes on at the cursor.
func Release(s *sourcev1.Source) *sourcev1.Source {
	next := clone(s)
	next.Owner, next.OwnedUntil = "", nil
	return next
}

// Compared are the figures of some orders.
type Compared struct {
	Orders, Missing, Stale int64
	// Cursor is the newest of them, by the source's clock.
	Cursor time.Time
	// Began is when the comparison did, by the engine's clock; zero is now. What changed
	// later may not have been listed, whatever time the newest says.
	Began time.Time
}

// Progress returns the record after some orders were compared and what was missing is
// durable. The cursor never goes back: an overlap lists what was compared before.
func Progress(s *sourcev1.Source, c Compared, now time.Time) *sourcev1.Source {
	next := clone(s)
	if Tells(c.Cursor, now) && (c.Cursor.After(next.GetCursor().AsTime()) || !c.Cursor.IsZero() && !Tells(next.GetCursor().AsTime(), now)) {
		next.Cursor = timestamppb.New(c.Cursor)
		// What gets on is not refused: in a spike pages may wait too long for their turn,
		// and a pause of an hour for each would not be made up for.
		next.Failures = 0
	}
	if Tells(c.Cursor, now) {
		// Where the cursor is ahead, this goes on all the same.
		began := c.Began
		if began.IsZero() {
			began = now
		}
		if at := earliest(c.Cursor, began); at.After(next.GetComparedUntil().AsTime()) || wrong(next.GetComparedUntil(), now) && !at.IsZero() {
			next.ComparedUntil = timestamppb.New(at)
		}
	}
	if c.Orders+c.Missing+c.Stale > 0 {
		h := hour(next, now)
		h.Compared += c.Orders
		h.Missing += c.Missing
		h.Stale += c.Stale
	}
	return next
}

// End returns the record after a comparison that began at a moment and came to its end.
func End(s *sourcev1.Source, settings *v1alpha1.Reconcile, began, since, now time.Time) *sourcev1.Source {
	next := clone(s)
	if next.GetCursor() == nil {
		next.Cursor = timestamppb.New(since) // no orders at all: the first time is over
	}
	next.Owner, next.OwnedUntil, next.Problem, next.Failures = "", nil, "", 0
	next.ComparedAt = timestamppb.New(began)
	next.DueAt = timestamppb.New(latest(began.Add(settings.Every.Duration), now))
	trim(next, now)
	return next
}

// Fail returns the record after a comparison that did not come to its end. Each failure
// doubles the time to the next: what is refused will be refused again.
func Fail(s *sourcev1.Source, settings *v1alpha1.Reconcile, problem string, now time.Time) *sourcev1.Source {
	next := clone(s)
	next.Owner, next.OwnedUntil, next.Problem = "", nil, problem
	next.Failures++
	every := settings.Every.Duration
	pause := every
	for i := int32(1); i < next.GetFailures() && pause < longestPause; i++ {
		pause = min(2*pause, longestPause)
	}
	next.DueAt = timestamppb.New(now.Add(max(every, pause)))
	trim(next, now)
	return next
}

// Count adds up the hours of the last day.
func Count(hours []*sourcev1.Hour, now time.Time) *sourcev1.Hour {
	sum := &sourcev1.Hour{}
	for _, h := range hours {
		if h.GetAt().AsTime().Before(oldest(now)) {
			continue
		}
		sum.Compared += h.GetCompared()
		sum.Missing += h.GetMissing()
		sum.Stale += h.GetStale()
		sum.Mended += h.GetMended()
		sum.Received += h.GetReceived()
	}
	return sum
}

// oldest is the first hour that counts: the last 24 that are over, and the one that has
// begun.
func oldest(now time.Time) time.Time {
	return now.UTC().Truncate(time.Hour).Add(-(keptHours - 1) * time.Hour)
}

// Hour returns the hour of now in hours, with those that are too old left out, and the
// hours.
func Hour(hours []*sourcev1.Hour, now time.Time) (*sourcev1.Hour, []*sourcev1.Hour) {
	hours = slices.DeleteFunc(hours, func(h *sourcev1.Hour) bool { return h.GetAt().AsTime().Before(oldest(now)) })
	at := now.UTC().Truncate(time.Hour)
	for _, h := range hours {
		if h.GetAt().AsTime().Equal(at) {
			return h, hours
		}
	}
	h := &sourcev1.Hour{At: timestamppb.New(at)}
	return h, append(hours, h)
}

func hour(s *sourcev1.Source, now time.Time) *sourcev1.Hour {
	h, hours := Hour(s.GetHours(), now)
	s.Hours = hours
	return h
}

func trim(s *sourcev1.Source, now time.Time) {
	s.Hours = slices.DeleteFunc(s.GetHours(), func(h *sourcev1.Hour) bool { return h.GetAt().AsTime().Before(oldest(now)) })
}

func clone(s *sourcev1.Source) *sourcev1.Source {
	if s == nil {
		return &sourcev1.Source{}
	}
	return proto.CloneOf(s)
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
