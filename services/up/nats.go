package up

import (
	"context"
	"log/slog"

	"github.com/peppasync/peppasync/services/internal/bus/embed"
)

// NATSConfig is what the embedded NATS needs to run by itself. Data, Listen and
// Logger are required.
type NATSConfig struct {
	// Data is its folder, Listen where it serves.
	Data, Listen string
	// MaxStore bounds the bytes on disk; 0 for 80% of what is free.
	MaxStore int64
	Logger   *slog.Logger
	// Ready is called once it serves. May be nil.
	Ready func(url string)
}

// RunNATS serves the NATS that Run has inside, for roles that run as processes
// of their own, until ctx is done.
func RunNATS(ctx context.Context, c NATSConfig) error {
	server, err := embed.Start(context.WithoutCancel(ctx), embed.Options{
		DataDir: c.Data, Listen: c.Listen, MaxStore: c.MaxStore, Logger: c.Logger,
	})
	if err != nil {
		return err
	}
	defer server.Stop()
	if c.Ready != nil {
		c.Ready(server.URL())
	}
	<-ctx.Done()
	return nil
}
