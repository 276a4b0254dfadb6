package ingest

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// newLatency returns what webhooks are timed with. Senders give up after 5 s.
func newLatency(meter metric.Meter) (metric.Float64Histogram, error) {
	h, err := meter.Float64Histogram("peppasync_ingest_webhook_seconds", metric.WithUnit("s"),
		metric.WithDescription("From the head of a webhook to its answer, by what the sender was told."),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5))
	if err != nil {
		return nil, fmt.Errorf("ingest: metrics: %w", err)
	}
	return h, nil
}

// measure registers the metrics of the role, as services/docs/metrics.md describes
// them, until the returned function is called.
func (in *Ingest) measure() (stop func(), err error) {
	meter := in.config.Telemetry.Meter(Role)
	events, err1 := meter.Int64ObservableCounter("peppasync_ingest_events_total",
		metric.WithUnit("{event}"), metric.WithDescription("Events that were acknowledged, by what became of them."))
	refusals, err5 := meter.Int64ObservableCounter("peppasync_ingest_refusals_total",
		metric.WithUnit("{delivery}"), metric.WithDescription("Deliveries of senders that were not taken, by what they were told."))
	packs, err2 := meter.Int64ObservableCounter("peppasync_ingest_packs_total",
		metric.WithUnit("{pack}"), metric.WithDescription("Writes that stored them."))
	remembered, err3 := meter.Int64ObservableGauge("peppasync_ingest_remembered",
		metric.WithUnit("{event}"), metric.WithDescription("Stored events whose repetitions are known."))
	rebuilt, err4 := meter.Float64ObservableGauge("peppasync_ingest_rebuild_progress",
		metric.WithUnit("1"), metric.WithDescription("What part of the stored events was read back since the start."))
	stored, err6 := meter.Int64ObservableGauge("peppasync_store_bytes",
		metric.WithUnit("By"), metric.WithDescription("What NATS has stored, one copy of it."))
	store, err7 := meter.Int64ObservableGauge("peppasync_store_limit_bytes",
		metric.WithUnit("By"), metric.WithDescription("What NATS may store; absent where that is not known."))
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return nil, fmt.Errorf("ingest: metrics: %w", err)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		c := in.Counts()
		count := func(counter metric.Int64Observable, outcome string, n uint64) {
			o.ObserveInt64(counter, int64(n), metric.WithAttributes(attribute.String("outcome", outcome))) //nolint:gosec // a count
		}
		count(events, "stored", c.Stored)
		count(events, "duplicate", c.Duplicates)
		count(refusals, "refused", c.Refused)
		count(refusals, "postponed", c.Postponed)
		o.ObserveInt64(packs, int64(c.Packs)) //nolint:gosec // a count
		o.ObserveInt64(remembered, int64(in.recent.Len()))
		o.ObserveFloat64(rebuilt, in.rebuilt.share())
		if taken, most := in.room.taken(); most > 0 {
			o.ObserveInt64(stored, taken)
			o.ObserveInt64(store, most)
		}
		return nil
	}, events, refusals, packs, remembered, rebuilt, stored, store)
	if err != nil {
		return nil, fmt.Errorf("ingest: metrics: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil // it can only be unregistered before
}
