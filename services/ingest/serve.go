package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peppasync/peppasync/services/ingest/internal/http1"
	"github.com/peppasync/peppasync/services/ingest/internal/webhook"
)

// serve answers until ctx is done, and returns when the last request has ended
// or the grace is over.
func (in *Ingest) serve(ctx context.Context) error {
	crowd := newCrowd(in.config.Listener, in.bounds.connections)
	server := &http1.Server{
		Handler:        crowd.attend(in.routes()),
		HeaderTimeout:  in.bounds.headerTimeout,
		RequestTimeout: in.bounds.requestTimeout,
		AnswerTimeout:  in.bounds.requestTimeout,
		IdleTimeout:    in.bounds.idleTimeout,
		HeaderBytes:    in.bounds.headerBytes,
		Logger:         in.config.Logger,
	}
	failed := make(chan error, 1)
	go func() {
		failed <- server.Serve(crowd)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("ingest: serving on %s: %w", in.Addr(), err)
	case <-ctx.Done():
	}
	in.health.stopping.Store(true)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.bounds.grace)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		// What is left is a slow sender that will come again.
		in.config.Logger.WarnContext(ctx, "requests did not end in time and were cut", "grace", in.bounds.grace.String())
		server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ingest: serving on %s: %w", in.Addr(), err)
	}
	return nil
}

func (in *Ingest) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := in.health.ready(r.Context()); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Nearly all are webhooks, whose handler knows the only paths that it has.
		if strings.HasPrefix(r.URL.Path, webhook.Path) {
			in.door.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// freshness is how long an answer about readiness holds: probes of whatever
// number must not become a load on the bus.
const freshness = 500 * time.Millisecond

var errStopping = errors.New("this instance is stopping")

// health remembers whether webhooks can be stored.
type health struct {
	check    func(context.Context) error
	stopping atomic.Bool

	mu     sync.Mutex
	asked  time.Time
	answer error
}

func (h *health) ready(ctx context.Context) error {
	if h.stopping.Load() {
		return errStopping
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked.IsZero() || time.Since(h.asked) >= freshness {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		h.answer, h.asked = h.check(bounded), time.Now()
	}
	return h.answer
}
