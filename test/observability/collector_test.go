package observability

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/nopexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
)

// parts are those of the collector's own distribution that the configuration names.
func parts() (otelcol.Factories, error) {
	f := otelcol.Factories{Telemetry: otelconftelemetry.NewFactory()}
	var err error
	if f.Receivers, err = otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory()); err != nil {
		return f, err
	}
	if f.Processors, err = otelcol.MakeFactoryMap[processor.Factory](memorylimiterprocessor.NewFactory(), batchprocessor.NewFactory()); err != nil {
		return f, err
	}
	f.Exporters, err = otelcol.MakeFactoryMap[exporter.Factory](otlpexporter.NewFactory(), nopexporter.NewFactory())
	return f, err
}

// newCollector returns the real one with the configuration of deploy/observability, in
// which changes, in YAML, replace addresses.
func newCollector(t *testing.T, core zap.Option, changes ...string) *otelcol.Collector {
	t.Helper()
	file, err := filepath.Abs(filepath.Join(folder, "collector-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	sources := []string{"file:" + file}
	for _, change := range changes {
		sources = append(sources, "yaml:"+change)
	}
	collector, err := otelcol.NewCollector(otelcol.CollectorSettings{
		BuildInfo: component.NewDefaultBuildInfo(), Factories: parts, DisableGracefulShutdown: true, SkipSettingGRPCLogger: true,
		LoggingOptions: []zap.Option{core},
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			URIs: sources, ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory(), yamlprovider.NewFactory()},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return collector
}

// The collector takes its configuration as it is.
func TestTheCollectorReadsItsConfiguration(t *testing.T) {
	if err := newCollector(t, quiet(zap.NewNop())).DryRun(t.Context()); err != nil {
		t.Error(err)
	}
	if err := newCollector(t, quiet(zap.NewNop()), "exporters::otlp_grpc/tempo::endpont: tempo:4317").DryRun(t.Context()); err == nil {
		t.Error("a mistake is taken: this test finds nothing")
	}
}

func quiet(log *zap.Logger) zap.Option {
	return zap.WrapCore(func(_ zapcore.Core) zapcore.Core { return log.Core() })
}

// startCollector runs one until the test ends, in front of a backend, and returns its base URL.
func startCollector(t *testing.T, backend string) string {
	t.Helper()
	taken, metrics := freePort(t), freePort(t)
	core, said := observer.New(zap.WarnLevel)
	collector := newCollector(t, quiet(zap.New(core)),
		"exporters::otlp_grpc/tempo::endpoint: "+backend,
		fmt.Sprintf("receivers::otlp::protocols::http::endpoint: 127.0.0.1:%d", taken),
		fmt.Sprintf("service::telemetry::metrics::readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %d}}}}]", metrics))
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- collector.Run(ctx) }()
	t.Cleanup(func() {
		collector.Shutdown()
		if err := <-ended; err != nil {
			t.Errorf("the collector ended with %v", err)
		}
		cancel()
		for _, entry := range said.All() {
			t.Errorf("the collector says %s %v", entry.Message, entry.ContextMap())
		}
	})
	until(t, "the collector runs", func() bool { return collector.GetState() == otelcol.StateRunning })
	return fmt.Sprintf("http://127.0.0.1:%d", taken)
}

// freePort is none of those that the system gives to outgoing connections.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// backend is what the collector sends to, in Tempo's place.
type backend struct {
	ptraceotlp.UnimplementedGRPCServer
	address string

	mu    sync.Mutex
	spans map[[8]byte]span
}

type span struct {
	service, name string
	trace         [16]byte
	parent        [8]byte
	attributes    map[string]any
}

func startBackend(t *testing.T) *backend {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{address: listener.Addr().String(), spans: map[[8]byte]span{}}
	server := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(server, b)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

// Export takes spans in.
func (b *backend) Export(_ context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, resource := range request.Traces().ResourceSpans().All() {
		service, _ := resource.Resource().Attributes().Get("service.name")
		for _, scope := range resource.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				b.spans[s.SpanID()] = spanOf(service.AsString(), s)
			}
		}
	}
	return ptraceotlp.NewExportResponse(), nil
}

func spanOf(service string, s ptrace.Span) span {
	return span{service: service, name: s.Name(), trace: s.TraceID(), parent: s.ParentSpanID(), attributes: s.Attributes().AsRaw()}
}

// chain returns a span of that name and all that it is in, within its trace.
func (b *backend) chain(name string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var chain []string
	for _, s := range b.spans {
		if s.name != name {
			continue
		}
		trace := s.trace
		for there := true; there && s.trace == trace; s, there = b.spans[s.parent] {
			chain = append(chain, s.service+": "+s.name)
		}
		return chain
	}
	return nil
}

// traceOf returns the trace of a span of that name.
func (b *backend) traceOf(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.spans {
		if s.name == name {
			return fmt.Sprintf("%x", s.trace)
		}
	}
	return ""
}

// with returns the traces that have a span with this attribute.
func (b *backend) with(attribute string, value any) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
	for _, s := range b.spans {
		if trace := fmt.Sprintf("%x", s.trace); s.attributes[attribute] == value && !slices.Contains(found, trace) {
			found = append(found, trace)
		}
	}
	return found
}
