package logicgate

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	backoffMin = 20 * time.Millisecond
	backoffMax = 2 * time.Second
)

// patience repeats what the bus could not do, for as long as that can pass by
// itself, and tells the log once when it begins and once when it is over. It is
// safe for concurrent use.
type patience struct {
	log *slog.Logger

	mu sync.Mutex
	// troubled is since when the bus has not answered; zero while it does.
	troubled time.Time
}

// do calls fn until it succeeds or fails for a reason of its own, which it
// returns; for a bus that is away or full it goes on until ctx is done, and
// returns the error of ctx.
func (p *patience) do(ctx context.Context, fn func(context.Context) error) error {
	for backoff := backoffMin; ; backoff = min(2*backoff, backoffMax) {
		err := fn(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !bus.IsUnavailable(err) && !bus.IsFull(err) {
			p.recovered()
			return err
		}
		p.failed(err)
		timer := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (p *patience) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.troubled.IsZero() {
		return
	}
	p.troubled = time.Now()
	p.log.Warn("the bus takes nothing; orders wait in it and are tried again until it does", "error", err)
}

func (p *patience) recovered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.troubled.IsZero() {
		return
	}
	p.log.Info("the bus works again", "after", time.Since(p.troubled).Round(time.Millisecond))
	p.troubled = time.Time{}
}
