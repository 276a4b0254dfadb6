package bus

import (
	"context"
	"errors"
	"sync"
	"time"
)

// link follows the lives of the connection: each begins when it is made and
// ends when it is lost.
type link struct {
	mu  sync.Mutex
	ctx context.Context //nolint:containedctx // it is the life that is followed, and is handed to whoever ends with it
	end context.CancelCauseFunc
	// made is closed while the connection is up.
	made chan struct{}
}

// newLink returns a link that is down.
func newLink() *link {
	ctx, end := context.WithCancelCause(context.Background())
	end(errDisconnected)
	return &link{ctx: ctx, end: end, made: make(chan struct{})}
}

func (l *link) up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		l.ctx, l.end = context.WithCancelCause(context.Background())
		close(l.made)
	}
}

func (l *link) down(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() == nil {
		l.end(cause)
		l.made = make(chan struct{})
	}
}

// life returns a context that ends when the connection is lost.
func (l *link) life() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctx
}

// wait returns when the connection is up or ctx is done.
func (l *link) wait(ctx context.Context) {
	l.mu.Lock()
	made := l.made
	l.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-made:
	}
}

// bound returns ctx with a deadline, that ends too when the connection is lost:
// a reply to what was sent over it will never come.
func (b *Bus) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	bounded, cancel := context.WithCancelCause(ctx)
	lost := b.link.life()
	stop := context.AfterFunc(lost, func() { cancel(context.Cause(lost)) })
	if _, has := ctx.Deadline(); has {
		return bounded, func() { stop(); cancel(nil) }
	}
	timed, cancelTimed := context.WithTimeout(bounded, requestTimeout)
	return timed, func() { stop(); cancelTimed(); cancel(nil) }
}

// because returns the reason for which a bounded context ended, where err is
// nothing but its end.
func because(bounded context.Context, err error) error {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(bounded), errDisconnected) {
		return errDisconnected
	}
	return err
}

// signOfLife is how long a server may take to answer a ping, which it does before and
// beside all that it stores, until it is taken for hung.
const signOfLife = 300 * time.Millisecond

// Revive has the connection's server show that it lives. Where it says nothing, and
// others are known, it connects to another of them, which takes 6 to 9 s by the
// connection's own pings. It is for who waits for several streams in vain: one that
// hangs behind a connection that works is another server's.
func (b *Bus) Revive(ctx context.Context) {
	if len(b.nc.Servers()) < 2 || !b.nc.IsConnected() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, signOfLife)
	defer cancel()
	if err := b.nc.FlushWithContext(bounded); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return
	}
	b.log.WarnContext(ctx, "the server of this connection answers no ping, connecting to another", "within", signOfLife.String())
	if err := b.nc.ForceReconnect(); err != nil && !b.nc.IsClosed() {
		b.log.WarnContext(ctx, "connecting to another server", "error", err)
	}
}
