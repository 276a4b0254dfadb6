package transport

import (
	"slices"
	"sync"
	"time"
)

// gate bounds how many calls are under way at a time: from before the first byte
// until nothing of them can arrive any more.
type gate struct {
	// short is told when a call has waited for its patience.
	short func()

	mu      sync.Mutex
	most    int
	under   int
	waiting []chan struct{} // in the order in which they came; closed to let one in
}

// allow changes the bound, and returns how many calls are under way. Those beyond a
// lower bound go on.
func (g *gate) allow(most int) (under int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.most = most
	g.admit()
	return g.under
}

func (g *gate) underWay() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.under
}

// enter waits for room until off is closed, and reports whether there was some.
// Whoever was let in must leave. Calls that are late go in a bunch, and one after the
// other is soon enough for them, so that only a wait for longer than patience shows
// that there is too little room.
func (g *gate) enter(off <-chan struct{}, patience time.Duration) bool {
	g.mu.Lock()
	if g.under < g.most {
		g.under++
		g.mu.Unlock()
		return true
	}
	in := make(chan struct{})
	g.waiting = append(g.waiting, in)
	g.mu.Unlock()
	if g.short != nil {
		defer time.AfterFunc(patience, g.short).Stop()
	}
	select {
	case <-in:
		return true
	case <-off:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, in)
	if i < 0 {
		return true // let in at the same time
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return false
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.under--
	g.admit()
}

// admit lets in whom there is room for.
func (g *gate) admit() {
	for len(g.waiting) > 0 && g.under < g.most {
		g.under++
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
	}
}
