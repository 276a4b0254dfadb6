package logicgate

import (
	"context"
	"errors"

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
	var record bus.Record
	err := s.patience.do(ctx, func(ctx context.Context) (err error) {
		record, err = s.records.Last(ctx, bus.StreamErrorHold, bus.HoldSubject(connector, asked.GetKey(), asked.GetDeliveryId()))
		return err
	})
	if errors.Is(err, bus.ErrNotFound) {
		return &dispatchv1.Hold{}, nil
	}
	if err != nil {
		return nil, err
	}
	hold := &dispatchv1.Hold{}
	return hold, proto.Unmarshal(record.Data, hold)
}
