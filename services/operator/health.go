package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// readiness is what a replica has come to.
type readiness struct {
	certificate atomic.Bool
}

const healthTimeout = 2 * time.Second

// serveHealth answers probes.
func (o *operator) serveHealth(ctx context.Context) error {
	if o.config.Health == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := o.isReady(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	return serve(ctx, admissionServer(mux), o.config.Health)
}

func (o *operator) isReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if !o.ready.certificate.Load() {
		return errors.New("admission has no certificate yet")
	}
	if _, err := o.resources(ctx, o.client); err != nil {
		return fmt.Errorf("the resources are not known yet: %w", err)
	}
	return nil
}

// serve serves until ctx is done, and lets what is under way end.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		_ = server.Close()
	}
	<-served //nolint:errcheck // it was told to end
	return nil
}
