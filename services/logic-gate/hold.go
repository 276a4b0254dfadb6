package logicgate

import (
	"context"
	"log/slog"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
)

const (
	// maxDetail is what a person reads of a cause.
	maxDetail = 1024
	// maxMessage is what fits into a message of a server as it comes, of 1 MiB, beside
	// its headers.
	maxMessage = 1<<20 - 4<<10
)

// holdEvent puts an event into the Error Hold, once however often it is tried.
// Its operation there is its topic, and its arguments say where it came in. The
// event itself goes along, because it is worth keeping for longer than a stream
// of events keeps it.
func (s *settler) holdEvent(ctx context.Context, a *arrival, key string, cause fault.Cause) error {
	connector, topic := a.event.GetConnector(), a.event.GetTopic()
	kept, err := structpb.NewStruct(map[string]any{
		"stream": a.stream, "sequence": float64(a.sequence), "index": float64(a.index), "event": strings.ToValidUTF8(a.event.GetId(), "?"),
	})
	if err != nil {
		return err
	}
	hold := &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: a.holdID(), Connector: connector, Key: key, Operation: topic, Requester: Role,
			CreatedAt: a.event.GetReceivedAt(), Content: &dispatchv1.Delivery_Arguments{Arguments: kept},
		},
		Cause: causeOf(connector, topic, cause), OrderName: a.name(), Event: a.event, Releases: a.releases,
	}
	if proto.Size(hold) > maxMessage || a.event.GetOrder() == nil && len(a.event.GetBody()) == 0 {
		// Too large for a message, or a pack that is none.
		hold.Event = nil
	}
	// A sender that has gone wrong sends thousands of them, and each is in the Error Hold.
	s.notices.Post(slog.LevelWarn, "hold "+connector+" "+cause.Code, "an event is put into the Error Hold",
		slog.String("connector", connector), slog.String("topic", topic), slog.String("event", a.holdID()), slog.String("order", key),
		slog.String("cause", cause.Code), slog.String("detail", hold.GetCause().GetDetail()))
	return s.hold(ctx, hold)
}

// settleAside is holdEvent for an event of which nothing else is left to do.
func (s *settler) settleAside(ctx context.Context, a *arrival, key string, cause fault.Cause) error {
	if err := s.holdEvent(ctx, a, key, cause); err != nil {
		return err
	}
	s.counters.events.Add(1)
	return nil
}

// holdResult puts a delivery into the Error Hold that came back with an outcome
// which nothing else would look at.
func (s *settler) holdResult(ctx context.Context, state *orderv1.State, result *dispatchv1.Result) error {
	_, id, err := order.SplitDispatchID(result.GetDeliveryId())
	if err != nil {
		return err
	}
	delivery := &dispatchv1.Delivery{
		Id: result.GetDeliveryId(), Connector: result.GetConnector(), Key: state.GetKey(), Operation: result.GetOperation(), Requester: Role,
		CreatedAt: timestamppb.Now(),
	}
	for _, d := range state.GetDeliveries() {
		if d.GetId() == id {
			delivery.Connector, delivery.Lane, delivery.Operation = d.GetConnector(), d.GetLane(), d.GetOperation()
			delivery.Content = &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{
				Flow: d.GetFlow(), Step: d.GetStep(), Revision: d.GetRevision(),
			}}
		}
	}
	cause := fault.Cause{Code: "unexpected-outcome", Detail: result.GetOutcome().String() + " " + result.GetCause().GetDetail()}
	s.log.WarnContext(ctx, "a delivery came back with an outcome that steps do not have and is put into the Error Hold",
		"order", state.GetKey(), "delivery", result.GetDeliveryId(), "outcome", result.GetOutcome().String())
	return s.hold(ctx, &dispatchv1.Hold{
		Delivery: delivery, Cause: causeOf(delivery.GetConnector(), delivery.GetOperation(), cause),
		OrderName: state.GetOrder().GetName(), OrderRevision: result.GetRevision(), Attempts: result.GetAttempts(),
	})
}

// holdUnsettled puts a result aside that no state can take up. Where its delivery is
// in the Error Hold already, that says it.
func (s *settler) holdUnsettled(ctx context.Context, result *dispatchv1.Result, err error) error {
	outcome := result.GetOutcome().String()
	s.log.ErrorContext(ctx, "a result is put into the Error Hold, because the state of its order cannot be read; its delivery stays open",
		"order", result.GetKey(), "delivery", result.GetDeliveryId(), "outcome", outcome, "error", err)
	cause := fault.Cause{Code: "state-unreadable", Detail: outcome + " " + result.GetReference() + " is not taken up: " + err.Error()}
	s.counters.results.Add(1)
	return s.hold(ctx, &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: result.GetDeliveryId(), Connector: result.GetConnector(), Key: result.GetKey(), Operation: result.GetOperation(), Requester: Role,
			CreatedAt: timestamppb.Now(),
		},
		Cause: causeOf(result.GetConnector(), result.GetOperation(), cause), OrderRevision: result.GetRevision(), Attempts: result.GetAttempts(),
	})
}

func (s *settler) hold(ctx context.Context, hold *dispatchv1.Hold) error {
	hold.HeldAt = timestamppb.Now()
	data, err := proto.Marshal(hold)
	if err != nil {
		return err
	}
	d := hold.GetDelivery()
	err = s.publishOnce(ctx, bus.Message{
		Subject: bus.HoldSubject(d.GetConnector(), d.GetKey(), d.GetId()), Data: data, ExpectStream: bus.StreamErrorHold,
	})
	if err == nil {
		s.counters.held.Add(1)
	}
	return err
}

func causeOf(connector, operation string, cause fault.Cause) *dispatchv1.Cause {
	cause.Detail = strings.ToValidUTF8(cause.Detail, "?")
	if len(cause.Detail) > maxDetail {
		cause.Detail = strings.ToValidUTF8(cause.Detail[:maxDetail], "") + "…"
	}
	return &dispatchv1.Cause{
		Code: cause.Code, Detail: cause.Detail, Status: int32(cause.Status), //nolint:gosec // an HTTP status
		Fingerprint: fault.Fingerprint(connector, operation, cause),
	}
}
