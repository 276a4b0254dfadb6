package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
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

// serveMetrics serves /metrics until the returned function is called; nothing
// where the address is empty.
func serveMetrics(ctx context.Context, address string, metrics http.Handler, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics-listen %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
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
