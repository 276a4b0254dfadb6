package ingest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/ingest/internal/keep"
	"github.com/peppasync/peppasync/services/ingest/internal/poller"
	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	// roomEvery is how often it is looked how much is stored.
	roomEvery = time.Second
	// refusedFor is how long a refusal counts where nobody tells how much room
	// there is: as long as senders are asked to stay away.
	refusedFor = 30 * time.Second
)

// errNoRoom: what was taken in already needs the rest of the store.
var errNoRoom = fmt.Errorf("%w: the rest of the store is for what was taken in; it passes when orders are worked off, "+
	"or when NATS may store more (--max-store, max_file_store)", keep.ErrFull)

// room knows whether there is any to store events in. It is safe for concurrent
// use.
type room struct {
	mu sync.Mutex
	// closed: what is stored needs all that is left.
	closed bool
	// bounded: it is known how much may be stored, and left is how much of it is not
	// given out since that was looked at. In a second, more may come in than there is
	// room for, and what follows from it would have none.
	bounded bool
	left    int64
	// underway are the bytes that are being stored: they may not be in what was seen.
	underway int64
	// wanted is the size of an event that did not fit into what is left, 0 where the last
	// one did.
	wanted int64
	// refused are the shards that refused a pack, with its size and when.
	refused map[int]refusal
	// stored and store are what was seen last, 0 where nothing was.
	stored, store int64
	// thin are the streams that a cluster keeps too few copies of.
	thin []string
}

type refusal struct {
	bytes int64
	at    time.Time
}

// admit returns nil where an event of so many bytes may be tried to store; leave says
// that it was.
func (r *room) admit(bytes int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.bounded && r.left < int64(bytes) {
		r.wanted = int64(bytes)
		return errNoRoom
	}
	r.wanted = 0
	r.left -= int64(bytes)
	r.underway += int64(bytes)
	return nil
}

func (r *room) leave(bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underway -= int64(bytes)
}

// full returns nil where the last try did not fail for want of room.
func (r *room) full() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.wanted > 0 || len(r.refused) > 0 {
		return errNoRoom
	}
	return nil
}

// taken returns how much was stored when it was looked at last, and how much may be; 0
// where that is not known.
func (r *room) taken() (stored, store int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored, r.store
}

// kept returns nil where the loss of one server loses nothing that is stored, as far as
// that is known.
func (r *room) kept() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.thin) > 0 {
		return fmt.Errorf("the cluster keeps fewer than three copies of %s, so the loss of one server may lose what is acknowledged; "+
			"make the streams with \"peppasync apply --replicas 3\"", strings.Join(r.thin, ", "))
	}
	return nil
}

// tried takes in how a write to a shard ended.
func (r *room) tried(shard, bytes int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		delete(r.refused, shard)
	case bus.IsFull(err):
		if r.refused == nil {
			r.refused = make(map[int]refusal)
		}
		r.refused[shard] = refusal{bytes: int64(bytes), at: time.Now()}
	}
}

// seen takes in how much is stored at now.
func (r *room) seen(stored bus.Room, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.thin = stored.Full(), stored.Thin()
	r.stored, r.store = stored.Stored, stored.Store
	r.bounded, r.left = stored.Store > 0, stored.Left()-r.underway
	if r.wanted <= r.left || !r.bounded {
		r.wanted = 0
	}
	for shard, refusal := range r.refused {
		if now.Sub(refusal.at) >= refusedFor || hasRoom(stored, shard, refusal.bytes) {
			delete(r.refused, shard)
		}
	}
}

// hasRoom reports whether it is known that what was refused would fit now.
func hasRoom(stored bus.Room, shard int, bytes int64) bool {
	if stored.Store == 0 || shard >= len(stored.Streams) {
		return false
	}
	const frame = 256 // more than the server adds to a message
	stream := stored.Streams[shard]
	return stored.Stored+bytes+frame < stored.Store && (stream.Most == 0 || stream.Bytes+bytes+frame < stream.Most)
}

// watchRoom looks how much is stored until ctx is done.
func (in *Ingest) watchRoom(ctx context.Context, shards int) {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	var leaders leaders
	// worked is up to where the gate had read each shard at the look before.
	worked := make([]uint64, shards)
	for {
		acknowledged := in.newest.of(shards)
		working := in.worked(ctx, worked)
		// Where nobody answers the last answer stands; writes tell what else there is.
		if stored, err := in.config.Bus.IngestRoom(ctx, shards); err == nil {
			in.room.seen(stored, time.Now())
			if in.newest.lost(acknowledged, worked, stored.Streams) {
				in.forget(ctx)
			}
			worked = working
			in.spread(ctx, &leaders, stored)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// worked returns up to where the gate has worked each shard off now: as before where nobody
// tells.
func (in *Ingest) worked(ctx context.Context, before []uint64) []uint64 {
	now := slices.Clone(before)
	for shard := range now {
		backlog, err := in.config.Bus.Backlog(ctx, bus.IngestStream(shard), bus.Consumer(poller.Gate))
		if err != nil {
			break // while nobody answers each question takes its time
		}
		now[shard] = backlog.Acknowledged
	}
	return now
}
