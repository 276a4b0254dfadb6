package queue

import (
	"slices"
	"time"
)

// ChangeLane puts an item that waits into another lane, with its place and its time
// there, and takes along what stands before it in its key in lighter ones; where what
// stands behind it is in a heavier one, it is taken along itself. It returns false for
// one that is not here, is taken, or stands in a lane with a part.
func (q *Queue[T]) ChangeLane(id, lane string, sequence uint64, since time.Time) bool {
	k, ok := q.ids[id]
	if !ok {
		return false
	}
	i := slices.IndexFunc(k.items, func(item Item[T]) bool { return item.ID == id })
	if i == 0 && k.state == keyBusy || q.lane(k.items[i].Lane).part {
		return false
	}
	q.putIn(k, i, lane, sequence, since)
	q.takeAlong(k, i)
	for n := i + 1; n < len(k.items); n++ {
		if !q.lane(k.items[n].Lane).part {
			q.takeAlong(k, n)
			break
		}
	}
	return true
}

// takeAlong puts what stands before an item in its key's line, in lanes that weigh less,
// into the item's lane, at its place there: it can go only after them, and would wait for
// all that is in the lighter lane otherwise. At its place and not at their own, which is
// older: so they overtake none that the item does not overtake. One that is taken goes on
// in the new lane if it is put back. What stands in a lane with a part has its sends
// whatever others weigh, and stays.
//
// So the rest of a line never gets heavier from its head on, and the first that is not
// lighter is the last to look at.
func (q *Queue[T]) takeAlong(k *key[T], i int) {
	item := k.items[i]
	lane := q.lane(item.Lane)
	if lane.part {
		return
	}
	for n := i - 1; n >= 0; n-- {
		before := q.lane(k.items[n].Lane)
		if before.part {
			continue
		}
		if before.weight >= lane.weight {
			return
		}
		q.putIn(k, n, item.Lane, item.Sequence, item.Since)
	}
}

// putIn puts an item into a lane, at a place there.
func (q *Queue[T]) putIn(k *key[T], i int, lane string, sequence uint64, since time.Time) {
	item := &k.items[i]
	from, to := q.lane(item.Lane), q.lane(lane)
	ready := i == 0 && k.state == keyReady
	if ready {
		from.ready.remove(k)
	}
	from.length--
	to.length++
	if i == 0 && k.state == keyBusy {
		from.busy--
		to.busy++
	}
	item.Lane, item.Sequence, item.Since = lane, sequence, since
	if ready {
		q.makeReady(k)
	}
}
