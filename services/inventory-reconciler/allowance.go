package inventoryreconciler

import (
	"context"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

const (
	// readShare is the part of a connector's rate that reads may take; the rest is
	// for orders.
	readShare = 0.2
	// readBurst is how many reads may be saved up for when they are needed: a
	// channel that sells fast is read again after each write that it refuses.
	readBurst = 5
)

// allowances hands out the reads of each connector, over all pools, so that they
// stay within their share of its limits. It is safe for concurrent use.
type allowances struct {
	catalog *catalog.Store

	mu      sync.Mutex
	buckets map[string]*bucket
}

// bucket fills by the share of the rate; it is taken from by one read at a time.
type bucket struct {
	reads float64
	at    time.Time
}

func newAllowances(store *catalog.Store) *allowances {
	return &allowances{catalog: store, buckets: map[string]*bucket{}}
}

// take waits until one more read of the connector is allowed; an error is ctx's.
func (a *allowances) take(ctx context.Context, connector string) error {
	for {
		wait := a.try(connector, time.Now())
		if wait <= 0 {
			return nil
		}
		if err := until(ctx, time.Now().Add(wait)); err != nil {
			return err
		}
	}
}

// try takes a read where one is allowed and returns 0, or how long to wait.
func (a *allowances) try(connector string, now time.Time) time.Duration {
	rate, most := share(a.catalog.Connectors()[connector])
	if rate == 0 {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.buckets[connector]
	if b == nil {
		b = &bucket{reads: most, at: now}
		a.buckets[connector] = b
	}
	b.reads = min(most, b.reads+max(0, now.Sub(b.at).Seconds())*rate)
	b.at = now
	if b.reads >= 1 {
		b.reads--
		return 0
	}
	// A nanosecond more, or rounding would let it wait for nothing.
	return time.Duration((1-b.reads)/rate*float64(time.Second)) + 1
}

// share returns the reads a second that the connector's limits leave, the slowest
// of them, and how many may be saved up; a rate of 0 where none counts calls over
// time.
func share(connector *v1alpha1.Connector) (rate, most float64) {
	if connector == nil {
		return 0, 0
	}
	for _, limit := range connector.Spec.Limits {
		calls, per := limit.Rate()
		if calls < 1 || per <= 0 {
			continue
		}
		reads := readShare * float64(calls)
		if r := reads / per.Seconds(); rate == 0 || r < rate {
			rate, most = r, min(readBurst, max(1, reads))
		}
	}
	return rate, most
}
