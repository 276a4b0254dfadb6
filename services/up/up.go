// Package up runs every role in one process on an embedded NATS, from a folder
// of YAML: the same code as in a cluster, with nothing else to install.
package up

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/embed"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/run"
)

// orderShards is how many streams the orders of one machine are spread over.
// Each stream writes and fsyncs by itself, and two cores keep about four of them
// busy.
const orderShards = 4

// Config of the all-in-one. Environment and the two folders are required.
type Config struct {
	Environment
	// Files is the folder of YAML that says what there is.
	Files string
	// Data is the folder of the embedded NATS.
	Data string
	// NATSListen is where the embedded NATS serves other processes, such as
	// "127.0.0.1:4222"; empty for nobody.
	NATSListen string
	// MaxStore bounds the bytes on disk; 0 for 80% of what is free.
	MaxStore int64
	// Ready is called once, when webhooks are stored, with where they are taken
	// and where NATS listens (empty for nowhere). May be nil.
	Ready func(webhooks, nats string)
}

// Run works until ctx is done; then the roles stop in their own time, and the
// embedded NATS after them. A mistake in the YAML at the start is an error that
// lists every problem; later ones are logged, and the old catalog stays.
func Run(ctx context.Context, c Config) error {
	resources, problems := catalog.LoadDir(c.Files)
	problems = withCompiled(resources, problems)
	if len(problems) > 0 {
		return fmt.Errorf("the configuration in %s has %d problem(s), nothing was started:\n%w", c.Files, len(problems), problems)
	}
	// NATS must outlive the roles, which write until their last moment.
	server, err := startNATS(context.WithoutCancel(ctx), embed.Options{
		DataDir: c.Data, Listen: c.NATSListen, MaxStore: c.MaxStore, Logger: c.Logger.With("role", "nats"),
	})
	if err != nil {
		return err
	}
	defer server.Stop()
	connect := bus.Options{InProcess: server}
	own := connect
	own.Name, own.Logger = "up", c.Logger
	b, err := bus.Connect(ctx, own)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Apply(ctx, bus.Topology{OrderShards: orderShards, StoreBytes: server.MaxStore()}); err != nil {
		return fmt.Errorf("making the streams: %w", err)
	}
	files := newFiles(b, c.Logger)
	switch err := files.publish(ctx, resources); {
	case bus.IsFull(err):
		// The roles make room, by what is in there from before.
		files.edits <- resources
	case err != nil:
		return fmt.Errorf("publishing the catalog: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		files.run(ctx)
		return nil
	})
	for _, role := range Roles() {
		group.Go(func() error { return role.Run(ctx, connect, c.Environment) })
	}
	group.Go(func() error {
		return run.Supervise(ctx, c.Logger, "watching "+c.Files, func(ctx context.Context) error {
			return catalog.WatchDir(ctx, c.Files, func(resources []catalog.Resource, problems catalog.Problems) {
				files.take(ctx, resources, problems)
			})
		})
	})
	if c.Ready != nil {
		group.Go(func() error {
			webhooks := baseURL(c.Webhooks)
			if awaitReady(ctx, webhooks) {
				c.Ready(webhooks, server.URL())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// withCompiled adds to what was found on reading the files what compiling them
// finds, so that all of it can be mended at once.
func withCompiled(resources []catalog.Resource, found catalog.Problems) catalog.Problems {
	_, more := catalog.Compile(resources, systems.Set())
	return append(found, more...)
}
