package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/services/up"
)

// readTimeout is how long a request for metrics may take to arrive.
const readTimeout = 5 * time.Second

func registerGRPC(c *cobra.Command, address *string) {
	c.Flags().StringVar(address, "grpc-listen", "",
		"where the throttle-dispatcher tells about its connectors and reopens them, over gRPC, without TLS, such as 127.0.0.1:9090 (default: nowhere)")
}

func registerPrograms(c *cobra.Command, flag string, address *string) {
	c.Flags().StringVar(address, flag, "",
		"where programs, and \"peppasync import\", hand orders in over gRPC, without TLS, such as 127.0.0.1:9091 (default: nowhere)")
}

// listenGRPC returns nil where the address is empty.
func listenGRPC(ctx context.Context, flag, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // nowhere is a choice
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
	}
	return listener, nil
}

// addressOf returns where a listener listens, empty for nil.
func addressOf(listener net.Listener) string {
	if listener == nil {
		return ""
	}
	return listener.Addr().String()
}

// readyTimeout is how long a look at the bus may take, which is less than who asks
// waits.
const readyTimeout = 2 * time.Second

// probes answers /healthz while the process lives, and /readyz where its role works.
func probes(mux *http.ServeMux, readiness *up.Readiness) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := readiness.Ready(ctx); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
}

// serveMetrics serves /metrics, and for a role that runs by itself /healthz and /readyz,
// until the returned function is called; nothing where the address is empty.
func serveMetrics(
	ctx context.Context, address string, metrics http.Handler, readiness *up.Readiness, log *slog.Logger,
) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics-listen %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	if readiness != nil {
		probes(mux, readiness)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: readTimeout}
	log.InfoContext(ctx, "listening", "metrics", "http://"+addressOf(listener)+"/metrics")
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.ErrorContext(ctx, "metrics are not served any more", "error", err)
		}
	}()
	return func() {
		_ = server.Close() // who reads now reads again elsewhere
		<-served
	}, nil
}
