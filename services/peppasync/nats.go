package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/up"
)

func newNATS() *cobra.Command {
	var (
		data, listen, ready string
		maxStore            int64
	)
	c := &cobra.Command{
		Use:   "nats",
		Short: "Serve the embedded NATS alone, for roles that run as processes of their own",
		Long: `Serves the NATS that "peppasync up" has inside: one server that writes through
to disk. It has no users and no TLS, so let it listen on loopback. In production
run a cluster of three NATS servers instead.`,
		Example: `  peppasync nats --data ./data --listen 127.0.0.1:4222
  peppasync apply -f deploy/demo --nats nats://127.0.0.1:4222
  peppasync ingest --nats nats://127.0.0.1:4222`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkStore(maxStore); err != nil {
				return err
			}
			log := telemetry.NewLogger(c.ErrOrStderr(), "text", slog.LevelInfo)
			return up.RunNATS(c.Context(), up.NATSConfig{
				Data: data, Listen: listen, MaxStore: maxStore, Logger: log,
				Ready: func(url string) {
					log.Info("serving", "nats", url, "data", data)
					if err := writeReady(ready, addresses{NATS: url}); err != nil {
						log.Error("--ready-file could not be written", "error", err)
					}
				},
			})
		},
	}
	f := c.Flags()
	f.StringVar(&data, "data", "./data", "folder of the server: orders are kept here")
	f.StringVar(&listen, "listen", "127.0.0.1:4222", "where it serves")
	f.Int64Var(&maxStore, "max-store", 0, "most bytes on disk (default: 80% of what is free)")
	f.StringVar(&ready, "ready-file", "", "file to write the address to, as JSON, once it serves")
	return c
}
