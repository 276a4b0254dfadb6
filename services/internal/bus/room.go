package bus

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// metadataStore is where the first ingest shard's stream says how many bytes the
// server may store in all: clients cannot ask for that.
const metadataStore = "peppasync-store-bytes"

// Room is how much of the disk is taken, in bytes.
type Room struct {
	// Stored in all streams, of at most Store; Store is 0 where that is not known.
	Stored, Store int64
	// Streams are the ingest shards.
	Streams []StreamRoom
	// Cluster is the name of the cluster that keeps them, empty for a server alone.
	Cluster string
}

// copiesInCluster is how many copies of an event a cluster must keep: with fewer the
// loss of one server may lose what was acknowledged, or stop what is left.
const copiesInCluster = 3

// Thin returns the ingest shards that a cluster keeps too few copies of, by the names
// of their streams. On a server alone there is nothing to compare with.
func (r Room) Thin() []string {
	var thin []string
	for shard, stream := range r.Streams {
		if r.Cluster != "" && stream.Copies < copiesInCluster {
			thin = append(thin, IngestStream(shard))
		}
	}
	return thin
}

// consequences is how many more bytes than its own an event leads to: the order's
// state, which is about as large at most, and a few records for each delivery.
const consequences = 2

// Full reports whether what is stored already needs the rest of the store, so that
// no event may be added: nine tenths of it are needed to work all of them off.
func (r Room) Full() bool { return r.Store > 0 && r.needed() > r.Store/10*9 }

// Left is how many bytes of events may be added before it is Full; less than zero for none.
// Where Store is not known it says nothing.
func (r Room) Left() int64 { return (r.Store/10*9 - r.needed()) / (1 + consequences) }

// Filling reports whether events that are worked off have to go: always before it
// is Full, by the same figure, so that the door for events never closes for good
// beside some that could go.
func (r Room) Filling() bool { return r.Store > 0 && r.needed() > r.Store/4*3 }

// needed is what will be stored when all events are worked off, as if none were
// yet.
func (r Room) needed() int64 {
	needed := r.Stored
	for _, stream := range r.Streams {
		needed += consequences * stream.Bytes
	}
	return needed
}

// StreamRoom is how much of its bound a stream has taken, in bytes; Most is 0
// where it has none. First is the sequence of its oldest record, the one after Last where it
// has none; Last is that of the newest record that it ever had.
// Copies are those of each message, on servers of their own, and Leader is the server
// that acknowledges them, empty where there is none or only one.
type StreamRoom struct {
	Bytes, Most int64
	First, Last uint64
	Copies      int
	Leader      string
}

// IngestRoom returns how much is stored, and how much of it by the ingest shards.
func (b *Bus) IngestRoom(ctx context.Context, shards int) (Room, error) {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	var room Room
	copies := 1
	for shard := range shards {
		s, err := b.js.Stream(bounded, IngestStream(shard))
		if err != nil {
			return Room{}, describe(because(bounded, err), "ask how much %s holds", IngestStream(shard))
		}
		info := s.CachedInfo() // as of the answer to Stream
		stream := StreamRoom{
			Bytes:  int64(info.State.Bytes), //nolint:gosec // no disk has 2^63 bytes
			Most:   max(0, info.Config.MaxBytes),
			First:  info.State.LastSeq + 1,
			Last:   info.State.LastSeq,
			Copies: max(1, info.Config.Replicas),
		}
		if info.State.Msgs > 0 {
			stream.First = info.State.FirstSeq
		}
		if info.Cluster != nil {
			room.Cluster, stream.Leader = info.Cluster.Name, info.Cluster.Leader
		}
		room.Streams = append(room.Streams, stream)
		if shard == 0 {
			room.Store, copies = storeOf(info.Config), max(1, info.Config.Replicas)
		}
	}
	account, err := b.js.AccountInfo(bounded)
	if err != nil {
		return Room{}, describe(because(bounded, err), "ask how much is stored")
	}
	// The account's figure has each copy, and Store is what one server may hold.
	room.Stored = int64(account.Store) / int64(copies) //nolint:gosec // as above
	return room, nil
}

// knownStore returns the StoreBytes of an earlier Apply, 0 where there is none. Who
// took silence for none would take the bound of the ingest shards away.
func (b *Bus) knownStore(ctx context.Context) (int64, error) {
	bounded, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	bounded, end := b.bound(bounded)
	defer end()
	config, err := b.streamConfig(bounded, IngestStream(0))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, describe(because(bounded, err), "ask what may be stored")
	}
	return storeOf(config), nil
}

func storeOf(config jetstream.StreamConfig) int64 {
	bytes, err := strconv.ParseInt(config.Metadata[metadataStore], 10, 64)
	if err != nil {
		return 0
	}
	return bytes
}

// Trim removes the oldest messages of a stream, none behind seen, that the durable
// consumer has acknowledged, with all before them, until at most keep bytes are left, and
// returns how many it removed. What is not acknowledged stays, and so does all
// that is newer than it. No consumer, or an empty stream, is no error.
func (b *Bus) Trim(ctx context.Context, stream, durable string, seen uint64, keep int64) (uint64, error) {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	s, err := b.js.Stream(bounded, stream)
	if err != nil {
		return 0, describe(because(bounded, err), "trim %s", stream)
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 || int64(state.Bytes) <= keep { //nolint:gosec // no disk has 2^63 bytes
		return 0, nil
	}
	consumer, err := s.Consumer(bounded, durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, describe(because(bounded, err), "ask what %s has acknowledged of %s", durable, stream)
	}
	// Messages are of about one size, and what is too many or too few is seen the
	// next time. Sequences have no gaps where nobody deletes.
	share := (float64(state.Bytes) - float64(max(0, keep))) / float64(state.Bytes)
	until := min(state.FirstSeq+uint64(share*float64(state.Msgs))+1, min(consumer.CachedInfo().AckFloor.Stream, seen)+1)
	if until <= state.FirstSeq {
		return 0, nil
	}
	if err := s.Purge(bounded, jetstream.WithPurgeSequence(until)); err != nil {
		return 0, describe(because(bounded, err), "trim %s", stream)
	}
	return until - state.FirstSeq, nil
}
