// Package telemetry sets up tracing and logging of one process. Nothing in it
// is global: who wants a span is handed a tracer.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
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
	// Service and Version name the process in every span.
	Service, Version string
	// OTLPEndpoint is the base URL of an OTLP/HTTP collector, such as
	// "http://localhost:4318"; "/v1/traces" is added where it has no path.
	// Where it is empty, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and
	// OTEL_EXPORTER_OTLP_ENDPOINT of the environment are used; where those are
	// empty too, nothing is recorded.
	OTLPEndpoint string
}

// Telemetry hands out tracers. It is safe for concurrent use.
type Telemetry struct {
	provider trace.TracerProvider
	// sdk is nil where nothing is exported.
	sdk *sdktrace.TracerProvider
}

// Setup returns the telemetry of this process. Without an endpoint spans cost
// nothing and carry on the trace context that came in, so that a trace is not
// torn by a role that exports none of it.
func Setup(ctx context.Context, o Options) (*Telemetry, error) {
	exporterOptions, export, err := endpointOptions(o.OTLPEndpoint)
	if err != nil {
		return nil, err
	}
	if !export {
		return &Telemetry{provider: noop.NewTracerProvider()}, nil
	}
	exporter, err := otlptracehttp.New(ctx, exporterOptions...)
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTLP exporter: %w", err)
	}
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
		return nil, errors.Join(fmt.Errorf("telemetry: resource: %w", err), exporter.Shutdown(ctx))
	}
	sdk := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(time.Second)),
		sdktrace.WithResource(described),
		// The sender's decision holds for the whole trace; what begins here is
		// kept whole, and thinned by the collector.
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
	)
	return &Telemetry{provider: sdk, sdk: sdk}, nil
}

// endpointOptions returns the exporter's options, and whether anything is to be
// exported at all.
func endpointOptions(endpoint string) ([]otlptracehttp.Option, bool, error) {
	if endpoint == "" {
		// The exporter reads these two itself, with all that belongs to them.
		set := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
		return nil, set, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, false, fmt.Errorf("telemetry: OTLP endpoint %q is not a URL such as http://localhost:4318", endpoint)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return []otlptracehttp.Option{otlptracehttp.WithEndpointURL(u.String())}, true, nil
}

// Tracer returns the tracer of a package or role.
func (t *Telemetry) Tracer(name string) trace.Tracer { return t.provider.Tracer(name) }

// Shutdown sends what is waiting and stops. Spans ended later are lost.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.sdk == nil {
		return nil
	}
	if err := t.sdk.Shutdown(ctx); err != nil {
		return fmt.Errorf("telemetry: shutdown: %w", err)
	}
	return nil
}
