package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// key is the one key of the bucket that holds the configuration.
const key = "current"

// Publish makes the resources the configuration of all roles, as one document
// and by compare-and-set. It writes nothing where that is the configuration
// already, and refuses to replace a newer release's. The resources must have
// compiled.
func Publish(ctx context.Context, b *bus.Bus, resources ...Resource) error {
	data, err := Encode(resources)
	if err != nil {
		return err
	}
	// A conflict is another writer, such as a second loader of the same files,
	// or the own first attempt whose reply was lost; both are seen on reading
	// again.
	const attempts = 5
	for range attempts {
		var done bool
		if done, err = publishOnce(ctx, b, data); done {
			return err
		}
	}
	return fmt.Errorf("another process writes the catalog at the same time; stop it, or apply again: %w", err)
}

// Published returns the resources that are the configuration as of the call; none where
// nothing was published.
func Published(ctx context.Context, b interface {
	Get(ctx context.Context, bucket, key string) (bus.Record, error)
}) ([]Resource, error) {
	record, err := b.Get(ctx, bus.BucketCatalog, key)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return Decode(record.Data)
}

// publishOnce returns false where a conflict asks for another attempt.
func publishOnce(ctx context.Context, b *bus.Bus, data []byte) (bool, error) {
	// Last, not Get: after a deletion the marker's sequence is what must be there.
	var revision uint64
	current, err := b.Last(ctx, bus.KeyValueStream(bus.BucketCatalog), bus.KeyValueSubject(bus.BucketCatalog, key))
	switch {
	case errors.Is(err, bus.ErrNotFound):
	case err != nil:
		return true, fmt.Errorf("read the catalog: %w", err)
	default:
		revision = current.Sequence
		if !current.Deleted() {
			if bytes.Equal(current.Data, data) {
				return true, nil
			}
			if found, err := formatOf(current.Data); err == nil && found > format {
				return true, fmt.Errorf("%w: it is %d, this release writes %d: publish with the newer release", ErrNewerFormat, found, format)
			}
		}
	}
	_, err = b.Put(ctx, bus.BucketCatalog, key, data, &revision)
	if bus.IsConflict(err) {
		return false, err
	}
	if err != nil {
		return true, fmt.Errorf("write the catalog: %w", err)
	}
	return true, nil
}
