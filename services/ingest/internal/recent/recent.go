// Package recent remembers which events were stored in the last days, so that an
// exact repetition costs nothing. It only saves work: what it has forgotten, or
// has not heard of yet, is settled in the order's state.
package recent

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"
)

// Key names an event by all that makes it what it is. Two different events have
// the same key once in 2^128 tries, which nobody can look for: the hash is keyed
// at random in each process. Nothing shorter will do, because an event that is
// taken for another is lost.
type Key [2]uint64

// shardEvents is about how many events a shard of the index holds at most. It bounds
// how long others wait while a shard is copied, to grow or to forget.
const shardEvents = 16 << 10

// Index remembers at most max events, the newest, each for at least age and at most
// a twelfth more. Where there are more of them, it forgets an eighth at once, the
// oldest. It is safe for concurrent use.
type Index struct {
	seeds  [2]maphash.Seed
	slice  time.Duration
	shards []shard
}

// shard is a part of the index with a lock of its own.
type shard struct {
	mu       sync.Mutex
	table    table
	underWay map[Key]*Attempt
}

// Attempt is one try to store an event, which repetitions wait for.
type Attempt struct {
	done chan struct{}
	err  error
}

// Done is closed when the attempt has ended; Err is valid then.
func (a *Attempt) Done() <-chan struct{} { return a.done }

// Err returns how the attempt ended.
func (a *Attempt) Err() error { return a.err }

// New returns an index of at most so many events, each for at least age.
func New(most int, age time.Duration) *Index {
	x := &Index{
		seeds:  [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		slice:  max(1, age/slicesKept),
		shards: make([]shard, max(1, most/shardEvents)), // each has fewer than twice as many
	}
	for i := range x.shards {
		x.shards[i].table.most = most / len(x.shards)
		x.shards[i].underWay = make(map[Key]*Attempt)
	}
	return x
}

// Key returns the key of an event.
func (x *Index) Key(connector, topic, id string, body []byte) Key {
	var key Key
	for i, seed := range x.seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		for _, part := range []string{connector, topic, id} {
			var length [8]byte
			binary.LittleEndian.PutUint64(length[:], uint64(len(part)))
			_, _ = h.Write(length[:]) // a hash takes everything
			_, _ = h.WriteString(part)
		}
		_, _ = h.Write(body)
		key[i] = h.Sum64()
	}
	return key
}

// Begin says what is known of an event at now. Stored: it is a repetition, and
// attempt is nil. Else attempt is the one under way; where own is true it is the
// caller's, who must call End.
func (x *Index) Begin(key Key, now time.Time) (attempt *Attempt, own, stored bool) {
	s := x.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.advance(x.number(now))
	if s.table.has(key) {
		return nil, false, true
	}
	if attempt, ok := s.underWay[key]; ok {
		return attempt, false, false
	}
	attempt = &Attempt{done: make(chan struct{})}
	s.underWay[key] = attempt
	return attempt, true, false
}

// End ends the caller's own attempt; nil means that the event is stored.
func (x *Index) End(key Key, attempt *Attempt, err error, now time.Time) {
	s := x.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.underWay, key)
	if err == nil {
		n := x.number(now)
		s.table.advance(n)
		s.table.makeRoom()
		s.table.add(key, n)
	}
	attempt.err = err
	close(attempt.done)
}

// Remember takes in an event that was stored at a time before now, by this process
// or another. It reports false where there is no place for it, and then there is
// none for older ones either: what came in later stays.
func (x *Index) Remember(key Key, stored, now time.Time) bool {
	s := x.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := x.number(stored)
	s.table.advance(x.number(now))
	if s.table.has(key) {
		return true
	}
	if !s.table.takes(n) {
		return false
	}
	s.table.add(key, n)
	return true
}

// Forget forgets all that was stored. What is under way stays so.
func (x *Index) Forget() {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		s.table = table{most: s.table.most}
		s.mu.Unlock()
	}
}

// Len returns how many stored events are remembered.
func (x *Index) Len() int {
	return x.sum(func(t *table) int { return t.count })
}

// Bytes returns what the stored events that are remembered take.
func (x *Index) Bytes() int {
	const place = 16 + 2 // a key and its mark
	return x.sum(func(t *table) int { return place * len(t.keys) })
}

func (x *Index) sum(of func(*table) int) int {
	sum := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		sum += of(&s.table)
		s.mu.Unlock()
	}
	return sum
}

func (x *Index) shard(key Key) *shard { return &x.shards[key[0]%uint64(len(x.shards))] }

// number returns the slice of time that a moment is in.
func (x *Index) number(at time.Time) int64 { return at.UnixNano() / int64(x.slice) }
