package bus

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// givenBack lets a message's time run out in a nanosecond. The server keeps that on disk, and
// hands out all such messages, sorted, 10 ms after it has heard of the last. Without a delay
// they would come 10 ms earlier, but the server would know of it in memory only: one that
// stops then would keep them for the rest of their AckWait. Asking for both would hand out
// some of them twice where the second request comes too late.
const givenBack = `-NAK {"delay":1}`

// drainTimeout bounds the wait for what the server has sent already: one round trip.
const drainTimeout = time.Second

// GiveBack gives messages of one consumer back. Whoever reads it is handed them after 10 ms, in
// the order of the stream and before newer ones; after a restart of the server that is when
// it looks at its consumers, 0.5 to 1.5 s later. It returns when the server has taken note;
// where it cannot, they come again after their AckWait. A message that was acknowledged
// stays so.
//
// It is for the end of a reader. One that goes on would be handed them itself.
func (b *Bus) GiveBack(ctx context.Context, messages []*Incoming) error {
	if len(messages) == 0 {
		return nil
	}
	bounded, cancel := b.bound(ctx)
	defer cancel()
	sorted := slices.SortedFunc(slices.Values(messages), func(one, other *Incoming) int {
		return cmp.Compare(one.Sequence, other.Sequence)
	})
	return describe(because(bounded, b.giveBack(bounded, sorted)), "give back %d messages of %s", len(sorted), sorted[0].Stream)
}

func (b *Bus) giveBack(ctx context.Context, sorted []*Incoming) error {
	last := sorted[len(sorted)-1]
	// Asked how a consumer is, the server forgets the requests of who has left. Else it
	// would find the first message for one of those, and put it behind the others.
	if _, err := b.js.Consumer(ctx, last.Stream, last.consumer); err != nil {
		return err
	}
	for _, m := range sorted[:len(sorted)-1] {
		if err := b.nc.Publish(m.msg.Reply(), []byte(givenBack)); err != nil {
			return err
		}
	}
	// The server takes them one after the other: its word for the last is for all.
	_, err := b.nc.RequestWithContext(ctx, last.msg.Reply(), []byte(givenBack))
	return err
}

// leave ends what a session has asked of the server. Where its consumption is over (ctx is
// done), what was handed to this process and not to the handler goes to Leftover: taken,
// unless nil, and what is behind it.
func (c *consumption) leave(ctx context.Context, messages jetstream.MessagesContext, taken jetstream.Msg) {
	if c.options.Leftover == nil || ctx.Err() == nil || !c.bus.nc.IsConnected() {
		messages.Stop()
		return
	}
	messages.Drain()
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	for msg, err := taken, error(nil); err == nil; msg, err = messages.Next(jetstream.NextContext(waiting)) {
		if msg == nil {
			continue
		}
		if m, err := incoming(c.bus, msg, false); err == nil {
			c.options.Leftover(m)
		}
	}
}
