package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// errStalled: the server has messages for a consumer that gets none.
var errStalled = errors.New("consumer stalled: messages wait, none is delivered")

// watchInterval is how long a consumer must be silent before the server is asked
// why. Heartbeats cover a server that is gone; this covers one that is there and
// delivers nothing (nats.go issue 2063 and its kind).
const watchInterval = 10 * time.Second

// watchdog ends a session that stands still although it should not.
type watchdog struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newWatchdog(c *consumption, consumer jetstream.Consumer, elected elections, end context.CancelCauseFunc) *watchdog {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watchdog{cancel: cancel}
	w.done.Go(func() { watch(ctx, c, consumer, elected, end) })
	return w
}

func (w *watchdog) stop() {
	w.cancel()
	w.done.Wait()
}

func watch(ctx context.Context, c *consumption, consumer jetstream.Consumer, elected elections, end context.CancelCauseFunc) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	var before observation
	for handled := c.handled.Load(); ; {
		select {
		case <-ctx.Done():
			return
		case <-elected.heard:
			end(errElected)
			return
		case <-ticker.C:
		}
		now := c.handled.Load()
		if now != handled || c.busy.Load() {
			handled, before = now, observation{}
			continue
		}
		newest, err := c.bus.newestIn(ctx, c.options.Stream)
		if err != nil {
			before = observation{} // the connection's own business
			continue
		}
		if before.nothingSince(newest) {
			continue
		}
		bounded, cancel := c.bus.bound(ctx)
		info, err := consumer.Info(bounded)
		cancel()
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			end(err)
			return
		}
		if err != nil {
			before = observation{}
			continue
		}
		current := observe(info)
		current.newest = newest
		if (current.deaf || stalled(before, current)) && c.handled.Load() == handled && !c.busy.Load() {
			end(errStalled)
			return
		}
		before = current
	}
}

// observation is what the server says about a consumer at one moment.
type observation struct {
	taken     bool
	delivered uint64
	deliver   bool
	// deaf: something waits, and the server has no request for it: it was lost with
	// whoever had it.
	deaf bool
	// empty: nothing was to be delivered, of a stream whose newest record was newest
	// a little before.
	empty  bool
	newest uint64
}

// nothingSince reports whether there is nothing to deliver because nothing was, and
// the stream has grown no further. So hundreds of consumers without work need one
// question together, not one each.
func (o observation) nothingSince(newest uint64) bool {
	return o.taken && o.empty && o.newest == newest
}

func observe(info *jetstream.ConsumerInfo) observation {
	room := info.Config.MaxAckPending <= 0 || info.NumAckPending < info.Config.MaxAckPending
	return observation{
		taken:     true,
		delivered: info.Delivered.Consumer,
		deliver:   info.NumPending > 0 && room && !info.Paused,
		deaf:      info.NumPending > 0 && info.NumWaiting == 0 && room && !info.Paused,
		empty:     info.NumPending == 0,
	}
}

// newestIn returns the sequence of the newest record of a stream, as of a few
// seconds ago.
func (b *Bus) newestIn(ctx context.Context, stream string) (uint64, error) {
	return b.newest.get(ctx, stream, func(ctx context.Context) (uint64, error) {
		bounded, cancel := b.bound(ctx)
		defer cancel()
		s, err := b.stream(bounded, stream)
		if err != nil {
			return 0, err
		}
		info, err := s.Info(bounded)
		if err != nil {
			return 0, err
		}
		return info.State.LastSeq, nil
	})
}

// stalled reports whether the server, at both moments, had something to deliver
// and was free to, and did not.
func stalled(before, now observation) bool {
	return before.taken && before.deliver && now.deliver && before.delivered == now.delivered
}
