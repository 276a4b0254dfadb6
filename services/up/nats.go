package up

import (
	"context"
	"log/slog"

	"github.com/peppasync/peppasync/services/internal/bus/embed"
)

// Cluster says which cluster a server belongs to.
type Cluster = embed.Cluster

// NATSConfig is what the embedded NATS needs to run by itself. Data, Listen and
// Logger are required.
type NATSConfig struct {
	// Data is its folder, Listen where it serves.
	Data, Listen string
	// Monitor is where its HTTP monitoring listens, empty for nowhere.
	Monitor string
	// Cluster makes it a member of one; nil for a server alone.
	Cluster *Cluster
	// Security is the folder of "peppasync bootstrap --dir", empty for everybody.
	Security string
	// MaxStore bounds the bytes on disk; 0 for 80% of what is free.
	MaxStore int64
	Logger   *slog.Logger
	// Ready is called once it serves. May be nil.
	Ready func(at Served)
}

// Served is where a server listens; Monitor is empty for nowhere.
type Served struct{ URL, Monitor string }

// RunNATS serves the NATS that Run has inside, for roles that run as processes
// of their own, until ctx is done.
func RunNATS(ctx context.Context, c NATSConfig) error {
	server, err := embed.Start(context.WithoutCancel(ctx), embed.Options{
		DataDir: c.Data, Listen: c.Listen, Monitor: c.Monitor, Cluster: c.Cluster, Security: c.Security, MaxStore: c.MaxStore, Logger: c.Logger,
	})
	if err != nil {
		return err
	}
	defer server.Stop()
	if c.Ready != nil {
		c.Ready(Served{URL: server.URL(), Monitor: server.MonitorURL()})
	}
	<-ctx.Done()
	return nil
}
