// Package backoff computes how long a failed call waits: exponential with full
// jitter, so that calls that failed together do not come back together. Pure.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Policy is how waits grow.
type Policy struct {
	Base time.Duration
	Max  time.Duration
}

// Wait returns a random wait before the attempt that follows attempt number n
// (counted from 1): uniform between Base/2 and min(Max, Base * 2^(n-1)).
// The lower bound keeps a failing call from being repeated at once.
func (p Policy) Wait(n int, random *rand.Rand) time.Duration {
	ceiling := p.Max
	// Base << 40 would overflow for any Base over 8 ms; the ceiling is reached
	// long before.
	if n < 40 {
		if grown := p.Base << max(0, n-1); grown > 0 && grown < p.Max {
			ceiling = grown
		}
	}
	floor := p.Base / 2
	if ceiling <= floor {
		return ceiling
	}
	return floor + time.Duration(random.Int64N(int64(ceiling-floor)+1))
}
