// Package notice logs problems of a kind once in a while with their number,
// however often they happen: a storm outside must not become one in the logs.
package notice

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Board logs at most one line per kind and interval. It is safe for concurrent
// use. Kinds must come from a bounded set: each is remembered.
type Board struct {
	log      *slog.Logger
	interval time.Duration

	mu    sync.Mutex
	kinds map[string]*kind
}

type kind struct {
	logged time.Time
	unsaid int
}

// New returns a board that writes to log.
func New(log *slog.Logger, interval time.Duration) *Board {
	return &Board{log: log, interval: interval, kinds: make(map[string]*kind)}
}

// Post logs the message, or counts it towards the next line of its kind.
func (b *Board) Post(level slog.Level, name, message string, attributes ...slog.Attr) {
	now := time.Now()
	b.mu.Lock()
	k := b.kinds[name]
	if k == nil {
		k = &kind{}
		b.kinds[name] = k
	}
	if !k.logged.IsZero() && now.Sub(k.logged) < b.interval {
		k.unsaid++
		b.mu.Unlock()
		return
	}
	unsaid := k.unsaid
	k.logged, k.unsaid = now, 0
	b.mu.Unlock()
	if unsaid > 0 {
		attributes = append(attributes, slog.Int("more_since_last_line", unsaid))
	}
	b.log.LogAttrs(context.Background(), level, message, attributes...) //nolint:sloglint // who posts gives a constant
}
