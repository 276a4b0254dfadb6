package runner

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector is an OTLP/HTTP receiver that keeps traces, until Close. It is safe for
// concurrent use.
type Collector struct {
	*httptest.Server

	mu    sync.Mutex
	spans map[string]*tracev1.Span // by span id
}

// NewCollector returns one that tells problem what it cannot read.
func NewCollector(problem func(format string, arguments ...any)) *Collector {
	c := &Collector{spans: make(map[string]*tracev1.Span)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.URL.Path == "/v1/metrics" {
			w.Header().Set("Content-Type", "application/x-protobuf")
			return
		}
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			problem("the collector got %s %s with %s: %v", r.Method, r.URL.Path, r.Header.Get("Content-Type"), err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		// The request of an export has the fields of TracesData.
		var data tracev1.TracesData
		if err := proto.Unmarshal(body, &data); err != nil {
			problem("the collector cannot read an export: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.take(&data)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	return c
}

func (c *Collector) take(data *tracev1.TracesData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range data.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans[string(span.GetSpanId())] = span
			}
		}
	}
}

// Named returns the spans of a name.
func (c *Collector) Named(name string) []*tracev1.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*tracev1.Span
	for _, span := range c.spans {
		if span.GetName() == name {
			found = append(found, span)
		}
	}
	return found
}

// Chain returns a span and all that it is in, from the innermost. It ends where
// a parent is not there or belongs to another trace.
func (c *Collector) Chain(span *tracev1.Span) []*tracev1.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	chain := []*tracev1.Span{span}
	for {
		parent := c.spans[string(span.GetParentSpanId())]
		if parent == nil || !bytes.Equal(parent.GetTraceId(), span.GetTraceId()) {
			return chain
		}
		chain = append(chain, parent)
		span = parent
	}
}

// Span returns the one with an id, nil for none.
func (c *Collector) Span(id []byte) *tracev1.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[string(id)]
}
