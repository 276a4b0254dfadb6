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

func TestDroppedItemLetsTheNextOfItsKeyGo(t *testing.T) {
	for name, wait := range map[string]bool{"ready": false, "put back to wait": true} {
		t.Run(name, func(t *testing.T) {
			q := queue.New[int](nil)
			for i, id := range []string{"a1", "a2", "a3"} {
				q.Add(queue.Item[int]{ID: id, Key: "a", Sequence: uint64(i)})
			}
			if wait {
				q.Take(start)
				q.Retry("a", start.Add(time.Hour))
			}
			if !q.Drop("a2") || !q.Drop("a1") || q.Drop("a1") || q.Drop("b1") {
				t.Fatal("want a2 and a1 dropped once, and nothing that is not there")
			}
			if item, ok := q.Take(start); !ok || item.ID != "a3" {
				t.Fatalf("took %q, want a3", item.ID)
			}
			if q.Drop("a3") {
				t.Fatal("dropped what is under way")
			}
			q.Done("a")
			if q.Len() != 0 {
				t.Errorf("%d left", q.Len())
			}
		})
	}
}

func TestItemWaitsForItsTime(t *testing.T) {
	q := queue.New[int](nil)
	q.Add(queue.Item[int]{ID: "a1", Key: "a", NotBefore: start.Add(time.Second)})
	if q.Ready(start) {
		t.Fatal("ready before its time")
	}
	if at, ok := q.NextReady(); !ok || !at.Equal(start.Add(time.Second)) {
		t.Errorf("next ready at %v, want its time", at)
	}
	if item, ok := q.Take(start.Add(time.Second)); !ok || item.ID != "a1" {
		t.Errorf("took %q at its time", item.ID)
	}
}

// Whatever is added, dropped, retried and done: per key the order is that of arrival,
// never two of a key are out at once, and nothing is lost or doubled.
func TestOrderPerKeyProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := queue.New[int]([]queue.Lane{{Name: "x", Weight: 3}, {Name: "y", Weight: 1}})
		now := start
		next := map[string]int{}
		gone := map[string]bool{}
		dropped := 0
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
				for gone[fmt.Sprintf("%s/%d", item.Key, next[item.Key])] {
					next[item.Key]++
					dropped--
				}
				if item.Value != next[item.Key] {
					t.Fatalf("key %s: took number %d, want %d", item.Key, item.Value, next[item.Key])
				}
				out[item.Key] = item.Value
			},
			"drop": func(t *rapid.T) {
				key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
				if next[key] >= added[key] {
					return
				}
				n := rapid.IntRange(next[key], added[key]-1).Draw(t, "number")
				id := fmt.Sprintf("%s/%d", key, n)
				under, busy := out[key]
				if want := !gone[id] && (!busy || under != n); q.Drop(id) != want {
					t.Fatalf("drop of %s did not say %v", id, want)
				} else if want {
					gone[id] = true
					dropped++
				}
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
				if q.Len() != left-dropped {
					t.Fatalf("holds %d, want %d", q.Len(), left-dropped)
				}
			},
		})
	})
}

func TestPlacesAndLanes(t *testing.T) {
	q := queue.New[int]([]queue.Lane{{Name: "express", Weight: 7}, {Name: "bulk", Weight: 1}})
	now := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	for n := range uint64(5) {
		q.Add(queue.Item[int]{ID: string(rune('a' + n)), Key: string(rune('k' + n%4)), Lane: "bulk", Sequence: n + 1})
	}
	want := func(id string, place queue.Place) {
		t.Helper()
		if got, ok := q.Place(id); !ok || got != place {
			t.Errorf("%s is at %+v (%v), want %+v", id, got, ok, place)
		}
	}
	want("a", queue.Place{Lane: "bulk"})
	want("e", queue.Place{Lane: "bulk", Ahead: 4}) // behind "a" in its key
	q.Take(now)
	want("a", queue.Place{Lane: "bulk", Taken: true})
	want("e", queue.Place{Lane: "bulk", Ahead: 3})
	q.Take(now)
	later := now.Add(time.Minute)
	q.Retry("l", later)
	want("b", queue.Place{Lane: "bulk", NotBefore: later})
	want("e", queue.Place{Lane: "bulk", Ahead: 3})
	for _, l := range q.Lanes(now) {
		waiting := map[string]int{"bulk": 4, "express": 0}[l.Name]
		if l.Waiting != waiting || l.Weight != map[string]int64{"bulk": 1000, "express": 7000}[l.Name] {
			t.Errorf("%+v, want %d waiting", l, waiting)
		}
	}
	q.Done("k")
	if _, ok := q.Place("a"); ok {
		t.Error("what is done has a place")
	}
	want("e", queue.Place{Lane: "bulk", Ahead: 3})
}

func TestMovedItemGoesInItsNewLane(t *testing.T) {
	q := queue.New[int]([]queue.Lane{{Name: "express", Weight: 9}, {Name: "waiting", Part: 10}})
	for i, id := range []string{"a1", "a2"} {
		q.Add(queue.Item[int]{ID: id, Key: "a", Lane: "express", Sequence: uint64(i), Value: i, Since: start})
	}
	q.Move("a", start, "waiting")
	if first, ok := q.Take(start); !ok || first.ID != "a1" {
		t.Fatalf("took %q: what is not taken was moved", first.ID)
	}
	q.Move("a", start.Add(time.Second), "waiting")
	if got := q.Depth(); got["express"] != 1 || got["waiting"] != 1 {
		t.Errorf("lanes hold %v, want one each", got)
	}
	if line := q.Line("a"); len(line) != 2 || line[0] != 0 || line[1] != 1 || q.Line("b") != nil {
		t.Errorf("in line are %v", line)
	}
	if _, ok := q.Take(start); ok {
		t.Fatal("took something before its time, or out of order")
	}
	for _, want := range []string{"a1", "a2"} {
		item, ok := q.Take(start.Add(time.Second))
		if !ok || item.ID != want {
			t.Fatalf("took %q, want %s", item.ID, want)
		}
		q.Done("a")
	}
	if got := q.Depth(); got["express"] != 0 || got["waiting"] != 0 {
		t.Errorf("lanes hold %v at the end", got)
	}
}
