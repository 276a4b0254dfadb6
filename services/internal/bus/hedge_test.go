package bus

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// silence answers nothing that is asked before it ends, as a stream without a leader.
func silence(length, latency time.Duration) (ask func(context.Context) (int, error), asked *atomic.Int64) {
	began := time.Now()
	asked = new(atomic.Int64)
	return func(ctx context.Context) (int, error) {
		number := int(asked.Add(1))
		if time.Since(began) < length {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		select {
		case <-time.After(latency):
			return number, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, asked
}

func TestHedgedAddsLittleToASilence(t *testing.T) {
	for name, test := range map[string]struct{ silent, latency, within time.Duration }{
		"no silence":               {0, time.Millisecond, time.Millisecond},
		"an election":              {7900 * time.Millisecond, time.Millisecond, 7900*time.Millisecond + askAgain + time.Millisecond},
		"a slow store":             {0, 3 * time.Second, 3 * time.Second},
		"an election, then slowly": {4 * time.Second, 3 * time.Second, 7*time.Second + askAgain},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				ask, _ := silence(test.silent, test.latency)
				_, err := hedged(ctx, ask)
				if took := time.Since(began); err != nil || took > test.within {
					t.Errorf("answered after %v with error %v, want %v at most", took, err, test.within)
				}
			})
		})
	}
}

func TestHedgedEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		ask, asked := silence(time.Hour, 0)
		_, err := hedged(ctx, ask)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 2*time.Second {
			t.Errorf("ended after %v with %v", took, err)
		}
		// One of them in the very moment of the end.
		if want := int64(2*time.Second/askAgain) + 1; asked.Load() > want {
			t.Errorf("asked %d times in 2 s, want %d at most", asked.Load(), want)
		}
	})
}

func TestHedgedReturnsAnErrorAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong, began := errors.New("no such record"), time.Now()
		_, err := hedged(t.Context(), func(context.Context) (int, error) { return 0, wrong })
		if took := time.Since(began); !errors.Is(err, wrong) || took != 0 {
			t.Errorf("ended after %v with %v", took, err)
		}
	})
}
