package backlog

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Keys come out as they went in, in whatever portions, and sorted once each where that is
// asked.
func TestKeys(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOf(rapid.String()).Draw(t, "keys")
		var packed keys
		for _, key := range all {
			packed.add(key)
		}
		var got []string
		for rest := packed; rest.count > 0; {
			var turn []string
			turn, rest = rest.first(rapid.IntRange(1, 5).Draw(t, "most"))
			got = append(got, turn...)
		}
		if !slices.Equal(got, all) {
			t.Fatalf("got %q, want %q", got, all)
		}
		want := slices.Compact(slices.Sorted(slices.Values(all)))
		sorted := packed.distinct()
		if distinct, _ := sorted.first(sorted.count); !slices.Equal(distinct, want) {
			t.Fatalf("distinct: %s", cmp.Diff(want, distinct))
		}
	})
}

// What is remembered of 300,000 orders that wait for another step is a few megabytes, from
// the beginning and when all of them have a step at the Connector: the operator may have
// 256 Mi, and several Connectors may be deleted at once.
func TestStepsOfALongBacklogFitIntoMemory(t *testing.T) { //nolint:paralleltest // it measures the heap
	const orders, most = 300_000, 20 << 20
	key := func(i int) string { return fmt.Sprintf("shopify_%013d", i) }
	before := heap()
	var found keys
	for i := range orders {
		found.add(key(i))
	}
	s := NewSteps(nil, "netsuite")
	s.left = found.distinct()
	found = keys{}
	left := heap() - before
	for i := range orders {
		s.note(key(i), fmt.Sprintf("#%d, whose erp waits for ship at wms, which is on hold", i))
	}
	all := heap() - before
	t.Logf("%d orders: %.1f MB before they were looked at, %.1f MB after", orders, float64(left)/1e6, float64(all)/1e6)
	if all > most {
		t.Errorf("it keeps %d bytes of %d orders, want at most %d", all, orders, most)
	}
	if s.Orders() != orders || s.Left() != orders {
		t.Errorf("it found %d and has %d left", s.Orders(), s.Left())
	}
	runtime.KeepAlive(s)
}

// heap is how much is in use.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
