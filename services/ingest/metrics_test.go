package ingest

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Metrics say what became of deliveries, and how far the index of them is.
func TestMetrics(t *testing.T) {
	observed, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "test", Prometheus: true})
	if err != nil {
		t.Fatal(err)
	}
	b := bustest.Start(t)
	before := start(t, b, nil).ready(t)
	before.deliver(t, "w0", order(0), nil)
	before.end(t)
	f := startObserved(t, b, catalog.NewStore(snapshot()), observed, nil).ready(t).rebuiltAll(t)
	for _, id := range []string{"w0", "w1", "w2", "w2"} {
		f.deliver(t, id, order(0), nil)
	}
	f.deliver(t, "w3", []byte("no JSON"), nil)
	recorder := httptest.NewRecorder()
	observed.Metrics().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	got := map[string]float64{}
	for lines := bufio.NewScanner(recorder.Body); lines.Scan(); {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil && strings.HasPrefix(name, "peppasync_") {
			got[name] = value
		}
	}
	for name, want := range map[string]float64{
		`peppasync_ingest_events_total{outcome="stored"}`:      2,
		`peppasync_ingest_events_total{outcome="duplicate"}`:   2,
		`peppasync_ingest_refusals_total{outcome="refused"}`:   1,
		`peppasync_ingest_refusals_total{outcome="postponed"}`: 0,
		`peppasync_ingest_packs_total`:                         2,
		`peppasync_ingest_remembered`:                          3,
		`peppasync_ingest_rebuild_progress`:                    1,

		`peppasync_ingest_webhook_seconds_count{outcome="taken"}`:   4,
		`peppasync_ingest_webhook_seconds_count{outcome="refused"}`: 1,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, ok, want)
		}
	}
	// What is measured is written down.
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range got {
		name, _, _ = strings.Cut(name, "{")
		name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("services/docs/metrics.md says nothing of %s", name)
		}
	}
}
