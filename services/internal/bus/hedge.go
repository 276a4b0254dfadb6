package bus

import (
	"context"
	"time"
)

// askAgain is how long a question to a stream's leader stays alone. A question that
// comes while the stream has no leader is answered by nobody, neither then nor by the
// next leader: who waits for its end would add that wait to the cluster's own pause.
// A store that is slow under load is asked ten times in 5 s, which it can bear.
const askAgain = 500 * time.Millisecond

// hedged asks, and asks again every askAgain until the first answer, whichever
// question it belongs to, so that a store that is only slow is waited for too. It
// returns that answer, or the error of ctx, whose deadline bounds the questions. No
// question outlives it. ask must change nothing and be safe for concurrent use.
func hedged[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	asking, cancel := context.WithCancel(ctx)
	answers := make(chan answer)
	open := 0
	put := func() {
		open++
		go func() {
			value, err := ask(asking)
			answers <- answer{value, err}
		}()
	}
	defer func() {
		cancel()
		for ; open > 0; open-- {
			<-answers
		}
	}()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	put()
	for {
		select {
		case a := <-answers:
			open--
			return a.value, a.err
		case <-again.C:
			if ctx.Err() == nil {
				put()
			}
		}
	}
}

// once asks without a hedge.
func once[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	return ask(ctx)
}
