package throttledispatcher_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// machine measures how long this machine keeps the test's process from running, or
// its disk from storing, at worst.
type machine struct {
	throttledispatcher.Records
	worst atomic.Int64
}

// watch measures until the test ends.
func watch(t *testing.T) *machine {
	t.Helper()
	m := &machine{}
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		const every = 5 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-tick.C:
				now := time.Now()
				m.note(now.Sub(last) - every)
				last = now
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		group.Wait()
	})
	return m
}

func (m *machine) note(took time.Duration) {
	for {
		worst := m.worst.Load()
		if int64(took) <= worst || m.worst.CompareAndSwap(worst, int64(took)) {
			return
		}
	}
}

func (m *machine) through(r throttledispatcher.Records) throttledispatcher.Records {
	m.Records = r
	return m
}

func (m *machine) Publish(ctx context.Context, message bus.Message) (bus.Ack, error) {
	before := time.Now()
	ack, err := m.Records.Publish(ctx, message)
	m.note(time.Since(before))
	return ack, err
}

// judges reports whether the machine was quiet enough for a judgment about time.
func (m *machine) judges(t *testing.T) bool {
	t.Helper()
	worst := time.Duration(m.worst.Load())
	t.Logf("longest stall of this machine: %v", worst)
	if worst > 150*time.Millisecond {
		t.Log("too busy a machine to judge the pace")
		return false
	}
	return true
}

// paced demands that the calls come at no less than 99% of the pace.
func (m *machine) paced(t *testing.T, what string, calls []arrival, gap time.Duration) {
	t.Helper()
	n := len(calls)
	took := calls[n-1].at.Sub(calls[0].at)
	share := float64(n-1) * float64(gap) / float64(took)
	var longest time.Duration
	late := 0
	for i := 1; i < n; i++ {
		between := calls[i].at.Sub(calls[i-1].at)
		longest = max(longest, between)
		if between > gap+gap/2 {
			late++
		}
	}
	t.Logf("%s: %d calls in %v, %.2f%% of the pace; longest gap %v of %v, %d over half a gap late", what, n, took, 100*share, longest, gap, late)
	if m.judges(t) && share < 0.99 {
		t.Errorf("%s: %.2f%% of the pace, want at least 99%%", what, 100*share)
	}
}

func TestBacklogIsSentAtThePace(t *testing.T) {
	const limit, per = 600, 30 * time.Second
	w, m := newWorld(t, limit, per), watch(t)
	w.account.setDelay(50 * time.Millisecond)
	const orders = 360
	for i := range orders {
		w.want(i, "")
	}
	w.start(throttledispatcher.Through(m.through))
	w.delivered(orders)
	w.account.within(t, limit, per)
	m.paced(t, "backlog", w.account.seen(), per/(limit-1))
}

// A thousand orders in one spike, and ten seconds of maintenance in the middle.
func TestSpikeWithMaintenance(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: runs without -short, as in make test")
	}
	const limit, per, orders = 600, 10 * time.Second, 1000
	w, m := newWorld(t, limit, per), watch(t)
	w.account.setDelay(50 * time.Millisecond)
	w.start(throttledispatcher.Through(m.through))
	var shops sync.WaitGroup
	for shop := range 8 {
		shops.Go(func() {
			for i := shop; i < orders; i += 8 {
				w.want(i, "")
			}
		})
	}
	shops.Wait()
	captured := time.Now()
	w.eventually("a good part", func() bool { return w.account.accepted() > 2*orders/5 })
	w.account.answer(status(http.StatusServiceUnavailable))
	down := time.Now()
	during(10 * time.Second)
	w.account.answer(nil)
	back := time.Now()
	w.delivered(orders)
	w.resumedWithin(back, time.Second)
	w.account.within(t, limit, per)
	var before, after []arrival
	outage := 0
	for _, call := range w.account.seen() {
		switch {
		case call.at.Before(captured):
		case call.at.Before(down):
			before = append(before, call)
		case call.at.After(back) && call.method == http.MethodPut:
			after = append(after, call)
		default:
			outage++
		}
	}
	t.Logf("%d calls during the outage", outage)
	if len(before) > 0 { // else the orders took as long to store as their first part to send
		m.paced(t, "before the outage", before, per/(limit-1))
	}
	m.paced(t, "after the outage", after, per/(limit-1))
}
