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
	// giveBackWithin bounds what giving back adds to an end: a server that says nothing
	// for so long lets the messages come again by itself.
	giveBackWithin = 2 * time.Second
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
	// leftover was handed to this process and not begun before its end.
	leftover []*bus.Incoming
}

// unsettled is a message of which some tasks are not settled.
type unsettled struct {
	message *bus.Incoming
	tasks   int
	// abandoned: one of them failed, so the message has to come again.
	abandoned bool
	// interrupted: one of them was ended with the gate.
	interrupted bool
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
	in.options.Leftover = in.leave
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
		in.leave(m)
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
	u.abandoned = u.abandoned || err != nil && !ending
	u.interrupted = u.interrupted || err != nil && ending
	done := u.tasks == 0 && !u.abandoned && !u.interrupted
	if u.tasks == 0 && !u.interrupted {
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

// leave keeps a message that is not begun any more, for giveBack.
func (in *input) leave(m *bus.Incoming) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if known := in.unsettled[m.Sequence]; known != nil {
		known.message = m
		return
	}
	in.leftover = append(in.leftover, m)
}

// giveBack hands to whoever reads next, another replica or the next start, what this gate
// was handed and has not settled. It is called once at the end, when no task runs any
// more. What was abandoned goes on waiting for its AckWait: a failure does not pass any
// sooner by a restart.
func (in *input) giveBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackWithin)
	defer cancel()
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, u := range in.unsettled {
		if !u.abandoned {
			in.leftover = append(in.leftover, u.message)
		}
	}
	return in.bus.GiveBack(ctx, in.leftover)
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
