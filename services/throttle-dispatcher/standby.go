package throttledispatcher

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/peppasync/peppasync/proto/peppasync/lease/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/lease"
)

const (
	// lookEvery is the pause between looks at what the other session said; four
	// beats fit in.
	lookEvery   = 4 * lease.Beat
	lookTimeout = 2 * time.Second
)

// standBy waits until no other session uses this replica's name. It returns false
// when ctx is done. silent: the other one did not say its last word, so that its
// process may live, here or on another machine.
func (d *Dispatcher) standBy(ctx context.Context) (free, silent bool) {
	var vigil lease.Vigil
	for {
		switch revision, gone, err := d.lastWord(ctx); {
		case ctx.Err() != nil:
			return false, false
		case err != nil:
			vigil.Missed()
		case gone:
			return true, false
		case vigil.Saw(revision):
			return true, true
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return false, false
		}
	}
}

// lastWord returns the revision of what was said last under this replica's name,
// 0 where there is nothing, and whether it was that the session is gone. A record
// that the store removed, because it was a minute old, is no such word: after an
// outage of the store that is the first thing to happen.
func (d *Dispatcher) lastWord(ctx context.Context) (revision uint64, gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	r, err := d.leases.Last(ctx, bus.KeyValueStream(bus.BucketLease), bus.KeyValueSubject(bus.BucketLease, memberKey(d.config.Owner)))
	if errors.Is(err, bus.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil || r.Deleted() {
		return r.Sequence, false, err
	}
	said := &leasev1.Member{}
	return r.Sequence, proto.Unmarshal(r.Data, said) == nil && said.GetGone(), nil
}
