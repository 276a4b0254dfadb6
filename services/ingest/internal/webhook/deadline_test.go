package webhook

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestADeadlineEndsAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deadline{Context: t.Context(), at: time.Now().Add(time.Second)}
		defer d.release()
		if d.Err() != nil {
			t.Errorf("it has ended at once: %v", d.Err())
		}
		begin := time.Now()
		<-d.Done()
		if took := time.Since(begin); took != time.Second || !errors.Is(d.Err(), context.DeadlineExceeded) {
			t.Errorf("it ended after %v with %v, want 1s and the deadline's error", took, d.Err())
		}
	})
}

// Who asks for the error only must not be told that there is time left.
func TestADeadlineThatNobodyWaitedForEndsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deadline{Context: t.Context(), at: time.Now().Add(time.Second)}
		defer d.release()
		time.Sleep(time.Second)
		if !errors.Is(d.Err(), context.DeadlineExceeded) {
			t.Errorf("error %v after its time", d.Err())
		}
		select {
		case <-d.Done():
		default:
			t.Error("it says that it has ended, and those who wait are not told")
		}
	})
}

func TestADeadlineEndsWithTheContextThatItIsMadeOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		d := &deadline{Context: parent, at: time.Now().Add(time.Hour)}
		defer d.release()
		within, stop := context.WithTimeout(d, time.Minute)
		defer stop()
		cancel()
		<-within.Done()
		if !errors.Is(d.Err(), context.Canceled) || !errors.Is(within.Err(), context.Canceled) {
			t.Errorf("errors %v and %v, want that it is cancelled", d.Err(), within.Err())
		}
	})
}
