// Package queue holds what one connector still has to send: lanes share the
// sends by weight, what concerns one key stays in order, and a key that waits
// holds back only itself. It is pure and not safe for concurrent use.
package queue

import (
	"container/heap"
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
	Value    T
}

// Queue is what waits at one connector.
type Queue[T any] struct {
	lanes   map[string]*lane[T]
	order   []*lane[T]
	keys    map[string]*key[T]
	ids     map[string]struct{}
	delayed delayHeap[T]
}

type lane[T any] struct {
	name    string
	weight  int
	current int
	ready   readyHeap[T]
	length  int
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
}

// New returns an empty queue with these lanes.
func New[T any](lanes []Lane) *Queue[T] {
	q := &Queue[T]{lanes: map[string]*lane[T]{}, keys: map[string]*key[T]{}, ids: map[string]struct{}{}}
	q.SetLanes(lanes)
	return q
}

// SetLanes changes the shares; what waits stays.
func (q *Queue[T]) SetLanes(lanes []Lane) {
	for _, l := range lanes {
		q.lane(l.Name).weight = max(1, l.Weight)
	}
}

func (q *Queue[T]) lane(name string) *lane[T] {
	l, ok := q.lanes[name]
	if !ok {
		l = &lane[T]{name: name, weight: 1}
		q.lanes[name] = l
		q.order = append(q.order, l)
	}
	return l
}

// Len returns how many items are here, those taken and not done included.
func (q *Queue[T]) Len() int { return len(q.ids) }

// Add puts an item at the end of its key's line. It returns false if the ID is
// already here: a redelivery of what still waits.
func (q *Queue[T]) Add(item Item[T]) bool {
	if _, here := q.ids[item.ID]; here {
		return false
	}
	q.ids[item.ID] = struct{}{}
	q.lane(item.Lane).length++
	k, ok := q.keys[item.Key]
	if !ok {
		k = &key[T]{name: item.Key}
		q.keys[item.Key] = k
	}
	k.items = append(k.items, item)
	if len(k.items) == 1 {
		q.makeReady(k)
	}
	return true
}

func (q *Queue[T]) makeReady(k *key[T]) {
	k.state = keyReady
	heap.Push(&q.lane(k.items[0].Lane).ready, k)
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
	total := 0
	for _, l := range q.order {
		if len(l.ready) == 0 {
			continue
		}
		total += l.weight
		l.current += l.weight
		if best == nil || l.current > best.current {
			best = l
		}
	}
	if best == nil {
		return Item[T]{}, false
	}
	best.current -= total
	k := heap.Pop(&best.ready).(*key[T])
	k.state = keyBusy
	return k.items[0], true
}

// Ready reports whether Take would return something at now.
func (q *Queue[T]) Ready(now time.Time) bool {
	q.wake(now)
	for _, l := range q.order {
		if len(l.ready) > 0 {
			return true
		}
	}
	return false
}

// NextReady returns when the first delayed key may go; false if none waits.
func (q *Queue[T]) NextReady() (time.Time, bool) {
	if len(q.delayed) == 0 {
		return time.Time{}, false
	}
	return q.delayed[0].readyAt, true
}

func (q *Queue[T]) wake(now time.Time) {
	for len(q.delayed) > 0 && !q.delayed[0].readyAt.After(now) {
		q.makeReady(heap.Pop(&q.delayed).(*key[T]))
	}
}

// Done takes the key's first item out for good; the next of its line may go.
// It does nothing for a key that has no item taken.
func (q *Queue[T]) Done(keyName string) {
	k, ok := q.keys[keyName]
	if !ok || k.state != keyBusy {
		return
	}
	head := k.items[0]
	delete(q.ids, head.ID)
	q.lane(head.Lane).length--
	k.items = k.items[1:]
	if len(k.items) == 0 {
		delete(q.keys, keyName)
		return
	}
	q.makeReady(k)
}

// Retry puts the key's taken item back at the head of its line, not before at.
func (q *Queue[T]) Retry(keyName string, at time.Time) {
	k, ok := q.keys[keyName]
	if !ok || k.state != keyBusy {
		return
	}
	k.state, k.readyAt = keyDelayed, at
	heap.Push(&q.delayed, k)
}

// Depth returns how many items each lane holds.
func (q *Queue[T]) Depth() map[string]int {
	depth := make(map[string]int, len(q.order))
	for _, l := range q.order {
		depth[l.name] = l.length
	}
	return depth
}

type readyHeap[T any] []*key[T]

func (h readyHeap[T]) Len() int           { return len(h) }
func (h readyHeap[T]) Less(i, j int) bool { return h[i].items[0].Sequence < h[j].items[0].Sequence }
func (h readyHeap[T]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is part of heap.Interface.
func (h *readyHeap[T]) Push(x any) { *h = append(*h, x.(*key[T])) }

// Pop is part of heap.Interface.
func (h *readyHeap[T]) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

type delayHeap[T any] []*key[T]

func (h delayHeap[T]) Len() int           { return len(h) }
func (h delayHeap[T]) Less(i, j int) bool { return h[i].readyAt.Before(h[j].readyAt) }
func (h delayHeap[T]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is part of heap.Interface.
func (h *delayHeap[T]) Push(x any) { *h = append(*h, x.(*key[T])) }

// Pop is part of heap.Interface.
func (h *delayHeap[T]) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
