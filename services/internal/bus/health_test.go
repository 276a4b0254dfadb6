package bus_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestHealthySeesWhetherWritesAreSynced(t *testing.T) {
	for name, syncs := range map[string]bool{"always": true, "every two minutes": false} {
		t.Run(name, func(t *testing.T) {
			s := bustest.NewServer(t, bustest.WithTCP(), bustest.WithServerOptions(func(o *server.Options) {
				o.SyncAlways = syncs
				o.HTTPHost, o.HTTPPort = "127.0.0.1", server.RANDOM_PORT
			}))
			for where, o := range map[string]bus.Options{
				"in process": {Name: "a", InProcess: s},
				"by HTTP":    {Name: "b", URL: s.URL(), MonitorURL: s.MonitorURL()},
			} {
				err := s.Connect(t, o).Healthy(t.Context())
				if healthy := err == nil; healthy != syncs || !healthy && !strings.Contains(err.Error(), "sync_interval: always") {
					t.Errorf("%s: Healthy = %v", where, err)
				}
			}
			// Where it cannot be seen, it is not held against the server.
			if err := s.Connect(t, bus.Options{Name: "c", URL: s.URL()}).Healthy(t.Context()); err != nil {
				t.Errorf("without a monitor: %v", err)
			}
		})
	}
}

func TestHealthyFailsWhereTheMonitorDoesNotAnswer(t *testing.T) {
	s := bustest.NewServer(t)
	for name, handler := range map[string]http.HandlerFunc{
		"refused":  http.NotFound,
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no facts": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) },
	} {
		monitor := httptest.NewServer(handler)
		b := s.Connect(t, bus.Options{Name: "x", MonitorURL: monitor.URL, InProcess: plainProvider{s}})
		if err := b.Healthy(t.Context()); err == nil {
			t.Errorf("%s: healthy", name)
		}
		monitor.Close()
	}
}

// plainProvider is an in-process server that says nothing about itself.
type plainProvider struct{ connections }

type connections = interface {
	InProcessConn() (net.Conn, error)
}

// Of a cluster each server is asked: one that does not sync is told of, and one that
// is lost is what the others are there for.
func TestHealthyAsksEachServerOfACluster(t *testing.T) {
	s := bustest.NewServer(t)
	told := func(config string) string {
		monitor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(config)) }))
		t.Cleanup(monitor.Close)
		return monitor.URL
	}
	syncs, lazy := told(`{"config":{"sync_always":true}}`), told(`{"config":{"sync_always":false}}`)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for list, problem := range map[string]string{
		syncs + "," + syncs:             "",
		syncs + ", " + gone.URL:         "",
		syncs + "," + lazy:              "sync_interval: always",
		gone.URL + "," + lazy:           "sync_interval: always",
		gone.URL + "," + gone.URL + "/": "cannot be seen",
	} {
		err := s.Connect(t, bus.Options{Name: "x", MonitorURL: list, InProcess: plainProvider{s}}).Healthy(t.Context())
		if (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: Healthy = %v, want %q", list, err, problem)
		}
	}
}
