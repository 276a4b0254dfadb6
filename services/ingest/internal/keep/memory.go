package keep

import "sync/atomic"

// Memory bounds the bytes of bodies that are held at the same time. The zero
// value holds nothing. It is safe for concurrent use.
type Memory struct{ left atomic.Int64 }

// NewMemory returns a bound of that many bytes.
func NewMemory(bytes int64) *Memory {
	m := new(Memory)
	m.left.Store(bytes)
	return m
}

// Left returns how many bytes are free.
func (m *Memory) Left() int64 { return m.left.Load() }

// take reports whether n bytes were free; they are the caller's then.
func (m *Memory) take(n int64) bool {
	if m.left.Add(-n) >= 0 {
		return true
	}
	m.left.Add(n)
	return false
}

// Share is what one request holds of a Memory.
type Share struct {
	memory *Memory
	held   int64
	// spare is the part of held that Take gives out first.
	spare int64
}

// Share returns one that holds nothing yet.
func (m *Memory) Share() *Share { return &Share{memory: m} }

// Take reports whether n bytes were free; the share holds them then, until Release.
func (s *Share) Take(n int64) bool {
	if n <= s.spare {
		s.spare -= n
		return true
	}
	if !s.memory.take(n) {
		return false
	}
	s.held += n
	return true
}

// Reserve reports whether n bytes were free; Take gives them out. Who will take twice
// reserves both at once: many who have each taken once may all wait for each other.
func (s *Share) Reserve(n int64) bool {
	if !s.memory.take(n) {
		return false
	}
	s.held += n
	s.spare += n
	return true
}

// GiveBack lets Take give out n bytes again that it has given out.
func (s *Share) GiveBack(n int64) { s.spare += n }

// Absorb moves what other holds into s.
func (s *Share) Absorb(other *Share) {
	s.held += other.held
	other.held, other.spare = 0, 0
}

// Release gives back all that the share holds.
func (s *Share) Release() {
	s.memory.left.Add(s.held)
	s.held, s.spare = 0, 0
}
