package bus

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// HandOver has another server lead a stream, which takes some milliseconds, in which it
// acknowledges nothing. It needs the permission to publish on
// $JS.API.STREAM.LEADER.STEPDOWN.<stream>.
func (b *Bus) HandOver(ctx context.Context, stream string) error {
	bounded, cancel := b.bound(ctx)
	defer cancel()
	reply, err := b.nc.RequestWithContext(bounded, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
	if err != nil {
		return describe(because(bounded, err), "hand over %s", stream)
	}
	var told struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &told); err != nil {
		return describe(err, "hand over %s", stream)
	}
	if told.Error != nil {
		return describe(told.Error, "hand over %s", stream)
	}
	return nil
}

// errElected: what was under way between the consumer and the leader before may be
// lost, and what that one had sent is no longer in order with what the new one
// sends.
var errElected = errors.New("the consumer has a new leader")

// electedSubject is where a cluster tells of the leader of a consumer.
const electedSubject = "$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED."

// elections hears of new leaders of one consumer. Without a subscription it hears
// nothing.
type elections struct {
	heard        chan *nats.Msg
	subscription *nats.Subscription
}

// hearElections begins to listen, where the consumer's own signs of life are too
// far apart to tell. What is asked of the server after it comes later there, too. A
// single server has no elections.
func (c *consumption) hearElections() (elections, error) {
	if !c.options.Quiet {
		return elections{}, nil
	}
	// Several in a row say no more than one; what finds no room is dropped.
	heard := make(chan *nats.Msg, 8)
	subscription, err := c.bus.nc.ChanSubscribe(electedSubject+c.options.Stream+"."+c.options.Durable, heard)
	return elections{heard: heard, subscription: subscription}, err
}

// forget drops what was heard so far: the consumer was taken over since.
func (e elections) forget() {
	for {
		select {
		case <-e.heard:
		default:
			return
		}
	}
}

func (e elections) stop() {
	if e.subscription != nil {
		_ = e.subscription.Unsubscribe() // it fails where the connection is gone, and the subscription with it
	}
}
