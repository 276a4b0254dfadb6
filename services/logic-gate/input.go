package logicgate

import (
	"context"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	// stillWorking is how often within the time after which a message comes again
	// the gate says that it works on it; some may get lost.
	stillWorking = 4
	// maxUnsettled bounds the messages, and so the memory, in work: of a pack of
	// up to 512 KiB there are rarely so many at once.
	maxUnsettled = 64
	prefetch     = 16
)

// task is a part of a message that can be settled by itself. Its run returns
// nil once nothing of it can get lost any more.
type task struct {
	key string
	run func(context.Context) error
}

// splitter says what is to be done about a message.
type splitter interface {
	split(ctx context.Context, m *bus.Incoming) []task
}

// input reads one stream and acknowledges a message when all that it asks for
// is settled. Other replicas read the same consumer.
type input struct {
	bus      *bus.Bus
	options  bus.ConsumerOptions
	queue    *keyed
	splitter splitter
	// failed is told of a task that could not be settled.
	failed func(m *bus.Incoming, err error)

	mu        sync.Mutex
	unsettled map[uint64]*unsettled
}

// unsettled is a message of which some tasks are not settled.
type unsettled struct {
	message *bus.Incoming
	tasks   int
	// abandoned: one of them failed, so the message has to come again.
	abandoned bool
}

func newInput(b *bus.Bus, stream string, ackWait time.Duration, queue *keyed, s *settler) *input {
	in := &input{
		bus: b, queue: queue, splitter: packs{s}, unsettled: make(map[uint64]*unsettled), failed: s.unsettled,
		options: bus.ConsumerOptions{
			Stream: stream, Durable: bus.Consumer(Role), AckWait: ackWait, MaxAckPending: maxUnsettled, Prefetch: prefetch,
		},
	}
	if stream == bus.StreamResult {
		in.splitter = results{s}
		in.options.Filters = []string{bus.ResultFilter(Role)}
	}
	return in
}

// run reads until ctx is done.
func (in *input) run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group.Go(func() { in.keepAlive(ctx) })
	return in.bus.Consume(ctx, in.options, in.take)
}

// take puts the parts of a message in line. One that is still in work here is
// not taken a second time: it came again because its time ran out, or because
// the server forgot.
func (in *input) take(ctx context.Context, m *bus.Incoming) {
	in.mu.Lock()
	if known := in.unsettled[m.Sequence]; known != nil {
		known.message = m
		in.mu.Unlock()
		return
	}
	in.mu.Unlock()
	tasks := in.splitter.split(ctx, m)
	if ctx.Err() != nil {
		return
	}
	if len(tasks) == 0 {
		in.acknowledge(m)
		return
	}
	in.mu.Lock()
	in.unsettled[m.Sequence] = &unsettled{message: m, tasks: len(tasks)}
	in.mu.Unlock()
	for _, t := range tasks {
		in.queue.submit(t.key, func(ctx context.Context) { in.settle(m.Sequence, t.run(ctx), ctx.Err() != nil) })
	}
}

// settle notes the end of one task.
func (in *input) settle(sequence uint64, err error, ending bool) {
	in.mu.Lock()
	u := in.unsettled[sequence]
	u.tasks--
	u.abandoned = u.abandoned || err != nil
	done := u.tasks == 0 && !u.abandoned
	if u.tasks == 0 {
		delete(in.unsettled, sequence)
	}
	message := u.message
	in.mu.Unlock()
	if err != nil && !ending {
		in.failed(message, err)
	}
	if done {
		in.acknowledge(message)
	}
}

// acknowledge does not wait for the server: a lost acknowledgment brings the
// message back, and the orders' states know it.
func (in *input) acknowledge(m *bus.Incoming) {
	_ = m.AckAsync() // it comes again
}

// keepAlive tells the server that the messages in work are, until ctx is done.
func (in *input) keepAlive(ctx context.Context) {
	tick := time.NewTicker(in.options.AckWait / stillWorking)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		in.mu.Lock()
		messages := make([]*bus.Incoming, 0, len(in.unsettled))
		for _, u := range in.unsettled {
			messages = append(messages, u.message)
		}
		in.mu.Unlock()
		for _, m := range messages {
			_ = m.InProgress() // it comes again, and take knows it
		}
	}
}
