package queue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
)

// behindMany is a queue with ten items in bulk, of which the last is the one that is
// wanted sooner, and one in express.
func behindMany() *queue.Queue[int] {
	q := queue.New[int]([]queue.Lane{{Name: "express", Weight: 1000}, {Name: "bulk", Weight: 1}})
	for i := range 10 {
		id := fmt.Sprint("bulk-", i)
		q.Add(queue.Item[int]{ID: id, Key: id, Lane: "bulk", Sequence: uint64(i), Since: start.Add(-time.Hour)})
	}
	q.Add(queue.Item[int]{ID: "express-0", Key: "express-0", Lane: "express", Sequence: 20})
	return q
}

func taken(q *queue.Queue[int], n int) []string {
	var ids []string
	for range n {
		item, ok := q.Take(start)
		if !ok {
			break
		}
		ids = append(ids, item.ID)
		q.Done(item.Key)
	}
	return ids
}

func TestItemInAnotherLane(t *testing.T) {
	q := behindMany()
	if !q.ChangeLane("bulk-9", "express", 21, start) {
		t.Fatal("it did not change its lane")
	}
	if p, _ := q.Place("bulk-9"); p.Lane != "express" || p.Ahead != 1 {
		t.Errorf("it stands at %+v", p)
	}
	if diff := cmp.Diff([]string{"express-0", "bulk-9", "bulk-0"}, taken(q, 3)); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	if got := taken(q, 20); len(got) != 8 || q.Len() != 0 {
		t.Errorf("then went %v, and %d are left", got, q.Len())
	}
}

func TestWhatDoesNotChangeItsLane(t *testing.T) {
	q := behindMany()
	q.Add(queue.Item[int]{ID: "second", Key: "bulk-0", Lane: "bulk", Sequence: 30})
	if q.ChangeLane("nowhere", "express", 21, start) {
		t.Error("one that is not there changed its lane")
	}
	q.Take(start) // express-0
	if item, _ := q.Take(start); item.ID != "bulk-0" || q.ChangeLane(item.ID, "express", 21, start) {
		t.Errorf("%s, which is taken, changed its lane", item.ID)
	}
	// Behind it in its line, or put back for later, it does.
	q.Retry("bulk-0", start.Add(time.Minute))
	if !q.ChangeLane("bulk-0", "express", 21, start) || !q.ChangeLane("second", "express", 22, start) {
		t.Error("what waits did not change its lane")
	}
	if got := taken(q, 20); len(got) != 9 {
		t.Errorf("%d went before the wait was over, want 9: %v", len(got), got)
	}
	item, ok := q.Take(start.Add(time.Minute))
	if !ok || item.ID != "bulk-0" || item.Lane != "express" {
		t.Errorf("took %+v", item)
	}
	for _, l := range q.Lanes(start.Add(time.Minute)) {
		if l.Name == "bulk" && l.Waiting != 0 || l.Name == "express" && l.Waiting != 1 {
			t.Errorf("lane %s has %d", l.Name, l.Waiting)
		}
	}
}
