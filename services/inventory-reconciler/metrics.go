package inventoryreconciler

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// outOfStep counts the SKUs that channels were found to show wrongly and that are not
// corrected yet, as services/docs/metrics.md describes it.
type outOfStep struct{ counter metric.Int64UpDownCounter }

func newOutOfStep(meter metric.Meter) (outOfStep, error) {
	counter, err := meter.Int64UpDownCounter("peppasync_stock_out_of_step", metric.WithUnit("{SKU}"),
		metric.WithDescription("SKUs that a channel was found to show wrongly, and that are not corrected yet."))
	if err != nil {
		return outOfStep{}, fmt.Errorf("inventory-reconciler: metrics: %w", err)
	}
	return outOfStep{counter}, nil
}

// gap is that of one part of a channel.
type gap struct {
	outOfStep outOfStep
	of        metric.MeasurementOption
	now       int64
}

func (o outOfStep) gap(pool, connector string) *gap {
	g := &gap{outOfStep: o, of: metric.WithAttributes(attribute.String("pool", pool), attribute.String("connector", connector))}
	g.outOfStep.counter.Add(context.Background(), 0, g.of) // so that there is a 0 before there is anything
	return g
}

// is says how many there are now.
func (g *gap) is(ctx context.Context, skus int) {
	// What is added under a context that is done is not counted.
	g.outOfStep.counter.Add(context.WithoutCancel(ctx), int64(skus)-g.now, g.of)
	g.now = int64(skus)
}
