package ingest

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

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
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
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
		return nil
	}, events, refusals, packs, remembered, rebuilt)
	if err != nil {
		return nil, fmt.Errorf("ingest: metrics: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil // it can only be unregistered before
}
