package poller

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

// A few orders that webhooks missed go like live ones, because somebody waits for each;
// the many that an outage leaves do not stand before live ones.
func TestManyThatWereMissedAreOvertaken(t *testing.T) {
	w := newWorld(t)
	for i := range fewMissed {
		w.sell(fmt.Sprint("few-", i), time.Duration(600+i)*time.Second)
	}
	w.start()
	w.await("the few are told", func() bool { return len(w.events) == fewMissed })
	w.mu.Lock()
	for _, e := range w.events {
		if e.GetBulk() {
			t.Errorf("order %s is told as one of many", e.GetOrder().GetId())
		}
	}
	w.mu.Unlock()
	// All at once, as one comparison finds them.
	w.change(func() {
		for i := range fewMissed + 5 {
			id := fmt.Sprint("many-", i)
			o := proto.CloneOf(w.orders["few-0"])
			o.Id = id
			w.orders[id] = o
		}
	})
	w.await("the many are told", func() bool { return len(w.events) == 2*fewMissed+5 })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events[fewMissed:] {
		if !e.GetBulk() {
			t.Errorf("order %s is told like a live one", e.GetOrder().GetId())
		}
	}
}
