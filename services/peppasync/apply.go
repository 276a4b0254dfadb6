package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/peppasync/peppasync/services/ingest"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

const (
	// natsPatience is how long a server may take that is being started at the
	// same moment.
	natsPatience = 10 * time.Second
	natsEvery    = 100 * time.Millisecond
)

func newApply() *cobra.Command {
	var (
		files    string
		nats     server
		topology bus.Topology
	)
	c := &cobra.Command{
		Use:     "apply -f DIR --nats URL",
		Short:   "Make the streams and publish the catalog from a folder of YAML",
		Example: "  peppasync apply -f ./config --nats nats://a:4222,nats://b:4222,nats://c:4222 --replicas 3 --ingest-shards 3",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if topology.StoreBytes != 0 && topology.StoreBytes < minStore {
				return fmt.Errorf("--store-bytes is %d, it must be at least %d", topology.StoreBytes, minStore)
			}
			resources, err := load(files)
			if err != nil {
				return err
			}
			if err := advise(c, resources); err != nil {
				return err
			}
			b, err := connect(c, "apply", nats)
			if err != nil {
				return err
			}
			defer b.Close()
			if err := b.Apply(c.Context(), topology); err != nil {
				return fmt.Errorf("making the streams: %w", err)
			}
			if err := catalog.Publish(c.Context(), b, resources...); err != nil {
				return fmt.Errorf("publishing the catalog: %w", err)
			}
			if _, err = fmt.Fprintf(c.OutOrStdout(), "%d resources applied\n", len(resources)); err != nil {
				return err
			}
			return tellRefused(c, b)
		},
	}
	f := c.Flags()
	f.StringVarP(&files, "files", "f", "", "folder of YAML files (required)")
	f.IntVar(&topology.IngestShards, "ingest-shards", 1, "streams that events are spread over: 3 on a cluster of three")
	f.IntVar(&topology.OrderShards, "order-shards", 4, "streams that orders are spread over; cannot be changed later")
	f.IntVar(&topology.Replicas, "replicas", 1, "copies of each stream: 3 on a cluster of three")
	f.Int64Var(&topology.StoreBytes, "store-bytes", 0,
		"what NATS may store in all, its max_file_store: senders are then asked to come again before the rest has no room (default: as told before)")
	nats.register(c)
	required(c, "files")
	return c
}

// tellRefused says what sources refuse for good, which an edit may be meant to mend: it is
// tried again at once.
func tellRefused(c *cobra.Command, b *bus.Bus) error {
	refusals, err := ingest.Refusals(c.Context(), b)
	if err != nil {
		return err
	}
	for _, connector := range slices.Sorted(maps.Keys(refusals)) {
		for _, r := range refusedLines(refusals[connector]) {
			if _, err := fmt.Fprintln(c.ErrOrStderr(), r.text(connector)); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitNATS returns nil once the server answers. The address is not in the error,
// because it may contain a password.
func awaitNATS(ctx context.Context, b *bus.Bus) error {
	bounded, cancel := context.WithTimeout(ctx, natsPatience)
	defer cancel()
	tick := time.NewTicker(natsEvery)
	defer tick.Stop()
	for {
		err := b.Healthy(bounded)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
			return fmt.Errorf("the NATS that --nats names does not answer within %v; start it, or correct the address (%s): %w",
				natsPatience, `"peppasync up" serves its NATS only with --nats-listen`, err)
		}
	}
}
