package poller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	sourcev1 "github.com/peppasync/peppasync/proto/peppasync/source/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
)

// meters are the metrics, as services/docs/metrics.md describes them.
type meters struct {
	meter                          metric.Meter
	compared, missing, stale, puts metric.Int64Counter
	behind                         metric.Float64ObservableGauge
	seen                           *seen
}

// seen is when each source was compared last, as far as this replica knows.
type seen struct {
	mu sync.Mutex
	at map[string]time.Time
}

func newMeters(meter metric.Meter) (meters, error) {
	var errs []error
	total := func(name, unit, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	m := meters{
		meter:    meter,
		compared: total("peppasync_source_orders_compared_total", "{order}", "Orders that a source listed and that were compared with what is known."),
		missing:  total("peppasync_source_orders_missing_total", "{order}", "Orders that no webhook told of."),
		stale:    total("peppasync_source_orders_stale_total", "{order}", "Orders that changed without a webhook."),
		puts:     total("peppasync_source_webhooks_mended_total", "{webhook}", "Webhooks that were made or turned on again."),
		seen:     &seen{at: map[string]time.Time{}},
	}
	var err error
	m.behind, err = meter.Float64ObservableGauge("peppasync_source_compared_ago_seconds", metric.WithUnit("s"),
		metric.WithDescription("How long ago the newest comparison that came to its end began."))
	if err := errors.Join(append(errs, err)...); err != nil {
		return meters{}, fmt.Errorf("ingest: metrics: %w", err)
	}
	return m, nil
}

// observe answers who collects until the returned function is called.
func (m *meters) observe() (stop func()) {
	registration, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		m.seen.mu.Lock()
		defer m.seen.mu.Unlock()
		for name, at := range m.seen.at {
			o.ObserveFloat64(m.behind, time.Since(at).Seconds(), of(name))
		}
		return nil
	}, m.behind)
	if err != nil {
		return func() {} // of another meter: it is of this one
	}
	return func() { _ = registration.Unregister() }
}

func of(connector string) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("connector", connector))
}

func (m *meters) saw(connector string, s *sourcev1.Source) {
	if s.GetComparedAt() == nil {
		return
	}
	m.seen.mu.Lock()
	defer m.seen.mu.Unlock()
	m.seen.at[connector] = s.GetComparedAt().AsTime()
}

// forget is for a source that is asked no more: how long ago would grow for ever.
func (m *meters) forget(connector string) {
	m.seen.mu.Lock()
	defer m.seen.mu.Unlock()
	delete(m.seen.at, connector)
}

func (m *meters) count(ctx context.Context, connector string, c reconcile.Compared) {
	m.compared.Add(ctx, c.Orders, of(connector))
	m.missing.Add(ctx, c.Missing, of(connector))
	m.stale.Add(ctx, c.Stale, of(connector))
}

func (m *meters) mended(ctx context.Context, connector string, n int64) {
	m.puts.Add(ctx, n, of(connector))
}
