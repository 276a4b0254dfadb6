package queue_test

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 28, 14, 47, 0, 0, time.UTC)

func TestLanesShareByWeight(t *testing.T) {
	q := queue.New[int]([]queue.Lane{{Name: "express", Weight: 7}, {Name: "standard", Weight: 2}, {Name: "bulk", Weight: 1}})
	for i := range 100 {
		for _, lane := range []string{"express", "standard", "bulk"} {
			id := fmt.Sprintf("%s-%d", lane, i)
			q.Add(queue.Item[int]{ID: id, Key: id, Lane: lane, Sequence: uint64(i)})
		}
	}
	got := map[string]int{}
	for range 100 {
		item, ok := q.Take(start)
		if !ok {
			t.Fatal("nothing to take with 300 waiting")
		}
		got[item.Lane]++
		q.Done(item.Key)
	}
	if got["express"] != 70 || got["standard"] != 20 || got["bulk"] != 10 {
		t.Errorf("100 sends went %v, want 70, 20 and 10", got)
	}
}

func TestWaitingKeyHoldsBackOnlyItself(t *testing.T) {
	q := queue.New[int](nil)
	q.Add(queue.Item[int]{ID: "a1", Key: "a", Sequence: 1})
	q.Add(queue.Item[int]{ID: "a2", Key: "a", Sequence: 2})
	q.Add(queue.Item[int]{ID: "b1", Key: "b", Sequence: 3})
	first, _ := q.Take(start)
	q.Retry(first.Key, start.Add(time.Minute))
	second, ok := q.Take(start)
	if !ok || second.ID != "b1" {
		t.Fatalf("took %q, want b1 while a waits", second.ID)
	}
	q.Done("b")
	if _, ok := q.Take(start.Add(59 * time.Second)); ok {
		t.Fatal("took something while only the waiting key is left")
	}
	if at, ok := q.NextReady(); !ok || !at.Equal(start.Add(time.Minute)) {
		t.Errorf("next ready at %v, want the end of the wait", at)
	}
	third, ok := q.Take(start.Add(time.Minute))
	if !ok || third.ID != "a1" {
		t.Errorf("took %q after the wait, want a1 again", third.ID)
	}
}

// Whatever is added, retried and done: per key the order is that of arrival,
// never two of a key are out at once, and nothing is lost or doubled.
func TestOrderPerKeyProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := queue.New[int]([]queue.Lane{{Name: "x", Weight: 3}, {Name: "y", Weight: 1}})
		now := start
		next := map[string]int{}
		added := map[string]int{}
		out := map[string]int{}
		sequence := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
				lane := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "lane")
				sequence++
				id := fmt.Sprintf("%s/%d", key, added[key])
				if !q.Add(queue.Item[int]{ID: id, Key: key, Lane: lane, Sequence: sequence, Value: added[key]}) {
					t.Fatalf("new id %s refused", id)
				}
				if q.Add(queue.Item[int]{ID: id, Key: key, Lane: lane, Sequence: sequence}) {
					t.Fatalf("id %s taken in twice", id)
				}
				added[key]++
			},
			"take": func(t *rapid.T) {
				item, ok := q.Take(now)
				if !ok {
					return
				}
				if _, busy := out[item.Key]; busy {
					t.Fatalf("key %s is out twice", item.Key)
				}
				if item.Value != next[item.Key] {
					t.Fatalf("key %s: took number %d, want %d", item.Key, item.Value, next[item.Key])
				}
				out[item.Key] = item.Value
			},
			"finish": func(t *rapid.T) {
				for key := range out {
					delete(out, key)
					if rapid.Bool().Draw(t, "retry") {
						q.Retry(key, now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "wait"))*time.Second))
						return
					}
					next[key]++
					q.Done(key)
					return
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(1, 3).Draw(t, "s")) * time.Second) },
			"": func(t *rapid.T) {
				left := 0
				for key, n := range added {
					left += n - next[key]
				}
				if q.Len() != left {
					t.Fatalf("holds %d, want %d", q.Len(), left)
				}
			},
		})
	})
}
