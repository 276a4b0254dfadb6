// Package telemetry sets up tracing, metrics and logging of one process. Nothing
// in it is global: who wants a span is handed a tracer, and who counts a meter.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Options of Setup.
type Options struct {
	// Service and Version name the process in every span and metric.
	Service, Version string
	// OTLPEndpoint is the base URL of an OTLP/HTTP collector, such as
	// "http://localhost:4318"; "/v1/traces" and "/v1/metrics" are added where it has
	// no path. One with a path is for traces alone. Where it is empty,
	// OTEL_EXPORTER_OTLP_ENDPOINT of the environment is used, and before it
	// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_METRICS_ENDPOINT;
	// where those are empty too, nothing is sent.
	OTLPEndpoint string
	// Prometheus keeps metrics for Metrics to show.
	Prometheus bool
}

// Telemetry hands out tracers and meters. It is safe for concurrent use.
type Telemetry struct {
	provider trace.TracerProvider
	// sdk is nil where nothing is exported.
	sdk     *sdktrace.TracerProvider
	metrics metrics
}

// Setup returns the telemetry of this process. Without an endpoint spans cost
// nothing and carry on the trace context that came in, so that a trace is not
// torn by a role that exports none of it.
func Setup(ctx context.Context, o Options) (*Telemetry, error) {
	// Attribute names of the OpenTelemetry resource conventions.
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithProcessPID(),
		resource.WithFromEnv(),
		resource.WithAttributes(
			attribute.String("service.name", o.Service),
			attribute.String("service.version", o.Version),
		),
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("telemetry: resource: %w", err)
	}
	t := &Telemetry{provider: noop.NewTracerProvider()}
	if t.metrics, err = setupMetrics(ctx, o, described); err != nil {
		return nil, err
	}
	url, export, err := endpointOf(o.OTLPEndpoint, "traces")
	if err != nil {
		return nil, errors.Join(err, t.metrics.shutdown(ctx))
	}
	if !export {
		return t, nil
	}
	var exporterOptions []otlptracehttp.Option
	if url != "" {
		exporterOptions = append(exporterOptions, otlptracehttp.WithEndpointURL(url))
	}
	exporter, err := otlptracehttp.New(ctx, exporterOptions...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("telemetry: OTLP exporter: %w", err), t.metrics.shutdown(ctx))
	}
	t.sdk = sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(time.Second)),
		sdktrace.WithResource(described),
		// No sampler: the library's own choice is to keep the sender's decision for
		// the whole trace, and what begins here whole, unless OTEL_TRACES_SAMPLER says
		// otherwise.
	)
	t.provider = t.sdk
	return t, nil
}

// endpointOf returns where a signal, "traces" or "metrics", is sent, empty for
// where the environment says, and whether it is sent at all.
func endpointOf(endpoint, signal string) (string, bool, error) {
	if endpoint == "" {
		// The exporter reads these two itself, with all that belongs to them.
		set := os.Getenv("OTEL_EXPORTER_OTLP_"+strings.ToUpper(signal)+"_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
		return "", set, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", false, fmt.Errorf("telemetry: OTLP endpoint %q is not a URL such as http://localhost:4318", endpoint)
	}
	switch {
	case u.Path == "" || u.Path == "/":
		u.Path = "/v1/" + signal
	case signal != "traces":
		return "", false, nil
	}
	return u.String(), true, nil
}

// Tracer returns the tracer of a package or role.
func (t *Telemetry) Tracer(name string) trace.Tracer { return t.provider.Tracer(name) }

// Shutdown sends what is waiting and stops. Spans ended later are lost.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	err := t.metrics.shutdown(ctx)
	if t.sdk != nil {
		err = errors.Join(err, t.sdk.Shutdown(ctx))
	}
	if err != nil {
		return fmt.Errorf("telemetry: shutdown: %w", err)
	}
	return nil
}
