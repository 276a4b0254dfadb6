package bus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Two hundred that ask at about the same time ask once, and nobody gets what is old.
func TestAQuestionIsPutOnceForAllWhoAskIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared[int64]
		var asked atomic.Int64
		all := func(within time.Duration, want int64) {
			t.Helper()
			var asking sync.WaitGroup
			for i := range 200 {
				asking.Go(func() {
					time.Sleep(within * time.Duration(i) / 200)
					got, err := s.get(t.Context(), "DISPATCH", func(context.Context) (int64, error) {
						time.Sleep(10 * time.Millisecond)
						return asked.Add(1), nil
					})
					if err != nil || got != want {
						t.Errorf("got %d and %v, want %d", got, err, want)
					}
				})
			}
			asking.Wait()
		}
		all(time.Second, 1)
		time.Sleep(shareFor)
		all(time.Second, 2)
		s.forget("DISPATCH")
		all(time.Second, 3)
	})
}

// Who gives up does not spoil the answer for the others, and a failure is not kept.
func TestAQuestionOutlivesWhoAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared[string]
		var failure error
		ask := func(ctx context.Context) (string, error) {
			select {
			case <-time.After(time.Second):
				return "here", failure
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		first, giveUp := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() {
			if _, err := s.get(first, "x", ask); !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		asking.Go(func() {
			if got, err := s.get(t.Context(), "x", ask); err != nil || got != "here" {
				t.Errorf("got %q and %v, want the answer", got, err)
			}
		})
		synctest.Wait()
		giveUp()
		asking.Wait()
		time.Sleep(shareFor)
		failure = errors.New("not now")
		if _, err := s.get(t.Context(), "x", ask); !errors.Is(err, failure) {
			t.Errorf("got %v, want the failure", err)
		}
		failure = nil
		if got, err := s.get(t.Context(), "x", ask); err != nil || got != "here" {
			t.Errorf("after a failure: got %q and %v, want the answer", got, err)
		}
	})
}
