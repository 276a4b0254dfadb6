package queue_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
)

// threeLanes is a queue with sixty others in bulk, and the lanes of a Connector that
// names none.
func threeLanes() *queue.Queue[int] {
	q := queue.New[int]([]queue.Lane{
		{Name: "express", Weight: 7}, {Name: "standard", Weight: 2}, {Name: "bulk", Weight: 1}, {Name: "waiting", Part: 10},
	})
	for i := range 60 {
		id := fmt.Sprint("bulk-", i)
		q.Add(queue.Item[int]{ID: id, Key: id, Lane: "bulk", Sequence: uint64(i), Since: start.Add(-time.Hour)})
	}
	return q
}

// until takes items up to the one of that id, and returns which were of key a and how
// many were not.
func until(t *testing.T, q *queue.Queue[int], id string) (others int, line []string) {
	t.Helper()
	for {
		item, ok := q.Take(start)
		if !ok {
			t.Fatalf("%s is not sent; sent of its key were %v", id, line)
		}
		q.Done(item.Key)
		if item.Key == "a" {
			line = append(line, item.ID)
		} else {
			others++
		}
		if item.ID == id {
			return others, line
		}
	}
}

// What a live item has to wait for in its key goes with it, in order, and does not wait
// for what is in bulk.
func TestWhatStandsBeforeALiveItemIsTakenAlong(t *testing.T) {
	q := threeLanes()
	for n := range uint64(3) {
		q.Add(queue.Item[int]{ID: fmt.Sprint("read-", n), Key: "a", Lane: "bulk", Sequence: 60 + n, Since: start.Add(-time.Hour)})
	}
	q.Add(queue.Item[int]{ID: "other", Key: "other", Lane: "express", Sequence: 70})
	q.Add(queue.Item[int]{ID: "live", Key: "a", Lane: "express", Sequence: 71, Since: start})
	if p, _ := q.Place("live"); p.Lane != "express" || p.Ahead != 4 {
		t.Errorf("it stands at %+v, want the other and three of its key before it", p)
	}
	if diff := cmp.Diff(map[string]int{"express": 5, "standard": 0, "bulk": 60, "waiting": 0}, q.Depth()); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	others, line := until(t, q, "live")
	// Five of express beside bulk, 7 to 1 and a quarter for what is old, need two of bulk at most.
	if diff := cmp.Diff([]string{"read-0", "read-1", "read-2", "live"}, line); diff != "" || others > 3 {
		t.Errorf("%d others went before it, want 3 at most; of its key, want -, got +\n%s", others, diff)
	}
}

func TestWhatIsNotTakenAlong(t *testing.T) {
	for name, test := range map[string]struct {
		before, after, want string
	}{
		"a heavier one":               {"express", "standard", "express"},
		"one in the same lane":        {"bulk", "bulk", "bulk"},
		"one that waited":             {"waiting", "express", "waiting"},
		"one before another who does": {"bulk", "waiting", "bulk"},
		"one that is as light":        {"renamed", "bulk", "renamed"},
	} {
		t.Run(name, func(t *testing.T) {
			q := threeLanes()
			q.Add(queue.Item[int]{ID: "first", Key: "a", Lane: test.before, Sequence: 60})
			q.Add(queue.Item[int]{ID: "second", Key: "a", Lane: test.after, Sequence: 61})
			if p, _ := q.Place("first"); p.Lane != test.want {
				t.Errorf("the first stands in %s, want %s", p.Lane, test.want)
			}
		})
	}
}

// What is out goes on in the new lane if it is put back; what waits for its time waits for it.
func TestWhatIsOutOrWaitsIsTakenAlong(t *testing.T) {
	for name, again := range map[string]func(q *queue.Queue[int]){
		"out":  func(q *queue.Queue[int]) { addLive(q); q.Retry("a", time.Time{}) },
		"late": func(q *queue.Queue[int]) { q.Retry("a", start.Add(time.Minute)); addLive(q); q.Hasten("a") },
	} {
		t.Run(name, func(t *testing.T) {
			q := queue.New[int]([]queue.Lane{{Name: "express", Weight: 7}, {Name: "bulk", Weight: 1}})
			q.Add(queue.Item[int]{ID: "read", Key: "a", Lane: "bulk", Sequence: 1})
			if item, ok := q.Take(start); !ok || item.ID != "read" {
				t.Fatalf("took %q", item.ID)
			}
			again(q)
			for _, l := range q.Lanes(start) {
				if want := map[string]int{"express": 2}[l.Name]; l.Waiting != want {
					t.Errorf("%d wait in %s, want %d", l.Waiting, l.Name, want)
				}
			}
			if got := taken(q, 3); !cmp.Equal(got, []string{"read", "live"}) || q.Len() != 0 {
				t.Errorf("then went %v", got)
			}
		})
	}
}

func addLive(q *queue.Queue[int]) {
	q.Add(queue.Item[int]{ID: "live", Key: "a", Lane: "express", Sequence: 2})
}

// An item that changes its lane takes along what stands before it, and is not put where
// what stands behind it would have to wait.
func TestWhatChangesItsLaneTakesAlong(t *testing.T) {
	q := threeLanes()
	for n, lane := range []string{"bulk", "bulk", "standard"} {
		q.Add(queue.Item[int]{ID: fmt.Sprint("a", n), Key: "a", Lane: lane, Sequence: 60 + uint64(n)})
	}
	lanes := func(want ...string) {
		t.Helper()
		for n, lane := range want {
			if p, _ := q.Place(fmt.Sprint("a", n)); p.Lane != lane {
				t.Errorf("a%d stands in %s, want %s", n, p.Lane, lane)
			}
		}
	}
	lanes("standard", "standard", "standard")
	q.ChangeLane("a1", "express", 70, start)
	lanes("express", "express", "standard")
	q.ChangeLane("a1", "bulk", 71, start)
	lanes("express", "standard", "standard")
	if _, line := until(t, q, "a2"); !cmp.Equal(line, []string{"a0", "a1", "a2"}) {
		t.Errorf("they went as %v", line)
	}
}

// However lines are made up, nothing stands before what is in a heavier lane, and each
// lane counts what is in it.
func TestNothingWaitsForALighterLaneProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := []queue.Lane{{Name: "x", Weight: 7}, {Name: "y", Weight: 2}, {Name: "z", Weight: 1}, {Name: "w", Part: 10}}
		weight := map[string]int{"x": 7, "y": 2, "z": 1}
		q := queue.New[int](lanes)
		keys := map[string][]string{}
		sequence := uint64(0)
		out := ""
		lane := rapid.SampledFrom([]string{"x", "y", "z"})
		key := rapid.SampledFrom([]string{"a", "b", "c"})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k := key.Draw(t, "key")
				sequence++
				id := fmt.Sprint(k, sequence)
				q.Add(queue.Item[int]{ID: id, Key: k, Lane: lane.Draw(t, "lane"), Sequence: sequence})
				keys[k] = append(keys[k], id)
			},
			"change": func(t *rapid.T) {
				if line := keys[key.Draw(t, "key")]; len(line) > 0 {
					sequence++
					q.ChangeLane(rapid.SampledFrom(line).Draw(t, "id"), lane.Draw(t, "lane"), sequence, time.Time{})
				}
			},
			"take": func(*rapid.T) {
				if out == "" {
					if item, ok := q.Take(start); ok {
						out = item.Key
					}
				}
			},
			"back": func(*rapid.T) { q.Retry(out, time.Time{}); out = "" },
			"wait": func(*rapid.T) { q.Move(out, start, "w"); out = "" },
			"done": func(*rapid.T) {
				if out != "" {
					q.Done(out)
					keys[out], out = keys[out][1:], ""
				}
			},
			"": func(t *rapid.T) {
				in := map[string]int{}
				for _, line := range keys {
					heaviest := 0
					for _, id := range slices.Backward(line) {
						p, ok := q.Place(id)
						if !ok {
							t.Fatalf("%s is lost", id)
						}
						if !p.Taken {
							in[p.Lane]++
						}
						if p.Lane == "w" {
							continue
						}
						if weight[p.Lane] < heaviest {
							t.Fatalf("%s stands in %s, before what is in a heavier lane", id, p.Lane)
						}
						heaviest = weight[p.Lane]
					}
				}
				for _, l := range q.Lanes(start) {
					if l.Waiting != in[l.Name] {
						t.Fatalf("%d wait in %s, want %d", l.Waiting, l.Name, in[l.Name])
					}
				}
			},
		})
	})
}
