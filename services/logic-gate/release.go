package logicgate

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// letGo lets a delivery out of the Error Hold: state, then deliveries, like an event.
// What is not held any more is left as it is, so that a release that is read twice,
// or was asked for twice, has one effect.
func (s *settler) letGo(ctx context.Context, asked *eventv1.Release) error {
	log := s.log.With("order", asked.GetKey(), "delivery", asked.GetDeliveryId(), "by", asked.GetBy(), "reason", asked.GetReason())
	for {
		before, sequence, err := s.load(ctx, asked.GetKey())
		if errors.Is(err, errUnreadable) {
			log.ErrorContext(ctx, "a release is left aside: its order cannot be read", "error", err)
			return nil
		}
		if err != nil {
			return err
		}
		held, err := s.held(ctx, before, asked)
		if errors.Is(err, errUnreadable) {
			// Whether it is in doubt, nobody can tell.
			log.ErrorContext(ctx, "a release is left aside: its hold cannot be read", "error", err)
			return nil
		}
		if err != nil {
			return err
		}
		if held.GetInDoubt() && asked.GetResolution() == eventv1.Resolution_RESOLUTION_UNSPECIFIED {
			log.WarnContext(ctx, "a release is left aside: the external system may have the call, and nobody has said whether it does")
			return nil
		}
		after, released := plan.Release(before, asked, held.GetOrderRevision())
		if !released {
			// Whoever released it may have died before these were in DISPATCH.
			return s.publish(ctx, before, plan.Open(before))
		}
		written, err := s.write(ctx, after, sequence)
		if err != nil {
			return err
		}
		if !written {
			continue
		}
		s.counters.released.Add(1)
		s.tell(ctx, before, after)
		log.InfoContext(ctx, "a person has let a delivery out of the Error Hold", "resolution", asked.GetResolution().String())
		return s.publish(ctx, after, plan.Opened(before, after))
	}
}

// held returns what the Error Hold says of the delivery, an empty hold where it says
// nothing.
func (s *settler) held(ctx context.Context, state *orderv1.State, asked *eventv1.Release) (*dispatchv1.Hold, error) {
	connector := ""
	for _, d := range state.GetDeliveries() {
		if order.DispatchIDOf(state.GetKey(), d) == asked.GetDeliveryId() {
			connector = d.GetConnector()
		}
	}
	if connector == "" {
		return &dispatchv1.Hold{}, nil
	}
	hold, _, err := s.holdAt(ctx, bus.HoldSubject(connector, asked.GetKey(), asked.GetDeliveryId()))
	return hold, err
}

// letEventGo handles an event again that is in the Error Hold, by what is
// configured now. Where it still cannot be applied it is held again, under another
// id. One that was let go already is left as it is. A message that was refused is
// nothing that could be handled; its hold is over once a person discards it.
func (s *settler) letEventGo(ctx context.Context, asked *eventv1.Release) error {
	log := s.log.With("connector", asked.GetConnector(), "event", asked.GetDeliveryId(), "by", asked.GetBy(), "reason", asked.GetReason())
	subject := bus.HoldSubject(asked.GetConnector(), asked.GetKey(), asked.GetDeliveryId())
	hold, sequence, err := s.holdAt(ctx, subject)
	if errors.Is(err, errUnreadable) {
		log.ErrorContext(ctx, "a release is left aside: its hold cannot be read", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case hold.GetRelease() != nil:
		return nil
	case hold.GetRefused() != nil && asked.GetDiscard():
		written, err := s.endHold(ctx, subject, sequence, hold, asked)
		if written {
			log.InfoContext(ctx, "a person has discarded a message that was refused")
		}
		return err
	case asked.GetDiscard() || hold.GetEvent() == nil:
		log.WarnContext(ctx, "a release is left aside: there is no such event in the Error Hold, it was not kept with its hold, or it is no message "+
			"that could be discarded")
		return nil
	}
	at := hold.GetDelivery().GetArguments().GetFields()
	a := &arrival{
		event: hold.GetEvent(), releases: releasesBefore(hold) + 1,
		stream: at["stream"].GetStringValue(), sequence: uint64(at["sequence"].GetNumberValue()), index: int(at["index"].GetNumberValue()),
	}
	if err := s.handleAgain(ctx, a, hold); err != nil {
		if errors.Is(err, errUnreadable) {
			log.ErrorContext(ctx, "a release is left aside: its order cannot be read", "error", err)
			return nil
		}
		return err
	}
	// Only now: who dies before this handles it once more, and its order's state, or
	// its next hold, knows it.
	written, err := s.endHold(ctx, subject, sequence, hold, asked)
	if written {
		s.counters.released.Add(1)
		log.InfoContext(ctx, "a person has let an event out of the Error Hold")
	}
	return err
}

// endHold puts on record who ended a hold, which no longer needs what it kept. It returns
// false where that was done at the same time, or the answer to this very write was lost.
func (s *settler) endHold(ctx context.Context, subject string, sequence uint64, hold *dispatchv1.Hold, asked *eventv1.Release) (written bool, err error) {
	hold.Event, hold.Release = nil, asked
	if hold.GetRefused() != nil {
		hold.Refused.Data = nil
	}
	data, err := proto.Marshal(hold)
	if err != nil {
		return false, err
	}
	err = s.patience.do(ctx, func(ctx context.Context) error {
		_, err := s.records.Publish(ctx, bus.Message{Subject: subject, Data: data, ExpectLast: new(sequence), ExpectStream: bus.StreamErrorHold})
		return err
	})
	if bus.IsConflict(err) {
		return false, nil
	}
	return err == nil, err
}

// handleAgain handles what a person let go: an event, or a question to its source.
func (s *settler) handleAgain(ctx context.Context, a *arrival, hold *dispatchv1.Hold) error {
	if _, _, reading := readingOf(hold.GetDelivery().GetKey(), hold.GetDelivery().GetId()); reading {
		return s.askAgain(ctx, hold)
	}
	if t, ok := s.task(ctx, a); ok {
		return t.run(ctx)
	}
	return nil
}

// holdAt returns what is held on a subject, and its sequence; an empty hold where
// there is nothing.
func (s *settler) holdAt(ctx context.Context, subject string) (*dispatchv1.Hold, uint64, error) {
	var record bus.Record
	err := s.patience.do(ctx, func(ctx context.Context) (err error) {
		record, err = s.records.Last(ctx, bus.StreamErrorHold, subject)
		return err
	})
	hold := &dispatchv1.Hold{}
	if errors.Is(err, bus.ErrNotFound) {
		return hold, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("hold %s: %w", subject, err)
	}
	if err := proto.Unmarshal(record.Data, hold); err != nil {
		return nil, 0, fmt.Errorf("hold %s, sequence %d: %w: %w", subject, record.Sequence, errUnreadable, err)
	}
	return hold, record.Sequence, nil
}
