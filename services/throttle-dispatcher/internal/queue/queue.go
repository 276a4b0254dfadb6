// Package queue holds what one connector still has to send: lanes share the
// sends by weight, what waits long rises, what concerns one key stays in order,
// and a key that waits holds back only itself. It is pure and not safe for
// concurrent use.
//
// Nothing starves. Inside a lane the oldest key that may go is first, and an item
// with k older ones in its lane goes within (k+2) * ceil(W/w) + lanes sends,
// w being its lane's weight and W that of all lanes, whatever arrives in
// the others. Ageing bounds the wait where weights lie far apart: see rise. An item
// waits for none that stands before it in its key in a lighter lane for longer than for
// one in its own: see takeAlong.
package queue

import (
	"slices"
	"time"
)

// Item is one delivery that waits.
type Item[T any] struct {
	// ID names the delivery; an ID that is already here is refused.
	ID string
	// Key is what must stay in order.
	Key string
	// Lane is one of the lanes that the queue was made with, or any other name,
	// which then has weight 1.
	Lane string
	// Sequence orders the items of a lane: the lowest goes first.
	Sequence uint64
	// Since is when it was asked for, by which its lane rises; zero for what is not
	// to rise.
	Since time.Time
	// NotBefore is when it may go at the earliest; zero for at once.
	NotBefore time.Time
	Value     T
}

// Queue is what waits at one connector.
type Queue[T any] struct {
	lanes   map[string]*lane[T]
	order   []*lane[T]
	keys    map[string]*key[T]
	ids     map[string]*key[T]
	delayed line[T]
}

type lane[T any] struct {
	name    string
	weight  int64 // in parts of 1/finely
	part    bool  // in place of a weight it has a part of the sends
	current int64
	ready   line[T]
	length  int
	busy    int // of length: items that are taken
}

type keyState int

const (
	keyReady keyState = iota
	keyBusy
	keyDelayed
)

type key[T any] struct {
	name    string
	state   keyState
	readyAt time.Time
	items   []Item[T]
}

// Lane is a lane's name and its share.
type Lane struct {
	Name   string
	Weight int
	// Part, where it is not 0, gives the lane one of so many sends while all others
	// have something to send, in place of a weight.
	Part int
}

// New returns an empty queue with these lanes.
func New[T any](lanes []Lane) *Queue[T] {
	q := &Queue[T]{
		lanes: map[string]*lane[T]{}, keys: map[string]*key[T]{}, ids: map[string]*key[T]{},
		delayed: line[T]{before: func(a, b *key[T]) bool { return a.readyAt.Before(b.readyAt) }},
	}
	q.SetLanes(lanes)
	return q
}

// SetLanes changes the shares; what waits stays.
func (q *Queue[T]) SetLanes(lanes []Lane) {
	var weights int64
	for _, l := range lanes {
		if l.Part == 0 {
			q.lane(l.Name).weight = max(1, int64(l.Weight)) * finely
			weights += q.lane(l.Name).weight
		}
	}
	for _, l := range lanes {
		if l.Part > 0 {
			part := q.lane(l.Name)
			part.weight, part.part = max(1, weights/int64(max(1, l.Part-1))), true
		}
	}
}

func (q *Queue[T]) lane(name string) *lane[T] {
	l, ok := q.lanes[name]
	if !ok {
		l = &lane[T]{name: name, weight: finely, ready: line[T]{before: func(a, b *key[T]) bool { return a.items[0].Sequence < b.items[0].Sequence }}}
		q.lanes[name] = l
		q.order = append(q.order, l)
	}
	return l
}

// Len returns how many items are here, those taken and not done included.
func (q *Queue[T]) Len() int { return len(q.ids) }

// Add puts an item at the end of its key's line, and takes along what stands before
// it there in lighter lanes. It returns false if the ID is already here: a redelivery
// of what still waits.
func (q *Queue[T]) Add(item Item[T]) bool {
	if _, here := q.ids[item.ID]; here {
		return false
	}
	q.lane(item.Lane).length++
	k, ok := q.keys[item.Key]
	if !ok {
		k = &key[T]{name: item.Key}
		q.keys[item.Key] = k
	}
	q.ids[item.ID] = k
	k.items = append(k.items, item)
	if len(k.items) == 1 {
		q.standIn(k)
	}
	q.takeAlong(k, len(k.items)-1)
	return true
}

// standIn puts a key in line by its first item.
func (q *Queue[T]) standIn(k *key[T]) {
	if at := k.items[0].NotBefore; !at.IsZero() {
		q.delay(k, at)
		return
	}
	q.makeReady(k)
}

func (q *Queue[T]) makeReady(k *key[T]) {
	k.state = keyReady
	q.lane(k.items[0].Lane).ready.push(k)
}

func (q *Queue[T]) delay(k *key[T], at time.Time) {
	k.state, k.readyAt = keyDelayed, at
	q.delayed.push(k)
}

// Take returns the item whose turn it is at now and marks its key busy until
// Done or Retry; false if nothing may go now.
//
// The lane is chosen by smooth weighted round robin over the lanes that have
// something to send: over any stretch in which all of them have, each gets its
// weight's share, evenly mixed rather than in runs.
func (q *Queue[T]) Take(now time.Time) (Item[T], bool) {
	q.wake(now)
	var best *lane[T]
	var total int64
	rise := q.rise(now)
	for _, l := range q.order {
		if l.ready.len() == 0 {
			continue
		}
		weight := l.weight + rise(l)
		total += weight
		l.current += weight
		if best == nil || l.current > best.current {
			best = l
		}
	}
	if best == nil {
		return Item[T]{}, false
	}
	best.current -= total
	k := best.ready.pop()
	k.state = keyBusy
	best.busy++
	return k.items[0], true
}

const (
	// finely is how many parts a weight has, so that a rise is smooth.
	finely = 1000
	// risesFor is the time over which a lane rises.
	risesFor = 10 * time.Minute
	// risesTo is what part of all weights a lane gains by then: a quarter.
	risesTo = 4
)

// rise returns what a ready lane gains in weight because its oldest item waits: up
// to a quarter of all ready weights, as far as it waits longer than the oldest
// of the lane that waits least. So a lane whose weight is a thousandth of another's
// gets a fifth of the sends after ten minutes, an overload that hits all
// lanes alike changes no share, and a lane's old backlog never takes more from
// the others than that: of 7, 2 and 1, express keeps 7 of 12.5 beside an old bulk,
// and 7 of 15 where standard is as old.
func (q *Queue[T]) rise(now time.Time) func(*lane[T]) int64 {
	var weights int64
	youngest, waiting := time.Duration(-1), 0
	for _, l := range q.order {
		if l.ready.len() == 0 {
			continue
		}
		weights += l.weight
		if since := l.ready.first().items[0].Since; !since.IsZero() {
			waiting++
			if age := max(0, now.Sub(since)); youngest < 0 || age < youngest {
				youngest = age
			}
		}
	}
	return func(l *lane[T]) int64 {
		since := l.ready.first().items[0].Since
		if waiting < 2 || since.IsZero() {
			return 0
		}
		longer := min(max(0, now.Sub(since))-youngest, risesFor)
		return weights / risesTo * int64(longer/time.Millisecond) / int64(risesFor/time.Millisecond)
	}
}

// Ready reports whether Take would return something at now.
func (q *Queue[T]) Ready(now time.Time) bool {
	q.wake(now)
	for _, l := range q.order {
		if l.ready.len() > 0 {
			return true
		}
	}
	return false
}

// NextReady returns when the first delayed key may go; false if none waits.
func (q *Queue[T]) NextReady() (time.Time, bool) {
	if q.delayed.len() == 0 {
		return time.Time{}, false
	}
	return q.delayed.first().readyAt, true
}

func (q *Queue[T]) wake(now time.Time) {
	for q.delayed.len() > 0 && !q.delayed.first().readyAt.After(now) {
		q.makeReady(q.delayed.pop())
	}
}

// Done takes the key's first item out for good; the next of its line may go.
// It does nothing for a key that has no item taken.
func (q *Queue[T]) Done(keyName string) {
	k, ok := q.keys[keyName]
	if !ok || k.state != keyBusy {
		return
	}
	q.lane(k.items[0].Lane).busy--
	q.takeOutFirst(k)
}

// Drop takes an item out that waits, wherever in its key's line it is. It returns
// false for one that is not here and for one that is taken. Its time grows with
// what waits in the lane.
func (q *Queue[T]) Drop(id string) bool {
	k, ok := q.ids[id]
	if !ok {
		return false
	}
	i := slices.IndexFunc(k.items, func(item Item[T]) bool { return item.ID == id })
	if i > 0 {
		q.takeOut(k, i)
		return true
	}
	switch k.state {
	case keyBusy:
		return false
	case keyReady:
		q.lane(k.items[0].Lane).ready.remove(k)
	case keyDelayed:
		q.delayed.remove(k)
	}
	q.takeOutFirst(k)
	return true
}

// takeOutFirst takes out the first item of a key that stands in no line; the next
// one takes its place.
func (q *Queue[T]) takeOutFirst(k *key[T]) {
	q.takeOut(k, 0)
	if len(k.items) == 0 {
		delete(q.keys, k.name)
		return
	}
	q.standIn(k)
}

func (q *Queue[T]) takeOut(k *key[T], i int) {
	item := k.items[i]
	delete(q.ids, item.ID)
	q.lane(item.Lane).length--
	k.items = slices.Delete(k.items, i, i+1)
}

// Retry puts the key's taken item back at the head of its line, not before at.
func (q *Queue[T]) Retry(keyName string, at time.Time) {
	k, ok := q.keys[keyName]
	if !ok || k.state != keyBusy {
		return
	}
	q.lane(k.items[0].Lane).busy--
	q.delay(k, at)
}

// Hasten lets a key that was put back for later go at once. It does nothing for
// one that waits for no time.
func (q *Queue[T]) Hasten(keyName string) {
	if k, ok := q.keys[keyName]; ok && k.state == keyDelayed {
		q.delayed.remove(k)
		q.makeReady(k)
	}
}

// Move puts the key's taken item back like Retry, and into another lane, where it
// does not rise.
func (q *Queue[T]) Move(keyName string, at time.Time, lane string) {
	k, ok := q.keys[keyName]
	if !ok || k.state != keyBusy {
		return
	}
	item := &k.items[0]
	q.lane(item.Lane).length--
	q.lane(item.Lane).busy--
	item.Lane, item.Since = lane, time.Time{}
	q.lane(lane).length++
	q.delay(k, at)
}

// Line returns what stands in a key's line, the first one included.
func (q *Queue[T]) Line(keyName string) []T {
	k, ok := q.keys[keyName]
	if !ok {
		return nil
	}
	line := make([]T, len(k.items))
	for i, item := range k.items {
		line[i] = item.Value
	}
	return line
}

// LaneState is a lane and what waits in it.
type LaneState struct {
	Name string
	// Weight is its share as of now, in thousandths of a weight: with what it gained
	// because it waits.
	Weight int64
	// Waiting is how many items are in it, those taken left out.
	Waiting int
}

// Lanes returns the lanes as of now, in the order in which they were made.
func (q *Queue[T]) Lanes(now time.Time) []LaneState {
	q.wake(now)
	rise := q.rise(now)
	states := make([]LaneState, 0, len(q.order))
	for _, l := range q.order {
		s := LaneState{Name: l.name, Weight: l.weight, Waiting: l.length - l.busy}
		if l.ready.len() > 0 {
			s.Weight += rise(l)
		}
		states = append(states, s)
	}
	return states
}

// Place is where an item stands.
type Place struct {
	Lane string
	// Ahead is how many items of its lane, of all that wait, go before it.
	Ahead int
	// Taken: it is neither done nor put back.
	Taken bool
	// NotBefore is when its key may go at the earliest; zero for at once.
	NotBefore time.Time
}

// Place returns where an item stands; false if it is not here. Its time grows with
// what is here.
func (q *Queue[T]) Place(id string) (Place, bool) {
	k, ok := q.ids[id]
	if !ok {
		return Place{}, false
	}
	i := slices.IndexFunc(k.items, func(item Item[T]) bool { return item.ID == id })
	item := k.items[i]
	p := Place{Lane: item.Lane, Taken: i == 0 && k.state == keyBusy}
	if k.state == keyDelayed {
		p.NotBefore = k.readyAt
	}
	for _, other := range q.keys {
		for n := range other.items {
			o := &other.items[n]
			before := o.Sequence < item.Sequence || other == k && n < i && o.Sequence == item.Sequence
			if o.Lane == item.Lane && before && (n > 0 || other.state != keyBusy) {
				p.Ahead++
			}
		}
	}
	return p, true
}
