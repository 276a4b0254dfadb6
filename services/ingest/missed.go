package ingest

import (
	"context"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/poller"
)

// newPoller returns what finds the orders that webhooks miss, nil where no system can
// be asked for them.
func (in *Ingest) newPoller() (*poller.Poller, error) {
	if len(in.config.Systems) == 0 {
		return nil, nil //nolint:nilnil // nothing is to be asked
	}
	return poller.New(poller.Config{
		Bus: in.config.Bus, Catalog: in.config.Catalog, Set: connectors.Set{Systems: in.config.Systems, Sources: in.config.Sources},
		Commit:        in.storeBefore,
		MaxEventBytes: in.bounds.eventBytes, Logger: in.config.Logger, Meter: in.config.Telemetry.Meter(Role),
	})
}

// storeBefore stores an encoded event before ctx's deadline.
func (in *Ingest) storeBefore(ctx context.Context, event []byte) error {
	until, _ := ctx.Deadline()
	return in.store(until, event)
}

// lookForMissed does so until ctx is done.
func (in *Ingest) lookForMissed(ctx context.Context) error {
	if in.poller != nil {
		in.poller.Run(ctx)
	}
	return nil
}

// Commit stores encoded events that came in by themselves, for which there is time until
// then.
func (in *Ingest) Commit(until time.Time, events ...[]byte) error {
	err := in.store(until, events...)
	if err == nil && in.poller != nil {
		for _, event := range events {
			in.poller.Received(event)
		}
	}
	return err
}
