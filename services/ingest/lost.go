package ingest

import (
	"sync"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// newest knows the newest record of each shard that was acknowledged or seen. Where a stream ends
// before it, somebody has made the stream anew or put back an older copy of it, and what
// is remembered as stored may be stored nowhere: senders that repeat it then would be
// told OK for what is lost. It is safe for concurrent use.
type newest struct {
	mu        sync.Mutex
	sequences map[int]uint64
}

// stored takes in that a shard has acknowledged a record.
func (n *newest) stored(shard int, sequence uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.raise(shard, sequence)
}

// raise needs the mutex.
func (n *newest) raise(shard int, sequence uint64) {
	if n.sequences == nil {
		n.sequences = make(map[int]uint64)
	}
	n.sequences[shard] = max(n.sequences[shard], sequence)
}

// of returns the newest of each of so many shards.
func (n *newest) of(shards int) []uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	sequences := make([]uint64, shards)
	for shard := range sequences {
		sequences[shard] = n.sequences[shard]
	}
	return sequences
}

// lost reports whether streams, which were looked at after before was asked for, have lost
// records. It does so once for each time.
func (n *newest) lost(before []uint64, streams []bus.StreamRoom) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	lost := false
	for shard, stream := range streams {
		if shard < len(before) && stream.Last < before[shard] {
			n.sequences[shard] = stream.Last
			lost = true
		} else {
			n.raise(shard, stream.Last)
		}
	}
	return lost
}
