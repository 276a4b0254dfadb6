package up

import (
	"context"
	"fmt"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/embed"
)

// startNATS starts the embedded NATS. Where the streams were made for a larger
// store, it lowers their bounds first: the server takes no change of a stream
// while the bounds add up to more than it may store, and so not that one either.
func startNATS(ctx context.Context, o embed.Options) (*embed.Server, error) {
	server, err := embed.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	reserved, store := server.Reserved(), server.MaxStore()
	if reserved <= store {
		return server, nil
	}
	server.Stop()
	roomy := o
	roomy.MaxStore, roomy.Listen = reserved, "" // for nobody but this
	if server, err = embed.Start(ctx, roomy); err != nil {
		return nil, err
	}
	err = makeStreams(ctx, server, store)
	server.Stop()
	if err != nil {
		return nil, err
	}
	return embed.Start(ctx, o)
}

// makeStreams makes the streams for a store of that many bytes.
func makeStreams(ctx context.Context, server *embed.Server, store int64) error {
	b, err := bus.Connect(ctx, bus.Options{Name: "up", InProcess: server})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Apply(ctx, bus.Topology{OrderShards: orderShards, StoreBytes: store}); err != nil {
		return fmt.Errorf("making the streams: %w", err)
	}
	return nil
}
