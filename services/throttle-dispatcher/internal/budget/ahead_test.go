package budget

import (
	"testing"
	"time"
)

func TestAheadOfTheConcurrency(t *testing.T) {
	b, err := New(Limits{Concurrency: []Concurrency{{Name: "parallel", Calls: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	if got := len(b.Reserve(now, time.Second, 10)); got != 2 {
		t.Fatalf("%d permits under a concurrency of 2", got)
	}
	b.Ahead(3)
	if got := len(b.Reserve(now, time.Second, 10)); got != 3 {
		t.Fatalf("%d permits more with 3 ahead", got)
	}
	// A call that was cut off may be under way for a moment longer, unseen.
	b.Settle(1, now.Add(time.Second))
	b.Settle(2, now)
	if at, ok := b.Next(now); ok {
		t.Errorf("a further permit at %v, with three out and one cut off under a concurrency of 2", at)
	}
	if at, ok := b.Next(now.Add(time.Second + 1)); !ok {
		t.Errorf("none when that is over: %v", at)
	}
}
