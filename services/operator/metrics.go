package operator

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/peppasync/peppasync/services/operator/internal/status"
)

// measure registers the metrics of the leader, as services/docs/metrics.md describes them,
// until the returned function is called.
func (o *operator) measure() (stop func(), err error) {
	if o.config.Telemetry == nil {
		return func() {}, nil
	}
	meter := o.config.Telemetry.Meter(Name)
	held, err := meter.Int64ObservableGauge("peppasync_connector_held",
		metric.WithUnit("{order}"), metric.WithDescription("Orders that are on hold at a connector."))
	if err != nil {
		return nil, fmt.Errorf("operator: metrics: %w", err)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
		if counted := o.held.Load(); counted != nil {
			for name, n := range *counted {
				observer.ObserveInt64(held, n, metric.WithAttributes(attribute.String("connector", name)))
			}
		}
		return nil
	}, held)
	if err != nil {
		return nil, fmt.Errorf("operator: metrics: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil // it can only be unregistered before
}

// heldAt is what the gauge shows of all Connectors, those with none on hold too; nil, which
// shows nothing, where NATS did not tell: an old figure would pass for calm.
func heldAt(all *resources, counts map[string]status.Counts, err error) map[string]int64 {
	if err != nil {
		return nil
	}
	held := make(map[string]int64, len(all.connectors))
	for i := range all.connectors {
		name := all.connectors[i].Name
		held[name] = counts[name].Held
	}
	return held
}
