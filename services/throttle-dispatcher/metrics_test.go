package throttledispatcher_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
)

// scraped returns what Prometheus reads, by name and labels.
func (w *world) scraped() map[string]float64 {
	w.t.Helper()
	recorder := httptest.NewRecorder()
	w.metrics.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	values := map[string]float64{}
	for lines := bufio.NewScanner(recorder.Body); lines.Scan(); {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil && strings.HasPrefix(name, "peppasync_") {
			values[name] = value
		}
	}
	return values
}

// Metrics say what the service says, and what the server saw.
func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 600, time.Minute)
	const orders = 25
	for i := range orders {
		w.want(i, "")
	}
	client, _ := w.served()
	w.start()
	w.delivered(orders)
	w.until(client, "all are counted", func(c *dispatcherv1.Connector) bool {
		return limitNamed(t, c, "window").GetLastWindowCount() >= orders && c.GetInFlight() == 0
	})
	got := w.scraped()
	for name, want := range map[string]float64{
		`peppasync_connector_state{connector="wms",state="running"}`:           1,
		`peppasync_limit_calls{connector="wms",limit="window"}`:                600,
		`peppasync_limit_calls{connector="wms",limit="parallel"}`:              10,
		`peppasync_limit_largest_window_count{connector="wms",limit="window"}`: orders,
		`peppasync_limit_largest_window_sent{connector="wms",limit="window"}`:  orders,
		`peppasync_limit_last_window_count{connector="wms",limit="window"}`:    orders,
		`peppasync_calls_total{connector="wms"}`:                               orders,
		`peppasync_deliveries_total{connector="wms",outcome="delivered"}`:      orders,
		`peppasync_deliveries_total{connector="wms",outcome="held"}`:           0,
		`peppasync_leases_lost_total`:                                          0,
		`peppasync_queue_waiting{connector="wms",lane="standard"}`:             0,
		`peppasync_calls_in_flight{connector="wms"}`:                           0,
		`peppasync_eta_seconds{connector="wms"}`:                               0,
		`peppasync_drains_in_seconds{connector="wms"}`:                         0,
		`peppasync_lane_eta_seconds{connector="wms",lane="standard"}`:          0,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, ok, want)
		}
	}
	if pace := got[`peppasync_pace_per_minute{connector="wms"}`]; pace < 570 || pace > 600 {
		t.Errorf("pace %v, want about 599", pace)
	}
	// What is measured is written down, and nothing else.
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
