package throttledispatcher_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// lateOnce stands between a dispatcher and its records: the first reading of each order is
// not answered in time.
type lateOnce struct {
	throttledispatcher.Records
	mu   sync.Mutex
	read map[string]bool
}

func (l *lateOnce) Last(ctx context.Context, stream, subject string) (bus.Record, error) {
	l.mu.Lock()
	late := strings.HasPrefix(stream, bus.PrefixOrder) && !l.read[subject]
	l.read[subject] = true
	l.mu.Unlock()
	if late {
		return bus.Record{}, errors.New("not in time")
	}
	return l.Records.Last(ctx, stream, subject)
}

// On a busy machine a reading of an order is late now and then, beside others that are not:
// it is repeated, and the log says nothing of it.
func TestALateReadingIsNoLineInTheLog(t *testing.T) {
	t.Parallel()
	const orders = 30
	w := newWorld(t, 100, time.Second)
	for n := range orders {
		w.want(n, "")
	}
	late := &lateOnce{read: map[string]bool{}}
	w.start(throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		late.Records = r
		return late
	}))
	w.delivered(orders)
	if lines := w.log.with("be bound"); len(lines) > 0 {
		t.Errorf("%d lines of readings that were late once: %q", len(lines), lines)
	}
}
