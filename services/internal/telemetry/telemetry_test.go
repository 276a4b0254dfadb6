package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	parent  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traceID = "0af7651916cd43dd8448eb211c80319c"
)

func TestInjectAndExtract(t *testing.T) {
	if got := Inject(t.Context()); got != nil {
		t.Errorf("without a trace Inject = %q, want nil", got)
	}
	ctx := Extract(t.Context(), parent, "vendor=1,other=2")
	span := trace.SpanContextFromContext(ctx)
	if span.TraceID().String() != traceID || !span.IsRemote() || !span.IsSampled() {
		t.Errorf("extracted %+v", span)
	}
	got := Inject(ctx)
	if got[HeaderTraceparent] != parent || got[HeaderTracestate] != "vendor=1,other=2" || len(got) != 2 {
		t.Errorf("Inject = %q", got)
	}
	for _, malformed := range []string{"", "x", "00-0-0-01", strings.Repeat("0", 55), parent[:54]} {
		if span := trace.SpanContextFromContext(Extract(t.Context(), malformed, "a=b")); span.IsValid() {
			t.Errorf("Extract(%q) found %+v", malformed, span)
		}
	}
	// A state that cannot be read does not cost the trace.
	if span := trace.SpanContextFromContext(Extract(t.Context(), parent, "\x00")); span.TraceID().String() != traceID {
		t.Errorf("with a broken tracestate the trace is %+v", span)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(parent, "a=b")
	f.Add("00-", "")
	f.Fuzz(func(t *testing.T, traceparent, tracestate string) {
		ctx := Extract(context.Background(), traceparent, tracestate)
		if span := trace.SpanContextFromContext(ctx); span.IsValid() {
			again := trace.SpanContextFromContext(Extract(context.Background(), Inject(ctx)[HeaderTraceparent], Inject(ctx)[HeaderTracestate]))
			if !again.Equal(span) {
				t.Fatalf("%q, %q: %+v became %+v", traceparent, tracestate, span, again)
			}
		}
	})
}

func TestWithoutAnEndpointATraceIsCarriedOn(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	traces, err := Setup(t.Context(), Options{Service: "ingest"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := traces.Tracer("ingest").Start(Extract(t.Context(), parent, ""), "receive")
	if span.IsRecording() || Inject(ctx)[HeaderTraceparent] != parent {
		t.Errorf("recording %v, carried on %q; want no recording and the incoming trace", span.IsRecording(), Inject(ctx))
	}
	span.End()
	if err := traces.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// collector is an OTLP/HTTP receiver that keeps the bodies of its requests.
type collector struct {
	mu     sync.Mutex
	bodies []byte
	paths  []string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	content, _ := io.ReadAll(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies = append(c.bodies, content...)
	c.paths = append(c.paths, r.URL.Path)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func TestSpansReachTheCollector(t *testing.T) {
	for name, configure := range map[string]func(t *testing.T, url string) Options{
		"by option": func(_ *testing.T, url string) Options {
			return Options{Service: "logic-gate", Version: "1.2.3", OTLPEndpoint: url}
		},
		"by environment": func(t *testing.T, url string) Options {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
			return Options{Service: "logic-gate", Version: "1.2.3"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &collector{}
			server := httptest.NewServer(c)
			defer server.Close()
			traces, err := Setup(t.Context(), configure(t, server.URL))
			if err != nil {
				t.Fatal(err)
			}
			ctx, span := traces.Tracer("logic-gate").Start(Extract(t.Context(), parent, ""), "fold the event")
			if id := trace.SpanContextFromContext(ctx).TraceID().String(); id != traceID || !span.IsRecording() {
				t.Errorf("the span is in trace %s, recording %v", id, span.IsRecording())
			}
			if Inject(ctx)[HeaderTraceparent] == parent {
				t.Error("what is sent on names the sender's span, not this one")
			}
			span.End()
			if err := traces.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if !slices.Equal(c.paths, []string{"/v1/metrics", "/v1/traces"}) {
				t.Errorf("requests to %q, want one to each of /v1/metrics and /v1/traces", c.paths)
			}
			for _, want := range []string{"fold the event", "service.name", "logic-gate", "service.version", "1.2.3"} {
				if !bytes.Contains(c.bodies, []byte(want)) {
					t.Errorf("the collector did not hear of %q", want)
				}
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

func TestSetupRefusesWhatIsNoURL(t *testing.T) {
	for _, endpoint := range []string{"localhost:4318", "collector", "grpc://x", "http://", "://"} {
		if _, err := Setup(t.Context(), Options{OTLPEndpoint: endpoint}); err == nil {
			t.Errorf("%q was taken", endpoint)
		}
	}
}

func TestNewLogger(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, "json", slog.LevelWarn)
	log.Info("not this")
	log.Warn("this", "n", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "this" {
		t.Errorf("wrote %q, %v; want one line of JSON", out.String(), err)
	}
	out.Reset()
	NewLogger(&out, "text", slog.LevelInfo).Info("plain")
	if !strings.Contains(out.String(), "msg=plain") {
		t.Errorf("wrote %q", out.String())
	}
}

func TestMetricsOverOTLPAndForPrometheus(t *testing.T) {
	c := &collector{}
	server := httptest.NewServer(c)
	defer server.Close()
	both, err := Setup(t.Context(), Options{Service: "throttle-dispatcher", OTLPEndpoint: server.URL, Prometheus: true})
	if err != nil {
		t.Fatal(err)
	}
	counter, err := both.Meter("test").Int64Counter("peppasync_calls_total")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 7, metric.WithAttributes(attribute.String("connector", "erp")))
	recorder := httptest.NewRecorder()
	both.Metrics().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	for _, want := range []string{`peppasync_calls_total{connector="erp"} 7`, "go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(recorder.Body.String(), want) {
			t.Errorf("Prometheus does not see %s in:\n%s", want, recorder.Body)
		}
	}
	if err := both.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, want := range []string{"peppasync_calls_total", "erp", "throttle-dispatcher"} {
		if !bytes.Contains(c.bodies, []byte(want)) {
			t.Errorf("the collector did not hear of %q", want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestWithoutReadersMetricsCostNothing(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "")
	none, err := Setup(t.Context(), Options{Service: "ingest"})
	if err != nil {
		t.Fatal(err)
	}
	counter, err := none.Meter("test").Int64Counter("peppasync_calls_total")
	if err != nil || counter.Enabled(t.Context()) || none.Metrics() != nil {
		t.Errorf("counter enabled, or a handler: %v, %v", none.Metrics(), err)
	}
}

// A latency has a trace beside it, for who asks for OpenMetrics.
func TestALatencyNamesATrace(t *testing.T) {
	observed, err := Setup(t.Context(), Options{Service: "ingest", Prometheus: true})
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := observed.Meter("test").Float64Histogram("peppasync_seconds")
	if err != nil {
		t.Fatal(err)
	}
	seconds.Record(Extract(t.Context(), parent, ""), 0.2)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	recorder := httptest.NewRecorder()
	observed.Metrics().ServeHTTP(recorder, request)
	if want := `trace_id="` + traceID + `"`; !strings.Contains(recorder.Body.String(), want) {
		t.Errorf("there is no %s in:\n%s", want, recorder.Body)
	}
}
