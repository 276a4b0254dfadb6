package throttledispatcher

import (
	"context"
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

	mu      sync.Mutex
	waiting []*publication
	// working: someone publishes, and looks again at what waits after that.
	working bool
	group   sync.WaitGroup
}

// publication is a message and where its fate is told.
type publication struct {
	message bus.Message
	done    chan error
}

// publish returns once the message is on disk, an error that says why it may not be,
// or that of ctx, after which it may be published all the same.
func (t *together) publish(ctx context.Context, m bus.Message) error {
	p := &publication{message: m, done: make(chan error, 1)}
	t.mu.Lock()
	t.waiting = append(t.waiting, p)
	if !t.working {
		t.working = true
		// Others depend on it, so it does not end with the one who came first.
		t.group.Go(func() { t.work(context.WithoutCancel(ctx)) })
	}
	t.mu.Unlock()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns when nothing is being published.
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
		// One that is there already refuses all of them. Which one it is tells only its
		// own attempt.
		if _, err := t.records.PublishAtomic(ctx, messages); !bus.IsConflict(err) {
			for _, p := range all {
				p.done <- err
			}
			return
		}
	}
	var group errgroup.Group
	group.SetLimit(16)
	for _, p := range all {
		group.Go(func() error {
			_, err := t.records.Publish(ctx, p.message)
			p.done <- err
			return nil
		})
	}
	_ = group.Wait() // each has been told its own error
}
