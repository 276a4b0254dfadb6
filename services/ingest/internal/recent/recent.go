// Package recent remembers which events were stored a short while ago, so that
// an exact repetition costs nothing. It only saves work: what it has forgotten
// is settled in the order's state.
package recent

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"
)

// Key names an event by all that makes it what it is. Two different events have
// the same key once in 2^128 tries, which nobody can look for: the hash is keyed
// at random in each process.
type Key [2]uint64

// Index remembers at least max/2 and at most max events, for at least age/2 and
// at most age. It is safe for concurrent use.
type Index struct {
	seeds [2]maphash.Seed
	max   int
	age   time.Duration

	mu sync.Mutex
	// Two generations: a full or old one becomes the previous, and the one
	// before that is forgotten as a whole.
	current, previous map[Key]struct{}
	began             time.Time
	underWay          map[Key]*Attempt
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

// New returns an index of at most so many events, each for at most age.
func New(most int, age time.Duration) *Index {
	return &Index{
		seeds:    [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		max:      most,
		age:      age,
		current:  make(map[Key]struct{}),
		underWay: make(map[Key]*Attempt),
	}
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
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forget(now)
	if _, ok := x.current[key]; ok {
		return nil, false, true
	}
	if _, ok := x.previous[key]; ok {
		return nil, false, true
	}
	if attempt, ok := x.underWay[key]; ok {
		return attempt, false, false
	}
	attempt = &Attempt{done: make(chan struct{})}
	x.underWay[key] = attempt
	return attempt, true, false
}

// End ends the caller's own attempt; nil means that the event is stored.
func (x *Index) End(key Key, attempt *Attempt, err error, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.underWay, key)
	if err == nil {
		x.forget(now)
		x.current[key] = struct{}{}
	}
	attempt.err = err
	close(attempt.done)
}

// Len returns how many stored events are remembered.
func (x *Index) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.current) + len(x.previous)
}

// forget starts a new generation where the current one is full or old.
func (x *Index) forget(now time.Time) {
	old := now.Sub(x.began) >= x.age/2
	if !old && len(x.current) < x.max/2 {
		return
	}
	x.previous = x.current
	if now.Sub(x.began) >= x.age {
		x.previous = nil
	}
	x.current = make(map[Key]struct{})
	x.began = now
}
