package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/run"
)

// quiet is how long a role waits for its first catalog before it says so.
const quiet = 2 * time.Second

// Follow returns a store that follows the published configuration until ctx is
// done. Its snapshot is nil until there is one that this process can work by: for
// a role that has something to say meanwhile. A document that cannot be read,
// does not compile or is a newer release's changes nothing, and is one line in
// the log.
func Follow(ctx context.Context, b *bus.Bus, systems connectors.Set, log *slog.Logger) *Store {
	w := &watcher{systems: systems, log: log, store: NewStore(nil)}
	w.store.newest = func(ctx context.Context) (*Snapshot, error) { return w.read(ctx, b) }
	go func() {
		_ = run.Supervise(ctx, log, "watching the catalog", func(ctx context.Context) error {
			return b.Watch(ctx, bus.BucketCatalog, key, w.take)
		})
	}()
	return w.store
}

// Watch is Follow for a role that has nothing to do before the first snapshot: it
// waits for it. The error is ctx's.
func Watch(ctx context.Context, b *bus.Bus, systems connectors.Set, log *slog.Logger) (*Store, error) {
	store := Follow(ctx, b, systems, log)
	first := store.Changed()
	remind := time.NewTimer(quiet)
	defer remind.Stop()
	for store.Current() == nil {
		select {
		case <-first: // only a snapshot is ever put in
		case <-remind.C:
			log.WarnContext(ctx, "waiting for a catalog to work by; \"peppasync apply -f DIR\" publishes one")
		case <-ctx.Done():
			return nil, fmt.Errorf("no catalog yet: %w", context.Cause(ctx))
		}
	}
	return store, nil
}

// watcher turns records of the bucket into snapshots. take runs in one goroutine
// at a time.
type watcher struct {
	systems connectors.Set
	log     *slog.Logger
	store   *Store
	last    bus.Record
}

func (w *watcher) take(record bus.Record) {
	// A watch that was started again brings what is known already.
	if record.Sequence == w.last.Sequence && bytes.Equal(record.Data, w.last.Data) {
		return
	}
	w.last = record
	snapshot, err := w.compile(record)
	if err != nil {
		if w.store.Current() == nil {
			w.log.Error("the catalog is not taken, and there is no older one to work by", "revision", record.Sequence, "error", err)
			return
		}
		w.log.Error("the new catalog is not taken; the old one stays", "revision", record.Sequence, "error", err)
		return
	}
	w.store.Replace(snapshot)
}

// read returns the published snapshot.
func (w *watcher) read(ctx context.Context, b *bus.Bus) (*Snapshot, error) {
	record, err := b.Get(ctx, bus.BucketCatalog, key)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	if current := w.store.Current(); current != nil && current.Revision == record.Sequence {
		return current, nil
	}
	return w.compile(record)
}

func (w *watcher) compile(record bus.Record) (*Snapshot, error) {
	if record.Deleted() {
		return nil, errors.New("it was deleted: publish one again")
	}
	resources, err := Decode(record.Data)
	if err != nil {
		return nil, err
	}
	snapshot, problems := Compile(resources, w.systems)
	if len(problems) > 0 {
		return nil, problems
	}
	snapshot.Revision = record.Sequence
	return snapshot, nil
}
