package ingest

import (
	"sync"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// newest knows the newest record of each shard that was acknowledged or seen, and the oldest
// one that was there. Where a stream ends before the newest, somebody has made the stream anew
// or put back an older copy of it, and where its beginning is gone before the gate has read
// it, somebody has purged it. What is remembered as stored may be stored nowhere then:
// senders that repeat it would be told OK for what is lost. It is safe for concurrent use.
type newest struct {
	mu        sync.Mutex
	sequences map[int]uint64
	firsts    map[int]uint64
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
// records. It does so once for each time. worked is up to where the gate had worked each of
// them off before the look before this one: what goes of that is not lost, because the
// orders' states have it. A purge takes the gate's consumer along, so that where it is
// afterwards says nothing.
func (n *newest) lost(before, worked []uint64, streams []bus.StreamRoom) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.firsts == nil {
		n.firsts = make(map[int]uint64)
	}
	lost := false
	for shard, stream := range streams {
		acknowledged := at(before, shard)
		first, seen := n.firsts[shard]
		if !seen {
			first = acknowledged // 0 for none
		}
		n.firsts[shard] = stream.First
		switch {
		case stream.Last < acknowledged:
			n.sequences[shard] = stream.Last
			lost = true
			continue
		case first > 0 && stream.First > max(first, at(worked, shard)+1):
			lost = true
		}
		n.raise(shard, stream.Last)
	}
	return lost
}

// at returns a shard's sequence, 0 where there is none.
func at(sequences []uint64, shard int) uint64 {
	if shard < len(sequences) {
		return sequences[shard]
	}
	return 0
}
