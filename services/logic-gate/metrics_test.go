package logicgate

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// gated lets nothing be written until it is opened.
type gated struct {
	records
	open chan struct{}
}

func (g gated) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	select {
	case <-g.open:
		return g.records.Publish(ctx, m)
	case <-ctx.Done():
		return bus.Ack{}, ctx.Err()
	}
}

// Metrics say what became of events, and how far the gates are behind.
func TestMetrics(t *testing.T) {
	w := newWorld(t, toERP())
	observed, err := telemetry.Setup(t.Context(), telemetry.Options{Service: Role, Prometheus: true})
	if err != nil {
		t.Fatal(err)
	}
	w.telemetry = observed
	scraped := func() map[string]float64 {
		recorder := httptest.NewRecorder()
		observed.Metrics().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
		got := map[string]float64{}
		for lines := bufio.NewScanner(recorder.Body); lines.Scan(); {
			name, text, ok := strings.Cut(lines.Text(), " ")
			if value, err := strconv.ParseFloat(text, 64); ok && err == nil && strings.HasPrefix(name, "peppasync_") {
				got[name] = value
			}
		}
		return got
	}
	opened := make(chan struct{})
	w.start(func(r records) records { return gated{r, opened} })
	create := w.event("orders/create", shopOrder(1, 0, nil))
	w.capture(0, create)
	w.capture(0, create, w.event("orders/create", shopOrder(2, 0, nil)))
	w.eventually("two packs wait", func() bool { return scraped()[`peppasync_gate_waiting{stream="INGEST_0"}`] == 2 })
	close(opened)
	want := map[string]float64{
		`peppasync_gate_waiting{stream="INGEST_0"}`:           0,
		`peppasync_gate_waiting{stream="RESULT"}`:             0,
		`peppasync_gate_events_total{outcome="applied"}`:      2,
		`peppasync_gate_events_total{outcome="repeated"}`:     1,
		`peppasync_gate_events_total{outcome="same"}`:         0,
		`peppasync_gate_events_total{outcome="stale"}`:        0,
		`peppasync_gate_events_total{outcome="not-an-order"}`: 0,
		`peppasync_gate_deliveries_total`:                     3, // the repetition asks again
		`peppasync_gate_held_total`:                           0,
	}
	got := map[string]float64{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("got %v", got)
		}
	})
	w.eventually("both orders are settled", func() bool {
		got = scraped()
		for name, value := range want {
			if had, ok := got[name]; !ok || had != value {
				return false
			}
		}
		return true
	})
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range got {
		name, _, _ = strings.Cut(name, "{")
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("services/docs/metrics.md says nothing of %s", name)
		}
	}
}
