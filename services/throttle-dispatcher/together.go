package throttledispatcher

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	// fewTogether is up to how many results each are a write of their own. A batch costs
	// the server a store that it makes and removes again, some 10 ms in all.
	fewTogether = 12
	// mostTogether and bytesTogether bound a batch.
	mostTogether  = 256
	bytesTogether = 512 << 10
	// togetherTimeout is how long a write may take.
	togetherTimeout = 5 * time.Second
)

// together publishes on one stream what several publish at the same time, in one
// batch where they are many: a server without replicas syncs each message by itself,
// which at some 700 a second is all that it can do, and a batch once. It is safe for
// concurrent use.
type together struct {
	records writes
	log     *slog.Logger

	mu      sync.Mutex
	waiting []*publication
	// working: someone publishes, and looks again at what waits after that.
	working bool
	group   sync.WaitGroup
	refused sync.Once
}

// publication is a message and where its fate is told, as long as ctx is not done.
type publication struct {
	ctx     context.Context //nolint:containedctx // what is looked at is whether it is done
	message bus.Message
	done    chan error
}

// publish returns once the message is on disk, an error that says why it may not be,
// or that of ctx, after which it may be published all the same.
func (t *together) publish(ctx context.Context, m bus.Message) error {
	p := &publication{ctx: ctx, message: m, done: make(chan error, 1)}
	t.mu.Lock()
	t.waiting = append(t.waiting, p)
	if !t.working {
		t.working = true
		// Others depend on it, so it does not end with the one who came first, and is
		// not of that one's trace.
		t.group.Go(func() { t.work(context.Background()) }) //nolint:contextcheck // see above
	}
	t.mu.Unlock()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns when nothing is being published, which after all who have asked have
// given up takes one write at most.
func (t *together) wait() { t.group.Wait() }

func (t *together) work(ctx context.Context) {
	for {
		next := t.next()
		if len(next) == 0 {
			return
		}
		bounded, cancel := context.WithTimeout(ctx, togetherTimeout)
		t.write(bounded, next)
		cancel()
	}
}

// next takes what goes together next; none ends the work.
func (t *together) next() []*publication {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = slices.DeleteFunc(t.waiting, func(p *publication) bool { return p.ctx.Err() != nil })
	n, bytes := 0, 0
	for n < min(len(t.waiting), mostTogether) && (n == 0 || bytes+len(t.waiting[n].message.Data) <= bytesTogether) {
		bytes += len(t.waiting[n].message.Data)
		n++
	}
	next := t.waiting[:n:n]
	t.waiting = t.waiting[n:]
	t.working = n > 0
	return next
}

func (t *together) write(ctx context.Context, all []*publication) {
	if len(all) > fewTogether {
		messages := make([]bus.Message, len(all))
		for i, p := range all {
			messages[i] = p.message
		}
		_, err := t.records.PublishAtomic(ctx, messages)
		if err == nil || bus.IsUnavailable(err) {
			for _, p := range all {
				p.done <- err
			}
			return
		}
		// One that is there already, or too large for the room that is left, refuses all
		// of them. Which one it is tells only its own attempt.
		if !bus.IsConflict(err) && !bus.IsFull(err) {
			t.refused.Do(func() {
				t.log.WarnContext(ctx, "the bus takes no batch of results; they go one by one, which is slower, until "+
					"'peppasync apply' of this version has run", "error", err)
			})
		}
	}
	var group errgroup.Group
	group.SetLimit(16)
	for _, p := range all {
		group.Go(func() error {
			_, err := t.records.Publish(ctx, p.message)
			if bus.IsTTLRefused(err) {
				// Kept for longer than anybody reads it, until the stream is brought up to date.
				p.message.TTL = 0
				_, err = t.records.Publish(ctx, p.message)
			}
			p.done <- err
			return nil
		})
	}
	_ = group.Wait() // each has been told its own error
}
