// Package run keeps the parts of a process going: it starts a part again when it
// fails, and turns the signals of the operating system into a context.
package run

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os/signal"
	"syscall"
	"time"
)

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 5 * time.Second
	// healthy is how long a part must have run for its next failure to count as
	// the first.
	healthy = time.Minute
)

// Supervise runs fn, and again after each return, until ctx is done; it then
// returns nil once fn has returned. Between two runs it waits 100 ms, doubled
// each time up to 5 s, times a random factor between a half and one and a half;
// a run of a minute or longer starts that count anew. A failure is logged when
// it differs from the one before, or follows a healthy run. That fn returns nil
// while ctx goes on is a failure too. A panic of fn is a bug and is not caught.
func Supervise(ctx context.Context, log *slog.Logger, name string, fn func(context.Context) error) error {
	wait, logged := backoffMin, ""
	for ctx.Err() == nil {
		started := time.Now()
		err := fn(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop, which may be why it failed
		}
		if time.Since(started) >= healthy {
			wait, logged = backoffMin, ""
		}
		text := "it ended without an error"
		if err != nil {
			text = err.Error()
		}
		if text != logged {
			logged = text
			log.ErrorContext(ctx, "a part stopped and is started again", "part", name, "error", text)
		}
		if !sleep(ctx, wait/2+rand.N(wait)) {
			return nil
		}
		wait = min(2*wait, backoffMax)
	}
	return nil
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Signals returns a context that ends with the first SIGINT or SIGTERM; stop
// frees it. After the first one the signals have their usual effect again, so
// that a second ends a process that hangs.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
