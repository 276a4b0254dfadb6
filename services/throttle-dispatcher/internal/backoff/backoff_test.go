package backoff_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/backoff"
)

func TestWaitStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := backoff.Policy{
			Base: time.Duration(rapid.Int64Range(1, int64(10*time.Second)).Draw(t, "base")),
			Max:  time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "max")),
		}
		n := rapid.IntRange(1, 1000).Draw(t, "attempt")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		wait := policy.Wait(n, random)
		if wait < 0 || wait > max(policy.Max, policy.Base) {
			t.Fatalf("wait %v outside 0..%v", wait, policy.Max)
		}
		if wait < min(policy.Base/2, policy.Max) {
			t.Fatalf("wait %v under half the base %v", wait, policy.Base)
		}
	})
}

func TestWaitGrows(t *testing.T) {
	policy := backoff.Policy{Base: 500 * time.Millisecond, Max: 30 * time.Second}
	random := rand.New(rand.NewPCG(1, 2))
	mean := func(n int) time.Duration {
		var sum time.Duration
		for range 1000 {
			sum += policy.Wait(n, random)
		}
		return sum / 1000
	}
	if first, fifth := mean(1), mean(5); fifth < 4*first {
		t.Errorf("mean wait grows from %v to %v over five attempts, want at least fourfold", first, fifth)
	}
}
