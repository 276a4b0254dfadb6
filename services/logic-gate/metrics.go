package logicgate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// collectWithin is how long somebody who collects may wait for the bus: Prometheus has 10 s.
const collectWithin = 2 * time.Second

// measure registers the metrics of the role, as services/docs/metrics.md describes
// them, until the returned function is called.
func (g *Gate) measure(meter metric.Meter) (stop func(), err error) {
	events, err1 := meter.Int64ObservableCounter("peppasync_gate_events_total",
		metric.WithUnit("{event}"), metric.WithDescription("Events that were settled, by what became of them."))
	deliveries, err2 := meter.Int64ObservableCounter("peppasync_gate_deliveries_total",
		metric.WithUnit("{delivery}"), metric.WithDescription("Deliveries that were asked for, repetitions included."))
	held, err3 := meter.Int64ObservableCounter("peppasync_gate_held_total",
		metric.WithUnit("{hold}"), metric.WithDescription("Events and deliveries that this role put into the Error Hold."))
	waiting, err4 := meter.Int64ObservableGauge("peppasync_gate_waiting",
		metric.WithUnit("{message}"), metric.WithDescription("How far all replicas together are behind the end of a stream."))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("logic-gate: metrics: %w", err)
	}
	registration, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		s := g.Stats()
		for outcome, n := range map[string]int64{
			"applied": s.Applied, "stale": s.Stale, "same": s.Same, "repeated": s.Repeated, "not-an-order": s.NotOrders,
		} {
			o.ObserveInt64(events, n, metric.WithAttributes(attribute.String("outcome", outcome)))
		}
		o.ObserveInt64(deliveries, s.Deliveries)
		o.ObserveInt64(held, s.Held)
		g.observeWaiting(ctx, o, waiting)
		return nil
	}, events, deliveries, held, waiting)
	if err != nil {
		return nil, fmt.Errorf("logic-gate: metrics: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil // it can only be unregistered before
}

// observeWaiting asks the bus. Where it does not answer, nothing is said: an old figure
// would pass for calm.
func (g *Gate) observeWaiting(ctx context.Context, o metric.Observer, waiting metric.Int64Observable) {
	ctx, cancel := context.WithTimeout(ctx, collectWithin)
	defer cancel()
	shards, err := g.bus.Shards(ctx, bus.PrefixIngest)
	if err != nil {
		return
	}
	streams := []string{bus.StreamResult}
	for shard := range shards {
		streams = append(streams, bus.IngestStream(shard))
	}
	for _, stream := range streams {
		backlog, err := g.bus.Backlog(ctx, stream, bus.Consumer(Role))
		if err != nil {
			continue
		}
		// What was read and not settled yet waits too: where nothing is settled, a few
		// thousand are held by readers.
		behind := int64(backlog.Newest() - backlog.Acknowledged) //nolint:gosec // a count
		o.ObserveInt64(waiting, behind, metric.WithAttributes(attribute.String("stream", stream)))
	}
}
