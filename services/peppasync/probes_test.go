package main

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// heard is a log that a test may read while it is written.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) find(pattern *regexp.Regexp) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if found := pattern.FindStringSubmatch(h.text.String()); found != nil {
		return found[1]
	}
	return ""
}

var metricsAddress = regexp.MustCompile(`metrics=(http://[^/]+)/metrics`)

// A role that nobody can reach by webhooks tells how it does where its metrics are: that
// it lives at once, that it works once it has the catalog, and not without NATS.
func TestARoleTellsWhetherItWorks(t *testing.T) {
	server := bustest.NewServer(t, bustest.WithTCP())
	log := &heard{}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		command := newCommand()
		command.SetArgs([]string{"notifier", "--nats", server.URL(), "--metrics-listen", "127.0.0.1:0"})
		command.SetErr(log)
		ended <- command.ExecuteContext(ctx)
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var base string
	until(t, "listening", func() bool { base = log.find(metricsAddress); return base != "" })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer := func(path string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if code, _ := answer("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz says %d before there is a catalog", code)
	}
	if code, why := answer("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(why, "catalog") {
		t.Errorf("/readyz says %d %q before there is a catalog", code, why)
	}
	if _, err := execute(t.Context(), "apply", "-f", demo, "--nats", server.URL(), "--ingest-shards", "2", "--order-shards", "2"); err != nil {
		t.Fatal(err)
	}
	ready := func() bool { code, _ := answer("/readyz"); return code == http.StatusOK }
	until(t, "working", ready)
	server.Stop()
	until(t, "unready without NATS", func() bool { return !ready() })
	if code, _ := answer("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz says %d without NATS: a restart would not help", code)
	}
	server.StartAgain(t)
	until(t, "working again", ready)
}
