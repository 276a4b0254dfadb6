package logicgate

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Tasks of a key run one at a time in their order, and never more at once than
// there are workers; all of them run.
func TestKeyedKeepsTheOrderOfEachKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.IntRange(1, 4).Draw(t, "workers")
		keys := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 40).Draw(t, "keys")
		k := newKeyed()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var (
			mu      sync.Mutex
			got     = map[string][]int{}
			want    = map[string][]int{}
			running = map[string]bool{}
			most    int
			left    sync.WaitGroup
			ended   sync.WaitGroup
		)
		ended.Go(func() { k.run(ctx, workers) })
		for n, key := range keys {
			want[key] = append(want[key], n)
			left.Add(1)
			k.submit(key, func(context.Context) {
				defer left.Done()
				mu.Lock()
				if running[key] {
					t.Errorf("two tasks of %s at once", key)
				}
				running[key] = true
				most = max(most, len(running))
				got[key] = append(got[key], n)
				mu.Unlock()
				mu.Lock()
				delete(running, key)
				mu.Unlock()
			})
		}
		left.Wait()
		cancel()
		ended.Wait()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if most > workers {
			t.Fatalf("%d tasks at once on %d workers", most, workers)
		}
		k.submit("a", func(context.Context) { t.Error("a task runs after the end") })
	})
}

// One key with a long line does not keep another from its turn.
func TestKeyedTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyed()
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var other time.Duration
		for range 100 {
			k.submit("long", func(context.Context) { time.Sleep(time.Second) })
		}
		k.submit("short", func(context.Context) { other = time.Since(start) })
		go k.run(ctx, 1)
		time.Sleep(200 * time.Second)
		cancel()
		synctest.Wait()
		if other > 2*time.Second {
			t.Errorf("the other key waited for %v", other)
		}
	})
}
