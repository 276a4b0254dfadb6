package logicgate

import (
	"context"
	"sync"
)

// keyed runs tasks: those of one key one after the other in the order in which
// they were submitted, those of different keys at the same time, on a fixed
// number of workers. A key that has much to do gives way to the others after
// each task. It is safe for concurrent use.
type keyed struct {
	mu      sync.Mutex
	changed *sync.Cond
	// waiting holds the tasks of each key that has any, the running one included.
	waiting map[string][]func(context.Context)
	// ready holds the keys of which no task runs, in the order of their turn.
	ready  []string
	closed bool
}

func newKeyed() *keyed {
	k := &keyed{waiting: make(map[string][]func(context.Context))}
	k.changed = sync.NewCond(&k.mu)
	return k
}

// submit puts a task in line and does not block. After the end of run it does
// nothing.
func (k *keyed) submit(key string, task func(context.Context)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.waiting[key] = append(k.waiting[key], task)
	if len(k.waiting[key]) == 1 {
		k.ready = append(k.ready, key)
		k.changed.Signal()
	}
}

// run works until ctx is done and the tasks that run then have returned; tasks
// that were not begun are dropped.
func (k *keyed) run(ctx context.Context, workers int) {
	stop := context.AfterFunc(ctx, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.closed = true
		k.changed.Broadcast()
	})
	defer stop()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for k.next(ctx) {
			}
		})
	}
	group.Wait()
}

// next runs one task and reports false at the end.
func (k *keyed) next(ctx context.Context) bool {
	k.mu.Lock()
	for len(k.ready) == 0 && !k.closed {
		k.changed.Wait()
	}
	if k.closed {
		k.mu.Unlock()
		return false
	}
	key := k.ready[0]
	k.ready = k.ready[1:]
	task := k.waiting[key][0]
	k.mu.Unlock()

	task(ctx)

	k.mu.Lock()
	defer k.mu.Unlock()
	rest := k.waiting[key][1:]
	if len(rest) == 0 {
		delete(k.waiting, key)
		return true
	}
	k.waiting[key] = rest
	k.ready = append(k.ready, key)
	k.changed.Signal()
	return true
}
