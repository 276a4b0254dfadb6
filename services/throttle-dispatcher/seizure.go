package throttledispatcher

import "sync"

// seizure says which lanes' consumers are still to be taken from an owner that did
// not give them up, and may hang with requests at the server. It outlives workers:
// one that is started again before it came to that leaves it to the next. It is
// safe for concurrent use.
type seizure struct {
	mu    sync.Mutex
	all   bool
	taken map[string]bool
}

// newSeizure is of all lanes, or of none.
func newSeizure(all bool) *seizure { return &seizure{all: all, taken: map[string]bool{}} }

func (s *seizure) due(lane string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all && !s.taken[lane]
}

func (s *seizure) done(lane string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[lane] = true
}
