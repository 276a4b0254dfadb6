package throttledispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// counted counts writes, and holds up the first one until it is let go.
type counted struct {
	throttledispatcher.Records
	lone, batches atomic.Int64
	first         sync.Once
	begun, goOn   chan struct{}
}

func newCounted(b *bus.Bus) *counted {
	return &counted{Records: throttledispatcher.OnBus(b), begun: make(chan struct{}), goOn: make(chan struct{})}
}

func (c *counted) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	c.lone.Add(1)
	c.first.Do(func() {
		close(c.begun)
		<-c.goOn
	})
	return c.Records.Publish(ctx, m)
}

func (c *counted) PublishAtomic(ctx context.Context, messages []bus.Message) (bus.Ack, error) {
	c.batches.Add(1)
	return c.Records.PublishAtomic(ctx, messages)
}

func numbered(n int) bus.Message {
	subject := bus.ResultSubject("logic-gate", fmt.Sprint("delivery-", n))
	return bus.Message{Subject: subject, Data: fmt.Append(nil, n), ExpectLast: bus.Sequence(0)}
}

// What comes while something is being published is published together, in a few
// writes; each caller hears of its own message, and one that is there already refuses
// no other.
func TestWhatComesAtTheSameTimeIsPublishedTogether(t *testing.T) {
	t.Parallel()
	const count = 500
	for name, there := range map[string]int{"none is there": 0, "one is there": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bustest.Start(t)
			if there > 0 {
				if _, err := b.Publish(t.Context(), numbered(there)); err != nil {
					t.Fatal(err)
				}
			}
			records := newCounted(b)
			together := throttledispatcher.NewTogether(records)
			errs := make([]error, count+1)
			var group sync.WaitGroup
			group.Go(func() { errs[0] = together.Publish(t.Context(), numbered(0)) })
			<-records.begun
			for n := 1; n <= count; n++ {
				group.Go(func() { errs[n] = together.Publish(t.Context(), numbered(n)) })
			}
			for together.Waiting() < count {
				runtime.Gosched()
			}
			close(records.goOn)
			group.Wait()
			together.Wait()
			for n, err := range errs {
				if refused := there > 0 && n == there; bus.IsConflict(err) != refused || !refused && err != nil {
					t.Errorf("message %d: %v", n, err)
				}
				if _, err := b.Last(t.Context(), bus.StreamResult, numbered(n).Subject); err != nil {
					t.Errorf("message %d is not stored: %v", n, err)
				}
			}
			lone, batches := records.lone.Load(), records.batches.Load()
			t.Logf("%d writes of one message, %d of many", lone, batches)
			// 256 go into one batch; those of a batch with the one that is there go alone.
			if batches != 2 || there == 0 && lone != 1 || lone > 257 {
				t.Errorf("%d messages took %d writes of one and %d of many", count, lone, batches)
			}
		})
	}
}

// Who gives up is not waited for, and takes nobody along.
func TestWhoGivesUpTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	records := newCounted(b)
	together := throttledispatcher.NewTogether(records)
	ctx, giveUp := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- together.Publish(ctx, numbered(1)) }()
	<-records.begun
	go func() { second <- together.Publish(t.Context(), numbered(2)) }()
	giveUp()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up is told %v", err)
	}
	close(records.goOn)
	if err := <-second; err != nil {
		t.Errorf("the other is told %v", err)
	}
	together.Wait()
	for n := 1; n <= 2; n++ {
		if _, err := b.Last(t.Context(), bus.StreamResult, numbered(n).Subject); err != nil {
			t.Errorf("message %d is not stored: %v", n, err)
		}
	}
}
