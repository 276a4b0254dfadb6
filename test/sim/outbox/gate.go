package outbox

import (
	"context"
	"fmt"
	"sync"
)

// Gate counts what is under way and lets others wait until nothing is.
type Gate struct {
	mu     sync.Mutex
	open   int
	idle   chan struct{}
	closed <-chan struct{}
}

// NewGate returns a gate for what this outbox sends: no Wait outlives the outbox.
func (o *Outbox) NewGate() *Gate {
	idle := make(chan struct{})
	close(idle)
	return &Gate{idle: idle, closed: o.ctx.Done()}
}

// Open counts one more as under way.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == 0 {
		g.idle = make(chan struct{})
	}
	g.open++
}

// Settle counts one as over, whatever became of it.
func (g *Gate) Settle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.open == 0 {
		close(g.idle)
	}
}

// Count is how many are under way.
func (g *Gate) Count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// Wait returns when nothing is under way.
func (g *Gate) Wait(ctx context.Context) error {
	for {
		g.mu.Lock()
		open, idle := g.open, g.idle
		g.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("%d webhooks are under way: %w", open, ctx.Err())
		case <-g.closed:
			return fmt.Errorf("the shop was closed with %d webhooks under way", open)
		}
	}
}
