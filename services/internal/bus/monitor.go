package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// syncReporter tells whether a server has every write on disk before it
// acknowledges it.
type syncReporter interface {
	syncAlways(ctx context.Context) (bool, error)
}

// monitorTimeout is how long one server may take to say how it is configured: below
// what a readiness check may take, so that a server that hangs does not hide the
// answers of the others.
const monitorTimeout = time.Second

// inProcess asks an embedded server.
type inProcess struct {
	server interface{ SyncAlways() bool }
}

func (p inProcess) syncAlways(context.Context) (bool, error) { return p.server.SyncAlways(), nil }

// monitors asks each server of a cluster. One that does not sync is enough to be
// told of; one that does not answer is lost, which the others are there for.
type monitors []monitor

func newMonitors(list string) monitors {
	var all monitors
	for base := range strings.SplitSeq(list, ",") {
		all = append(all, newMonitor(strings.TrimSpace(base)))
	}
	return all
}

func (m monitors) syncAlways(ctx context.Context) (bool, error) {
	type answer struct {
		always bool
		err    error
	}
	answers := make(chan answer, len(m))
	for _, one := range m {
		go func() {
			always, err := one.syncAlways(ctx)
			answers <- answer{always, err}
		}()
	}
	var silent []error
	always := true
	for range m {
		a := <-answers
		if a.err != nil {
			silent = append(silent, a.err)
		} else {
			always = always && a.always
		}
	}
	if len(silent) == len(m) {
		return false, errors.Join(silent...)
	}
	return always, nil
}

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
		client: &http.Client{Transport: transport, Timeout: monitorTimeout},
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
