package transport

import (
	"slices"
	"sync"
)

// gate bounds how many calls are under way at a time: from before the first byte
// until nothing of them can arrive any more.
type gate struct {
	// short is told when a call has to wait.
	short func()

	mu      sync.Mutex
	most    int
	under   int
	peak    int             // the largest under since it was asked for
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

// enter waits for room until off is closed, and reports whether there was some.
// Whoever was let in must leave.
func (g *gate) enter(off <-chan struct{}) bool {
	g.mu.Lock()
	if g.under < g.most {
		g.let()
		g.mu.Unlock()
		return true
	}
	in := make(chan struct{})
	g.waiting = append(g.waiting, in)
	g.mu.Unlock()
	if g.short != nil {
		g.short()
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
		g.let()
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
	}
}

func (g *gate) let() {
	g.under++
	g.peak = max(g.peak, g.under)
}

// takePeak returns the most calls that were under way since it was last called.
func (g *gate) takePeak() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	peak := g.peak
	g.peak = g.under
	return peak
}
