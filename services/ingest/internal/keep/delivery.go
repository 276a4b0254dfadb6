package keep

import (
	"context"
	"errors"
	"net/http"
	"time"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
)

// frame is more than an event takes in a pack beside its bytes.
const frame = 8

// part is one event of a delivery.
type part struct {
	event   *eventv1.Event
	key     recent.Key
	attempt *recent.Attempt
	// own says that attempt is this part's, and pending that it has not ended.
	own, pending bool
	encoded      []byte
}

// KeepAll has the events of one delivery stored in their order, those that are no
// repetitions. They are in one pack, or, where they do not fit into one, in several that
// are written one after the other. What cannot be kept for its own sake is left out; where
// anything else is in the way, nothing behind it is stored ahead of it, and the problem
// says that the sender has to come again with all of them.
func (k *Keeper) KeepAll(ctx context.Context, events []*eventv1.Event, held *Share) *Problem {
	parts := make([]part, len(events))
	defer func() { k.endAll(parts, errors.New("the request ended early")) }()
	for i, event := range events {
		p := &parts[i]
		p.event, p.key = event, k.config.Recent.Key(event.GetConnector(), event.GetTopic(), event.GetId(), Content(event))
		var stored bool
		p.attempt, p.own, stored = k.config.Recent.Begin(p.key, time.Now())
		if p.pending = p.own; stored {
			k.duplicates.Add(1)
		}
	}
	chosen := k.storeAll(ctx, parts, held)
	if chosen.passes() {
		return chosen
	}
	// Only now, when none of this delivery is waited for by others: two deliveries of the
	// same events in another order would wait for each other.
	for i := range parts {
		if p := &parts[i]; p.attempt != nil && !p.own {
			_, problem := k.await(ctx, p.attempt)
			chosen = worse(chosen, problem)
		}
	}
	return chosen
}

// storeAll stores the delivery's own parts.
func (k *Keeper) storeAll(ctx context.Context, parts []part, held *Share) (chosen *Problem) {
	begin, bytes := 0, 0
	for i := range parts {
		p := &parts[i]
		if !p.own {
			continue
		}
		encoded, problem, err := k.encode(ctx, p.event, nil, held)
		if problem != nil {
			k.Complain(p.event.GetConnector(), problem, err)
			k.endAll(parts[i:i+1], err)
			if chosen = worse(chosen, problem); problem.passes() {
				break
			}
			continue
		}
		if bytes > 0 && bytes+len(encoded)+frame > k.config.MaxEventBytes {
			if problem := k.commitAll(ctx, parts[begin:i]); problem != nil {
				return worse(chosen, problem)
			}
			begin, bytes = i, 0
		}
		p.encoded = encoded
		bytes += len(encoded) + frame
	}
	// Those in front of what passes are stored all the same: that is their order.
	return worse(chosen, k.commitAll(ctx, parts[begin:]))
}

// commitAll stores what is encoded of some parts, side by side.
func (k *Keeper) commitAll(ctx context.Context, parts []part) *Problem {
	var encoded [][]byte
	for _, p := range parts {
		if p.encoded != nil {
			encoded = append(encoded, p.encoded)
		}
	}
	if len(encoded) == 0 {
		return nil
	}
	err := k.commit(ctx, encoded...)
	if err == nil {
		k.stored.Add(uint64(len(encoded)))
		for i := range parts {
			if parts[i].encoded != nil {
				k.endAll(parts[i:i+1], nil)
			}
		}
		return nil
	}
	problem := notStored(err)
	k.Complain(parts[0].event.GetConnector(), problem, err)
	k.endAll(parts, err)
	return problem
}

// endAll ends the attempts of the parts that have not ended.
func (k *Keeper) endAll(parts []part, err error) {
	for i := range parts {
		if p := &parts[i]; p.pending {
			p.pending = false
			k.config.Recent.End(p.key, p.attempt, err, time.Now())
		}
	}
}

// passes reports whether there is a problem, and another try may be without it.
func (p *Problem) passes() bool { return p != nil && p.Status >= http.StatusInternalServerError }

// worse returns the problem that decides the answer: while any event may be stored by
// another try, the sender has to try again.
func worse(a, b *Problem) *Problem {
	if a == nil || b != nil && b.Status > a.Status {
		return b
	}
	return a
}
