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

// Edition is the configuration as it was at one moment, which only who has seen it
// replaces.
type Edition struct {
	// Resources are none where nothing was published.
	Resources []Resource
	revision  uint64
	data      []byte
}

// ErrReplaced is returned where another process has published since an Edition was read.
var ErrReplaced = errors.New("another process has published a catalog meanwhile")

// Read returns what is published as of the call, and fails where a newer release has
// published it.
func Read(ctx context.Context, b *bus.Bus) (Edition, error) {
	// Last, not Get: after a deletion the marker's sequence is what must be there.
	record, err := b.Last(ctx, bus.KeyValueStream(bus.BucketCatalog), bus.KeyValueSubject(bus.BucketCatalog, key))
	if errors.Is(err, bus.ErrNotFound) {
		return Edition{}, nil
	}
	if err != nil {
		return Edition{}, fmt.Errorf("read the catalog: %w", err)
	}
	if record.Deleted() {
		return Edition{revision: record.Sequence}, nil
	}
	resources, err := Decode(record.Data)
	if err != nil {
		return Edition{}, err
	}
	return Edition{Resources: resources, revision: record.Sequence, data: record.Data}, nil
}

// Replace makes the resources the configuration of all roles in place of e, as Publish
// does; ErrReplaced where e is no longer what is published. Who reads e first and the
// resources after it, from where they are kept and not from a copy, never puts older ones
// in the place of newer: whatever was published before e was read was made of older ones.
func (e Edition) Replace(ctx context.Context, b *bus.Bus, resources ...Resource) error {
	data, err := Encode(resources)
	if err != nil {
		return err
	}
	if e.data != nil && bytes.Equal(e.data, data) {
		return nil
	}
	_, err = b.Put(ctx, bus.BucketCatalog, key, data, &e.revision)
	if bus.IsConflict(err) {
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	}
	if err != nil {
		return fmt.Errorf("write the catalog: %w", err)
	}
	return nil
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
