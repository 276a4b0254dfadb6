package logicgate

import (
	"fmt"
	"slices"
	"testing"
	"time"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
)

// BenchmarkOrders puts 1,000 new orders in packs of 32 through a gate, with
// fsync on, from the first pack to the last delivery in DISPATCH.
func BenchmarkOrders(b *testing.B) {
	const orders, pack = 1000, 32
	var settled int
	var taken time.Duration
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b, toERP())
		var events []*eventv1.Event
		for id := 1; id <= orders; id++ {
			events = append(events, w.event("orders/create", shopOrder(id, 0, nil)))
		}
		shard := 0
		for part := range slices.Chunk(events, pack) {
			w.capture(shard%2, part...)
			shard++
		}
		b.StartTimer()
		gate, stop := w.start(nil)
		started := time.Now()
		w.eventually("all events", func() bool { return gate.Stats().Events == orders })
		taken += time.Since(started)
		settled += orders
		b.StopTimer()
		w.eventually("all deliveries", func() bool { return len(w.dispatched()) == orders })
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(settled)/taken.Seconds(), "orders/s")
}

// BenchmarkLoneOrder measures from the capture of an order, with nothing else
// going on, to its delivery in DISPATCH.
func BenchmarkLoneOrder(b *testing.B) {
	w := newWorld(b, toERP())
	w.start(nil)
	var taken []time.Duration
	id := 0
	for b.Loop() {
		id++
		e := w.event("orders/create", shopOrder(id, 0, nil))
		w.capture(0, e)
		captured := time.Now()
		delivery := fmt.Sprintf("shopify_%d_orders_erp_1", id)
		// The server says when it was stored, so that it does not matter when that
		// is seen.
		w.eventually(delivery, func() bool { return !w.queuedAt(delivery).IsZero() })
		taken = append(taken, w.queuedAt(delivery).Sub(captured))
	}
	slices.Sort(taken)
	b.ReportMetric(float64(taken[len(taken)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(taken[len(taken)*99/100].Microseconds())/1000, "p99-ms")
}
