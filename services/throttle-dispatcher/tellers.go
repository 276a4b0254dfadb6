package throttledispatcher

import "sync"

// tellers make known what became of deliveries, a bounded number at a time. What waits
// for them has no goroutine of its own: of 20,000 closes in 200 connectors nearly all
// wait for the store, and a goroutine each with its stack was a third of the process's
// memory. The zero value does nothing; most must be set.
type tellers struct {
	most int

	mu      sync.Mutex
	waiting []func()
	busy    int
}

// tellersFor returns how many closes of a worker with so many places in a lane are made
// known at a time. Together they fill the batches of results.
func tellersFor(places int) int { return max(16, min(places/16, mostTogether)) }

// do has it done in its turn. group does not end before it is done.
func (t *tellers) do(group *sync.WaitGroup, tell func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = append(t.waiting, tell)
	if t.busy < t.most {
		t.busy++
		group.Go(t.work)
	}
}

func (t *tellers) work() {
	for {
		tell := t.next()
		if tell == nil {
			return
		}
		tell()
	}
}

func (t *tellers) next() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.waiting = nil
		t.busy--
		return nil
	}
	tell := t.waiting[0]
	t.waiting[0] = nil
	t.waiting = t.waiting[1:]
	return tell
}
