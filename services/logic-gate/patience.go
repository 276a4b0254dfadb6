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
// itself, and tells the log once when it begins and once when it is over: when
// nothing waits any more of what had to. That others got through meanwhile says
// nothing, since a full store goes on answering reads and takes what is small.
// It is safe for concurrent use.
type patience struct {
	log *slog.Logger

	mu sync.Mutex
	// waiting are the calls that failed and are repeated; began is when the first
	// of them failed.
	waiting int
	began   time.Time
	// refused: the last failure was for want of room.
	refused bool
}

// do calls fn until it succeeds or fails for a reason of its own, which it
// returns; for a bus that is away or full it goes on until ctx is done, and
// returns the error of ctx.
func (p *patience) do(ctx context.Context, fn func(context.Context) error) error {
	waits := false
	for backoff := backoffMin; ; backoff = min(2*backoff, backoffMax) {
		err := fn(ctx)
		if ctx.Err() == nil && (bus.IsUnavailable(err) || bus.IsFull(err)) {
			p.failed(err, !waits)
			waits = true
			if pause(ctx, backoff/2+rand.N(backoff)) == nil {
				continue
			}
		}
		if waits {
			p.over(ctx.Err() == nil)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
}

// full reports whether something waits for room.
func (p *patience) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting > 0 && p.refused
}

// failed takes in a failure, the first of its call or another.
func (p *patience) failed(err error, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = bus.IsFull(err)
	if !first {
		return
	}
	if p.waiting++; p.waiting > 1 {
		return
	}
	p.began = time.Now()
	p.log.Warn("the bus takes nothing; orders wait in it and are tried again until it does", "error", err)
}

// over ends the wait of one call, with success or because it was told to stop.
func (p *patience) over(success bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
	if p.waiting == 0 && success {
		p.log.Info("the bus works again", "after", time.Since(p.began).Round(time.Millisecond))
	}
}
