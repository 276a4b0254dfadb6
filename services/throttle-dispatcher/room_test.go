package throttledispatcher_test

import (
	"flag"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/semaphore"
)

// Most tests wait most of the time, for windows, leases and outages: two at a time, as
// many as there are processors, leave these idle for three quarters of it. So how many
// run is a matter of room: four that wait, or two that judge by the clock and want to be
// disturbed no more than that. Twice as many take a third less, and each run of those had
// another one that its neighbours made late.
const (
	roomInAll   = 4
	roomToWait  = 1
	roomToJudge = 2
)

// rooms is what is left of it, and the names of the tests that have theirs.
type rooms struct {
	left  *semaphore.Weighted
	taken sync.Map
}

var room = rooms{left: semaphore.NewWeighted(roomInAll)}

// manyAtOnce lets room alone say how many tests run, where nobody has said it by -parallel.
func manyAtOnce() error { return flag.Set("test.parallel", "100") }

// needs waits until there is room for the test, and keeps it until that and its cleanups
// have ended. A test that judges by the clock calls it first; others get theirs with
// their first world. Nobody who has some waits for more, so that everybody gets it: a
// test within another shares that one's.
func needs(t testing.TB, size int64) {
	t.Helper()
	for name, more := t.Name(), true; more; {
		if _, has := room.taken.Load(name); has {
			return
		}
		end := strings.LastIndexByte(name, '/')
		if more = end > 0; more {
			name = name[:end]
		}
	}
	if err := room.left.Acquire(t.Context(), size); err != nil {
		t.Fatal(err)
	}
	room.taken.Store(t.Name(), size)
	t.Cleanup(func() {
		room.taken.Delete(t.Name())
		room.left.Release(size)
	})
}
