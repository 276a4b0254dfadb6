package inventoryreconciler

import (
	"context"
	"log/slog"
	"time"

	"github.com/peppasync/peppasync/services/internal/catalog"
)

const (
	// minPause is the first wait after a question that ended in the Error Hold, and
	// maxPause the longest: each such end is an entry there and a text to somebody,
	// and asking again at once would only add another.
	minPause = 30 * time.Second
	maxPause = 15 * time.Minute
)

// pauses are the waits after questions that nobody answers; they double, and end
// early when the catalog has changed since the last answer, which may be the cure.
type pauses struct {
	catalog *catalog.Store
	log     *slog.Logger
	last    time.Duration
	changed <-chan struct{}
}

func newPauses(store *catalog.Store, log *slog.Logger) *pauses {
	return &pauses{catalog: store, log: log, changed: store.Changed()}
}

// wait logs what went wrong and waits; an error is ctx's.
func (p *pauses) wait(ctx context.Context, question string, reason error) error {
	p.last = min(maxPause, max(minPause, 2*p.last))
	p.log.WarnContext(ctx, "a place of a stock pool does not answer; its channels keep what they show", "question", question, "error", reason, "pause", p.last)
	timer := time.NewTimer(p.last)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.changed:
		p.changed = p.catalog.Changed()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pauses) reset() { p.last, p.changed = 0, p.catalog.Changed() }

// until waits for a moment; an error is ctx's.
func until(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
