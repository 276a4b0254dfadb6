package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// syncReporter tells whether a server has every write on disk before it
// acknowledges it.
type syncReporter interface {
	syncAlways(ctx context.Context) (bool, error)
}

// inProcess asks an embedded server.
type inProcess struct {
	server interface{ SyncAlways() bool }
}

func (p inProcess) syncAlways(context.Context) (bool, error) { return p.server.SyncAlways(), nil }

// monitor asks a server's HTTP monitoring, /jsz.
type monitor struct {
	url    string
	client *http.Client
}

func newMonitor(base string) monitor {
	// One small request for each readiness check: a connection kept for it would
	// only outlive the bus.
	transport := &http.Transport{DisableKeepAlives: true}
	return monitor{
		url:    strings.TrimSuffix(base, "/") + "/jsz?config=true",
		client: &http.Client{Transport: transport, Timeout: requestTimeout},
	}
}

func (m monitor) syncAlways(ctx context.Context) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url, nil)
	if err != nil {
		return false, err
	}
	reply, err := m.client.Do(request)
	if err != nil {
		return false, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return false, fmt.Errorf("%s answers %s", m.url, reply.Status)
	}
	var jsz struct {
		Config *struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(io.LimitReader(reply.Body, 1<<20)).Decode(&jsz); err != nil || jsz.Config == nil {
		return false, fmt.Errorf("%s does not say how JetStream is configured", m.url)
	}
	return jsz.Config.SyncAlways, nil
}
