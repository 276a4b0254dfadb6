package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// metrics is where instruments report to.
type metrics struct {
	provider metric.MeterProvider
	// sdk is nil where nobody reads.
	sdk *sdkmetric.MeterProvider
	// registry is nil where Prometheus is not asked for.
	registry *prometheus.Registry
}

// setupMetrics returns the metrics of this process: pushed to the collector that
// the options name, and readable by Prometheus where they ask for it.
func setupMetrics(ctx context.Context, o Options, described *resource.Resource) (metrics, error) {
	options := []sdkmetric.Option{sdkmetric.WithResource(described)}
	m := metrics{provider: metricnoop.NewMeterProvider()}
	url, push, err := endpointOf(o.OTLPEndpoint, "metrics")
	if err != nil {
		return metrics{}, err
	}
	if push {
		var exporterOptions []otlpmetrichttp.Option
		if url != "" {
			exporterOptions = append(exporterOptions, otlpmetrichttp.WithEndpointURL(url))
		}
		exporter, err := otlpmetrichttp.New(ctx, exporterOptions...)
		if err != nil {
			return metrics{}, fmt.Errorf("telemetry: OTLP exporter of metrics: %w", err)
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	if o.Prometheus {
		m.registry = prometheus.NewRegistry()
		m.registry.MustRegister(
			collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
		reader, err := otelprometheus.New(
			otelprometheus.WithRegisterer(m.registry),
			// A metric has one name, in the code, over OTLP and here.
			otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithoutSuffixes),
			otelprometheus.WithoutScopeInfo(),
		)
		if err != nil {
			return metrics{}, fmt.Errorf("telemetry: Prometheus exporter: %w", err)
		}
		options = append(options, sdkmetric.WithReader(reader))
	}
	if push || o.Prometheus {
		m.sdk = sdkmetric.NewMeterProvider(options...)
		m.provider = m.sdk
	}
	return m, nil
}

func (m metrics) shutdown(ctx context.Context) error {
	if m.sdk == nil {
		return nil
	}
	err := m.sdk.Shutdown(ctx)
	if errors.Is(err, sdkmetric.ErrReaderShutdown) {
		return nil
	}
	return err
}

// Meter returns the meter of a package or role. Names of instruments begin with
// "peppasync_" and are written down in services/docs/metrics.md.
func (t *Telemetry) Meter(name string) metric.Meter { return t.metrics.provider.Meter(name) }

// Metrics returns the handler that Prometheus reads; nil where Options did not ask
// for it.
func (t *Telemetry) Metrics() http.Handler {
	if t.metrics.registry == nil {
		return nil
	}
	// OpenMetrics, where it is asked for, has a trace beside each latency; the text format cannot.
	return promhttp.HandlerFor(t.metrics.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}
