package bus

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// shareFor is how old a shared answer may be. It is short beside how often the
// same one asks, so that nobody is told the same twice.
const shareFor = 5 * time.Second

// shared puts a question once for all who ask it at about the same time: hundreds of
// consumers ask the same of one stream. It is safe for concurrent use.
type shared[T any] struct {
	asking singleflight.Group

	mu      sync.Mutex
	answers map[string]answer[T]
}

type answer[T any] struct {
	value T
	// at is before it was asked for.
	at time.Time
}

// get returns an answer that is at most shareFor old. ask is given a context that
// does not end with that of the one who happens to be the first.
func (s *shared[T]) get(ctx context.Context, about string, ask func(ctx context.Context) (T, error)) (T, error) {
	s.mu.Lock()
	known := s.answers[about]
	s.mu.Unlock()
	if !known.at.IsZero() && time.Since(known.at) < shareFor {
		return known.value, nil
	}
	asked := s.asking.DoChan(about, func() (any, error) {
		a := answer[T]{at: time.Now()}
		var err error
		if a.value, err = ask(context.WithoutCancel(ctx)); err != nil {
			return a, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.answers == nil {
			s.answers = map[string]answer[T]{}
		}
		s.answers[about] = a
		return a, nil
	})
	select {
	case r := <-asked:
		a, _ := r.Val.(answer[T])
		return a.value, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// forget makes the next one ask anew: the answer is known to have changed.
func (s *shared[T]) forget(about string) {
	s.asking.Forget(about)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.answers, about)
}
