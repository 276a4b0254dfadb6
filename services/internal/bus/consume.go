package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	defaultAckWait       = 30 * time.Second
	defaultMaxAckPending = 1000
	// A message that waits in the client for its turn uses up its AckWait.
	defaultPrefetch = 8
	readPrefetch    = 256
	// Records of 1 MiB, of some streams at once.
	readLargePrefetch = 8

	pullExpiry    = 5 * time.Second
	pullHeartbeat = time.Second
	// Of ConsumerOptions.Quiet.
	quietExpiry    = time.Minute
	quietHeartbeat = 15 * time.Second

	// An ephemeral consumer that nobody pulls from is removed by the server.
	ephemeralInactive = 5 * time.Minute

	consumeBackoffMin = 50 * time.Millisecond
	// It is also the most that a session comes later than the leader it waits for.
	consumeBackoffMax = 500 * time.Millisecond
)

// ConsumerOptions of Consume.
type ConsumerOptions struct {
	Stream string
	// Durable names the consumer, whose position the server keeps. Empty only
	// where Ephemeral is set.
	Durable string
	// Filters are subjects, wildcards allowed; none for the whole stream.
	Filters []string
	// MaxAckPending is how many messages may be handed out and not acknowledged;
	// 0 for 1000.
	MaxAckPending int
	// AckWait is after how long such a message comes again; 0 for 30 s.
	AckWait time.Duration
	// Prefetch is how many messages may wait in this process for their turn; 0
	// for 8.
	Prefetch int
	// Reset takes over from whoever consumed before, at the start and after every
	// lost connection: all that is not acknowledged comes again, at once and in
	// order. Messages that the handler still holds come too; their Sequence tells.
	// Without it they come after AckWait, and behind newer ones.
	Reset bool
	// Anew makes the consumer anew, the first time, where an earlier process still
	// has requests with the server: one that hangs, or whose machine is gone, would
	// be handed messages until they expire (5 s, or a minute), and they would come again only after
	// AckWait. It needs Reset, and is for work queues: on other streams what was
	// acknowledged would come again.
	Anew bool
	// Renewed, if not nil, is called when that is done, or was not needed.
	Renewed func()
	// Before, if not nil, runs before the consumer is taken over, each time; until
	// it returns nothing is asked of the server.
	Before func(ctx context.Context) error
	// Quiet is for one of hundreds of consumers that mostly have nothing. Each request
	// for messages stays with the server for a minute, not 5 s, and the server gives a sign
	// of life every 15 s, not every second: what wakes the process is what it costs. So the
	// loss of the server that leads the consumer is not noticed by silence (30 s), but by
	// the election of the next one, of which the cluster tells whoever listens; then the
	// consumer is taken over as after a lost connection. And since a request may now be
	// there for longer than it takes to connect again, the consumer is made anew after
	// every lost connection, as Anew does, where the server still has one. It needs what
	// Anew needs.
	Quiet bool
	// LastPerSubject begins with the newest record of each subject, not with the
	// first record of the stream. It counts when the consumer is made.
	LastPerSubject bool
	// Ephemeral keeps the position in this process and no longer: a new start
	// begins anew, a lost connection does not. Nothing is acknowledged.
	Ephemeral bool
	// Leftover, if not nil, is called before Consume returns because ctx is done, once for
	// each message that this process was handed and handle was not, in order: see GiveBack.
	// Without it they come again after AckWait.
	Leftover func(m *Incoming)

	// from is the sequence that an ephemeral consumer begins with.
	from uint64
}

func (o ConsumerOptions) validate() error {
	switch {
	case o.Stream == "":
		return errors.New("bus: consume: no stream is named")
	case (o.Anew || o.Quiet) && !o.Reset:
		return fmt.Errorf("bus: consume %s: a consumer that is made anew is reset, too: say Reset", o.Stream)
	case o.Ephemeral && (o.Durable != "" || o.Reset || o.Leftover != nil):
		return fmt.Errorf("bus: consume %s: an ephemeral consumer has no durable name, no reset and nothing left over", o.Stream)
	case !o.Ephemeral && o.Durable == "":
		return fmt.Errorf("bus: consume %s: a consumer that is not ephemeral needs a durable name", o.Stream)
	}
	for _, filter := range o.Filters {
		parts := strings.Split(filter, ".")
		for i, part := range parts {
			if part == "" || strings.ContainsAny(part, " \t\r\n") || part == ">" && i < len(parts)-1 {
				return fmt.Errorf("bus: consume %s: %q is no filter", o.Stream, filter)
			}
		}
	}
	return nil
}

// Consume makes the consumer where it is missing and calls handle for one
// message at a time, in the order of the stream. The handler may return with the
// message unacknowledged and acknowledge it later from any goroutine. Consume
// rides over lost connections, restarts of the server, a consumer that was
// removed, and stalls; it returns nil when ctx is done, and an error only for
// what trying again cannot heal, such as a stream that does not exist.
func (b *Bus) Consume(ctx context.Context, o ConsumerOptions, handle func(ctx context.Context, m *Incoming)) error {
	if err := o.validate(); err != nil {
		return err
	}
	return b.consume(ctx, o, handle)
}

func (b *Bus) consume(ctx context.Context, o ConsumerOptions, handle func(ctx context.Context, m *Incoming)) error {
	c := &consumption{bus: b, options: o, handle: handle, next: o.from}
	backoff := consumeBackoffMin
	for logged := ""; ctx.Err() == nil; {
		before := c.handled.Load()
		err := c.session(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // told to stop, which may be why it failed
		case permanent(err):
			return describe(err, "consume %s of %s", c.name(), o.Stream)
		case b.nc.IsClosed():
			// Close was called: nothing will come any more.
			return describe(nats.ErrConnectionClosed, "consume %s of %s", c.name(), o.Stream)
		}
		if c.handled.Load() != before {
			backoff, logged = consumeBackoffMin, ""
		}
		if errors.Is(err, errDisconnected) {
			// The connection itself has told the log.
			b.link.wait(ctx)
			backoff = consumeBackoffMin
			c.lost = true
		} else if text := err.Error(); text != logged {
			logged = text
			b.log.WarnContext(ctx, "consumer interrupted, starting it again", "stream", o.Stream, "consumer", c.name(), "error", err)
		}
		pause(ctx, backoff/2+rand.N(backoff))
		backoff = min(2*backoff, consumeBackoffMax)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// permanent reports whether starting again cannot help.
func permanent(err error) bool {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrInvalidOption) ||
		errors.Is(err, jetstream.ErrInvalidSubject) || errors.Is(err, jetstream.ErrInvalidConsumerName) {
		return true
	}
	var coded jetstream.JetStreamError
	if !errors.As(err, &coded) || coded.APIError() == nil {
		return false
	}
	// 4xx of the API are refusals of what was asked; a missing consumer is made
	// again, and 408 and 429 pass.
	code := coded.APIError().Code
	return code >= 400 && code < 500 && code != 408 && code != 429 &&
		coded.APIError().ErrorCode != jetstream.JSErrCodeConsumerNotFound
}

// consumption is one call of Consume, over all its sessions.
type consumption struct {
	bus     *Bus
	options ConsumerOptions
	handle  func(context.Context, *Incoming)

	// next is the sequence that an ephemeral consumer goes on with; 0 where
	// nothing has been handled yet.
	next uint64
	// handled counts messages; busy is set while the handler runs.
	handled atomic.Uint64
	busy    atomic.Bool
	// renewed: it was looked at for requests of others. lost: this one may have
	// requests that nobody hears any more.
	renewed, lost bool
}

func (c *consumption) name() string {
	if c.options.Ephemeral {
		return "(ephemeral)"
	}
	return c.options.Durable
}

// session runs until something breaks: it makes the consumer, takes it over,
// and hands out its messages.
func (c *consumption) session(whole context.Context) error {
	ctx, end := context.WithCancelCause(whole)
	defer end(nil)
	if c.options.Reset || c.options.Ephemeral {
		// The life of the connection is taken before anything is asked of the
		// server, so that no loss falls between.
		lost := c.bus.link.life()
		defer context.AfterFunc(lost, func() { end(context.Cause(lost)) })()
	}
	if c.options.Before != nil {
		if err := c.options.Before(ctx); err != nil {
			return sessionError(ctx, err)
		}
	}
	elected, err := c.hearElections()
	if err != nil {
		return sessionError(ctx, err)
	}
	defer elected.stop()
	consumer, err := c.prepare(ctx)
	if err != nil {
		return sessionError(ctx, err)
	}
	elected.forget()
	messages, err := consumer.Messages(
		jetstream.PullMaxMessages(c.prefetch()),
		c.options.expiry(), c.options.heartbeat(),
		jetstream.WithMessagesErrOnMissingHeartbeat(true),
	)
	if err != nil {
		return sessionError(ctx, err)
	}
	var taken jetstream.Msg
	defer func() { c.leave(whole, messages, taken) }()
	if c.options.Ephemeral {
		defer c.remove(consumer)
	}
	watch := newWatchdog(c, consumer, elected, end)
	defer watch.stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return sessionError(ctx, err)
		}
		if ctx.Err() != nil {
			taken = msg
			return sessionError(ctx, ctx.Err())
		}
		m, err := incoming(c.bus, msg, c.options.Ephemeral)
		if err != nil {
			return err
		}
		c.busy.Store(true)
		c.handle(ctx, m)
		c.next = m.Sequence + 1
		c.handled.Add(1)
		c.busy.Store(false)
	}
}

// sessionError returns why the session's context ended, where err is its end.
func sessionError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

func (o ConsumerOptions) expiry() jetstream.PullExpiry {
	if o.Quiet {
		return jetstream.PullExpiry(quietExpiry)
	}
	return jetstream.PullExpiry(pullExpiry)
}

func (o ConsumerOptions) heartbeat() jetstream.PullHeartbeat {
	if o.Quiet {
		return jetstream.PullHeartbeat(quietHeartbeat)
	}
	return jetstream.PullHeartbeat(pullHeartbeat)
}

func (c *consumption) prefetch() int {
	prefetch := c.options.Prefetch
	if prefetch <= 0 {
		prefetch = defaultPrefetch
	}
	return prefetch
}

// prepare makes or updates the consumer and takes it over where asked to.
func (c *consumption) prepare(ctx context.Context) (jetstream.Consumer, error) {
	// Also where ctx has a deadline of its own, which is that of the consumption.
	ctx, end := context.WithTimeout(ctx, requestTimeout)
	defer end()
	bounded, cancel := c.bus.bound(ctx)
	defer cancel()
	ask := hedged[jetstream.Consumer]
	if c.options.Ephemeral {
		ask = once // each question would make one more
	}
	consumer, err := ask(bounded, c.make)
	if err != nil {
		return nil, because(bounded, err)
	}
	if c.options.Anew && !c.renewed || c.options.Quiet && c.lost {
		if consumer, err = c.renew(bounded, consumer); err != nil {
			return nil, because(bounded, err)
		}
		c.renewed, c.lost = true, false
		if c.options.Renewed != nil {
			c.options.Renewed()
		}
	}
	if c.options.Reset {
		if _, err := c.bus.js.ResetConsumer(bounded, c.options.Stream, c.options.Durable); err != nil {
			return nil, because(bounded, err)
		}
	}
	return consumer, nil
}

// make makes or updates the consumer. It looks first, which costs the cluster nothing:
// each try to make one that has no leader at the moment is a vote of all servers, and
// is not answered. One that is as it should be is left alone: the server writes and
// syncs an update also where it changes nothing, which for the 600 consumers of 200
// connectors is seconds of a start.
func (c *consumption) make(ctx context.Context) (jetstream.Consumer, error) {
	config := c.config()
	if !c.options.Ephemeral {
		consumer, err := c.bus.js.Consumer(ctx, c.options.Stream, c.options.Durable)
		if err == nil && asWanted(consumer.CachedInfo().Config, config) {
			return consumer, nil
		}
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, err
		}
	}
	defer c.bus.consumers.forget(c.options.Stream)
	return c.bus.js.CreateOrUpdateConsumer(ctx, c.options.Stream, config)
}

// asWanted reports whether a consumer has the configuration that config makes. The
// server tells a single filter apart from several.
func asWanted(is, want jetstream.ConsumerConfig) bool {
	filters := is.FilterSubjects
	if is.FilterSubject != "" {
		filters = []string{is.FilterSubject}
	}
	return slices.Equal(filters, want.FilterSubjects) && is.Durable == want.Durable && is.DeliverPolicy == want.DeliverPolicy &&
		is.AckPolicy == want.AckPolicy && is.AckWait == want.AckWait && is.MaxAckPending == want.MaxAckPending && is.MaxDeliver == want.MaxDeliver
}

// renew makes the consumer anew where somebody else has requests with the server:
// there is no other way to end them.
func (c *consumption) renew(ctx context.Context, consumer jetstream.Consumer) (jetstream.Consumer, error) {
	info, err := consumer.Info(ctx)
	if err != nil || info.NumWaiting == 0 {
		return consumer, err
	}
	err = c.bus.js.DeleteConsumer(ctx, c.options.Stream, c.options.Durable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	return c.bus.js.CreateOrUpdateConsumer(ctx, c.options.Stream, c.config())
}

// remove deletes an ephemeral consumer, which the server would keep for minutes.
func (c *consumption) remove(consumer jetstream.Consumer) {
	if !c.bus.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	bounded, cancelBounded := c.bus.bound(ctx)
	defer cancelBounded()
	// Best effort: the server's own limit on idle ones comes to the same.
	_ = c.bus.js.DeleteConsumer(bounded, c.options.Stream, consumer.CachedInfo().Name)
}

func (c *consumption) config() jetstream.ConsumerConfig {
	o := c.options
	config := jetstream.ConsumerConfig{
		Durable:        o.Durable,
		FilterSubjects: o.Filters,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        o.AckWait,
		MaxAckPending:  o.MaxAckPending,
		// Never give up: on a work queue such a message would stay for ever,
		// unseen.
		MaxDeliver: -1,
	}
	if config.AckWait <= 0 {
		config.AckWait = defaultAckWait
	}
	if config.MaxAckPending <= 0 {
		config.MaxAckPending = defaultMaxAckPending
	}
	if o.LastPerSubject {
		config.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	}
	if len(o.Filters) == 0 && o.LastPerSubject {
		config.FilterSubjects = []string{">"}
	}
	if o.Ephemeral {
		config.AckPolicy = jetstream.AckNonePolicy
		config.AckWait, config.MaxAckPending = 0, 0
		config.InactiveThreshold = ephemeralInactive
		config.MemoryStorage = true
		config.Replicas = 1
		if c.next > 0 {
			// What is newer than the last handled one holds the newest of every
			// subject that has changed since.
			config.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
			config.OptStartSeq = c.next
		}
	}
	return config
}
