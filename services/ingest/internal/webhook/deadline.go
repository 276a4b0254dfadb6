package webhook

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends at a time, or with the one that it is made of. Its timer
// is made when somebody waits for it, which nearly nobody does: a secret is at hand but for
// the first time, and a timer takes as much as the signature's check. It is safe for
// concurrent use.
type deadline struct {
	context.Context //nolint:containedctx // it is one
	at              time.Time

	mu     sync.Mutex
	timed  context.Context //nolint:containedctx // what this one is, once it is waited for
	cancel context.CancelFunc
}

// Deadline returns when it ends.
func (d *deadline) Deadline() (time.Time, bool) {
	if of, ok := d.Context.Deadline(); ok && of.Before(d.at) {
		return of, true
	}
	return d.at, true
}

// Done is closed when it ends.
func (d *deadline) Done() <-chan struct{} { return d.wait().Done() }

// Err returns why it has ended, nil before that.
func (d *deadline) Err() error {
	d.mu.Lock()
	timed := d.timed
	d.mu.Unlock()
	switch {
	case timed != nil:
		return timed.Err()
	case d.Context.Err() != nil:
		return d.Context.Err()
	case !time.Now().Before(d.at):
		return d.wait().Err()
	}
	return nil
}

func (d *deadline) wait() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil {
		d.timed, d.cancel = context.WithDeadline(d.Context, d.at)
	}
	return d.timed
}

// release stops its timer.
func (d *deadline) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel != nil {
		d.cancel()
	}
}
