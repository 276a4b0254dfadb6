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
	refused, err := meter.Int64ObservableGauge("peppasync_source_refused",
		metric.WithUnit("{operation}"), metric.WithDescription("Operations that a connector refuses for good as a source of orders."))
	if err != nil {
		return nil, fmt.Errorf("operator: metrics: %w", err)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
		if counted := o.onHold.Load(); counted != nil {
			for name, n := range *counted {
				connector := metric.WithAttributes(attribute.String("connector", name))
				observer.ObserveInt64(held, n.orders, connector)
				observer.ObserveInt64(refused, n.refusals, connector)
			}
		}
		return nil
	}, held, refused)
	if err != nil {
		return nil, fmt.Errorf("operator: metrics: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil // it can only be unregistered before
}

// onHold is what the Error Hold has of a Connector.
type onHold struct {
	orders, refusals int64
}

// onHoldAt is what the gauges show of all Connectors, those with nothing on hold too; nil,
// which shows nothing, where NATS did not tell: an old figure would pass for calm.
func onHoldAt(all *resources, counts map[string]status.Counts, refusals map[string][]status.Refusal, err error) map[string]onHold {
	if err != nil {
		return nil
	}
	by := make(map[string]onHold, len(all.connectors))
	for i := range all.connectors {
		name := all.connectors[i].Name
		by[name] = onHold{orders: counts[name].Held, refusals: int64(len(refusals[name]))}
	}
	return by
}
