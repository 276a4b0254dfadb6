package queue_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
)

// play drives a queue that never runs dry, in the way of a busy connector.
type play struct {
	queue    *queue.Queue[int]
	lanes    []queue.Lane
	now      time.Time
	sequence uint64
	ages     bool
}

func newPlay(lanes []queue.Lane, ages bool) *play {
	return &play{queue: queue.New[int](lanes), lanes: lanes, now: start, ages: ages}
}

// add puts an item of a key of its own in line and returns its id.
func (p *play) add(lane string) string {
	p.sequence++
	item := queue.Item[int]{ID: fmt.Sprintf("%s-%d", lane, p.sequence), Lane: lane, Sequence: p.sequence}
	item.Key = item.ID
	if p.ages {
		item.Since = p.now
	}
	p.queue.Add(item)
	return item.ID
}

func drawLanes(t *rapid.T) []queue.Lane {
	lanes := make([]queue.Lane, rapid.IntRange(2, 8).Draw(t, "lanes"))
	for i := range lanes {
		lanes[i] = queue.Lane{Name: fmt.Sprint("lane", i), Weight: rapid.OneOf(rapid.IntRange(1, 10), rapid.IntRange(1, 1000)).Draw(t, "weight")}
	}
	return lanes
}

// However the other lanes fill and empty, a delivery goes within a number of sends
// that its lane's weight and the older ones of its lane give.
func TestEveryDeliveryIsTakenWithinABound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlay(drawLanes(t), false)
		total := 0
		for _, lane := range p.lanes {
			total += lane.Weight
		}
		lane := p.lanes[rapid.IntRange(0, len(p.lanes)-1).Draw(t, "lane")]
		// What went before leaves credit and debt behind.
		for range rapid.IntRange(0, 30).Draw(t, "before") {
			p.add(p.lanes[rapid.IntRange(0, len(p.lanes)-1).Draw(t, "early")].Name)
			if rapid.Bool().Draw(t, "send") {
				p.send(t)
			}
		}
		older := p.queue.Depth()[lane.Name]
		wanted := p.add(lane.Name)
		bound := (older+2)*((total+lane.Weight-1)/lane.Weight) + len(p.lanes)
		busy := rapid.SliceOfN(rapid.IntRange(0, len(p.lanes)-1), 1, 8).Draw(t, "busy")
		for sends := 1; ; sends++ {
			for _, i := range busy {
				if p.queue.Depth()[p.lanes[i].Name] < 2 {
					p.add(p.lanes[i].Name)
				}
			}
			if p.send(t) == wanted {
				return
			}
			if sends > bound {
				t.Fatalf("%s is not sent after %d sends; weight %d of %d, %d older in its lane", wanted, sends, lane.Weight, total, older)
			}
		}
	})
}

func (p *play) send(t *rapid.T) string {
	item, ok := p.queue.Take(p.now)
	if !ok {
		t.Fatal("nothing to take while something waits")
	}
	p.queue.Done(item.Key)
	return item.ID
}

// Where weights lie far apart the share alone would be a wait of hours. What has
// waited ten minutes longer than what the other lanes send gets a fifth of
// the sends, however little its lane weighs.
func TestOldDeliveryRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlay([]queue.Lane{
			{Name: "heavy", Weight: rapid.IntRange(1, 1000).Draw(t, "heavy")}, {Name: "light", Weight: 1},
		}, true)
		old := rapid.IntRange(1, 50).Draw(t, "old")
		for range old {
			p.add("light")
		}
		p.now = p.now.Add(10*time.Minute + time.Duration(rapid.IntRange(0, 3600).Draw(t, "older"))*time.Second)
		for sends := 0; p.queue.Depth()["light"] > 0; sends++ {
			if most := 5*old + 5; sends > most {
				t.Fatalf("%d of %d old deliveries are left after %d sends", p.queue.Depth()["light"], old, most)
			}
			for p.queue.Depth()["heavy"] < 3 {
				p.add("heavy")
			}
			p.send(t)
			p.now = p.now.Add(10 * time.Millisecond)
		}
	})
}

// An old backlog of one lane takes no more than its rise from the others, and
// a backlog of all lanes changes no share.
func TestRiseIsBounded(t *testing.T) {
	tests := map[string]struct {
		ages map[string]time.Duration
		want map[string]int
	}{
		"all as old":       {map[string]time.Duration{"express": time.Hour, "standard": time.Hour, "bulk": time.Hour}, map[string]int{"express": 700, "standard": 200, "bulk": 100}},
		"old bulk":         {map[string]time.Duration{"bulk": time.Hour}, map[string]int{"express": 560, "standard": 160, "bulk": 280}},
		"bulk half way up": {map[string]time.Duration{"bulk": 5 * time.Minute}, map[string]int{"express": 622, "standard": 178, "bulk": 200}},
		"bulk is young":    {map[string]time.Duration{"express": time.Hour}, map[string]int{"express": 760, "standard": 160, "bulk": 80}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			lanes := []queue.Lane{{Name: "express", Weight: 7}, {Name: "standard", Weight: 2}, {Name: "bulk", Weight: 1}}
			q := queue.New[int](lanes)
			for i := range 1000 {
				for _, lane := range lanes {
					id := fmt.Sprintf("%s-%d", lane.Name, i)
					q.Add(queue.Item[int]{ID: id, Key: id, Lane: lane.Name, Sequence: uint64(i), Since: start.Add(-test.ages[lane.Name])})
				}
			}
			got := map[string]int{}
			for range 1000 {
				item, _ := q.Take(start)
				got[item.Lane]++
				q.Done(item.Key)
			}
			for lane, want := range test.want {
				if got[lane] < want-1 || got[lane] > want+1 {
					t.Errorf("1,000 sends went %v, want %v", got, test.want)
				}
			}
		})
	}
}

// A key that waits, and what stands behind it, takes no turn from any other, in
// whatever lane; keys that may go are out side by side.
func TestWaitingKeysLeaveTheRestAtFullPace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := queue.New[int]([]queue.Lane{{Name: "express", Weight: 7}, {Name: "bulk", Weight: 1}})
		waiting, rest := rapid.IntRange(1, 300).Draw(t, "waiting"), rapid.IntRange(1, 50).Draw(t, "rest")
		for i := range waiting {
			for n := range rapid.IntRange(1, 3).Draw(t, "behind") {
				key := fmt.Sprint("waiting", i)
				q.Add(queue.Item[int]{ID: fmt.Sprint(key, "/", n), Key: key, Lane: rapid.SampledFrom([]string{"express", "bulk"}).Draw(t, "lane"), Sequence: uint64(i)})
			}
		}
		for range waiting {
			item, _ := q.Take(start)
			q.Retry(item.Key, start.Add(time.Hour))
		}
		out := map[string]bool{}
		for i := range rest {
			key := fmt.Sprint("rest", i)
			q.Add(queue.Item[int]{ID: key, Key: key, Lane: "bulk", Sequence: uint64(waiting + i)})
		}
		for range rest {
			item, ok := q.Take(start)
			if !ok || out[item.Key] {
				t.Fatalf("took %q, want each of the rest once", item.ID)
			}
			out[item.Key] = true
		}
		if item, ok := q.Take(start); ok {
			t.Fatalf("took %q, want nothing while all that is left waits", item.ID)
		}
	})
}

// A lane that is to have one part of ten has it, whatever the others weigh.
func TestLaneWithAPart(t *testing.T) {
	for name, lanes := range map[string][]queue.Lane{
		"one lane": {{Name: "standard", Weight: 1}}, "three": {{Name: "express", Weight: 7}, {Name: "standard", Weight: 2}, {Name: "bulk", Weight: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlay(append([]queue.Lane{{Name: "waiting", Part: 10}}, lanes...), false)
			got := 0
			for range 1000 {
				for _, lane := range p.lanes {
					for p.queue.Depth()[lane.Name] < 2 {
						p.add(lane.Name)
					}
				}
				item, _ := p.queue.Take(p.now)
				p.queue.Done(item.Key)
				if item.Lane == "waiting" {
					got++
				}
			}
			if got < 99 || got > 101 {
				t.Errorf("it got %d of 1,000 sends, want 100", got)
			}
		})
	}
}
