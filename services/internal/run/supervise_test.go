package run

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuperviseBacksOffWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var starts []time.Time
		err := Supervise(ctx, slog.New(slog.DiscardHandler), "part", func(context.Context) error {
			starts = append(starts, time.Now())
			if len(starts) == 12 {
				cancel()
			}
			return errors.New("broken")
		})
		if err != nil {
			t.Fatalf("Supervise returned %v, want nil once its context is done", err)
		}
		if len(starts) != 12 {
			t.Fatalf("%d starts, want 12", len(starts))
		}
		nominal := backoffMin
		for i := 1; i < len(starts); i++ {
			gap := starts[i].Sub(starts[i-1])
			if gap < nominal/2 || gap > nominal*3/2 {
				t.Errorf("gap %d is %v, want %v give or take half", i, gap, nominal)
			}
			nominal = min(2*nominal, backoffMax)
		}
	})
}

func TestSuperviseStartsAnewAfterAHealthyRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		runs := 0
		var ended, restarted time.Time
		_ = Supervise(ctx, slog.New(slog.DiscardHandler), "part", func(context.Context) error {
			switch runs++; {
			case runs < 10:
			case runs == 10:
				time.Sleep(healthy)
				ended = time.Now()
			default:
				restarted = time.Now()
				cancel()
			}
			return errors.New("broken")
		})
		if gap := restarted.Sub(ended); gap > backoffMin*3/2 {
			t.Fatalf("after a healthy run it waited %v, want at most %v", gap, backoffMin*3/2)
		}
	})
}

func TestSuperviseLogsEachFailureOncePerStreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		failures := []error{
			errors.New("first"), errors.New("first"), errors.New("second"), errors.New("second"),
			errors.New("first"), nil, nil,
		}
		run := 0
		_ = Supervise(ctx, slog.New(slog.NewTextHandler(&out, nil)), "intake", func(context.Context) error {
			if run == len(failures) {
				cancel()
				return nil
			}
			run++
			return failures[run-1]
		})
		got := out.String()
		if lines := strings.Count(got, "\n"); lines != 4 {
			t.Fatalf("%d lines, want 4 (first, second, first, ended):\n%s", lines, got)
		}
		for _, want := range []string{"part=intake", "error=first", "error=second", "without an error"} {
			if !strings.Contains(got, want) {
				t.Errorf("the log lacks %q:\n%s", want, got)
			}
		}
	})
}

func TestSuperviseEndsWhileWaitingAndWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		started := time.Now()
		if err := Supervise(ctx, slog.New(slog.DiscardHandler), "part", func(context.Context) error {
			return errors.New("broken")
		}); err != nil || time.Since(started) != 30*time.Second {
			t.Errorf("ended after %v with %v, want 30s and nil", time.Since(started), err)
		}

		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		finished := false
		if err := Supervise(ctx, slog.New(slog.DiscardHandler), "part", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second) // its own closing work
			finished = true
			return ctx.Err()
		}); err != nil || !finished {
			t.Errorf("returned %v, finished %v: want nil after the part has finished", err, finished)
		}
	})
}

func TestSuperviseDoesNotCatchPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the panic was swallowed")
		}
	}()
	_ = Supervise(t.Context(), slog.New(slog.DiscardHandler), "part", func(context.Context) error { panic("bug") })
}

func TestSignalsEndTheContext(t *testing.T) {
	ctx, stop := Signals(t.Context())
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("SIGTERM did not end the context")
	}
}
