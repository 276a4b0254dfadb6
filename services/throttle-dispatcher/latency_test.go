package throttledispatcher_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// clocked notes when the dispatcher turns to its records.
type clocked struct {
	throttledispatcher.Records
	mu                   sync.Mutex
	bound, claim, stored time.Time
}

func (c *clocked) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound, c.claim, c.stored = time.Time{}, time.Time{}, time.Time{}
}

func (c *clocked) note(at *time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.IsZero() {
		*at = time.Now()
	}
}

func (c *clocked) Last(ctx context.Context, stream, subject string) (bus.Record, error) {
	c.note(&c.bound)
	return c.Records.Last(ctx, stream, subject)
}

func (c *clocked) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if !strings.HasPrefix(m.Subject, "ledger.") {
		return c.Records.Publish(ctx, m)
	}
	c.note(&c.claim)
	ack, err := c.Records.Publish(ctx, m)
	c.note(&c.stored)
	return ack, err
}

// BenchmarkLoneOrder measures an order on an idle connector, from the moment at
// which its delivery is on disk in DISPATCH: until it is taken up, bound, claimed
// on disk, and at the external system; and from there until its result is on disk.
func BenchmarkLoneOrder(b *testing.B) {
	w := newWorld(b, 100_000, time.Minute)
	clock := &clocked{}
	w.start(throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		clock.Records = r
		return clock
	}))
	w.want(0, "")
	w.delivered(1)
	hops := map[string][]time.Duration{}
	n := 0
	for b.Loop() {
		n++
		w.store(n, "")
		clock.reset()
		d := delivery(n)
		w.ask(d)
		asked := time.Now()
		answered := w.await(d)
		arrived := w.account.on(fmt.Sprint("/orders/shopify-", n))[0].at
		clock.mu.Lock()
		for hop, took := range map[string]time.Duration{
			"1-taken": clock.bound.Sub(asked), "2-bound": clock.claim.Sub(clock.bound), "3-claimed": clock.stored.Sub(clock.claim),
			"4-sent": arrived.Sub(clock.stored), "5-result": answered.Sub(arrived), "0-request": arrived.Sub(asked),
		} {
			hops[hop] = append(hops[hop], took)
		}
		clock.mu.Unlock()
	}
	for hop, took := range hops {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), hop+"-p50-us")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), hop+"-p99-us")
	}
}

// await returns when the delivery's result is there.
func (w *world) await(d *dispatchv1.Delivery) time.Time {
	w.t.Helper()
	subject := bus.ResultSubject(d.GetRequester(), d.GetId())
	var at time.Time
	w.eventually("the result of "+d.GetId(), func() bool {
		record, err := w.bus.Last(w.t.Context(), bus.StreamResult, subject)
		at = record.Time
		return err == nil
	})
	return at
}
