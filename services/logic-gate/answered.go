package logicgate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// answered takes in what came of a reading, or of a part of it.
func (s *settler) answered(ctx context.Context, at bus.Record, result *dispatchv1.Result) error {
	ctx, span := s.tracer.Start(ctx, "logic-gate answered", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("peppasync.order", result.GetKey()),
		attribute.String("peppasync.delivery", result.GetDeliveryId()),
		attribute.String("peppasync.outcome", result.GetOutcome().String()),
	))
	defer span.End()
	err := s.takeAnswer(ctx, at, result)
	if err == nil {
		s.counters.results.Add(1)
	}
	return err
}

// takeAnswer brings the order up to date with an answer: state, then what follows from it.
func (s *settler) takeAnswer(ctx context.Context, at bus.Record, result *dispatchv1.Result) error {
	a := answerOf(at, result)
	for {
		before, sequence, err := s.load(ctx, result.GetKey())
		if errors.Is(err, errUnreadable) {
			return s.holdUnsettled(ctx, result, err)
		}
		if err != nil {
			return err
		}
		after, change, err := s.settleReading(ctx, before, a)
		if err != nil {
			return err
		}
		trace.SpanFromContext(ctx).SetAttributes(attribute.String("peppasync.change", change.String()))
		if !proto.Equal(before, after) {
			written, err := s.write(ctx, after, sequence)
			if err != nil {
				return err
			}
			if !written {
				continue
			}
			s.tell(ctx, before, after)
		}
		if change == order.ChangeStale && after.GetReading() != nil {
			return s.askSource(ctx, after) // the next part, or once more; nothing else follows
		}
		return s.follow(ctx, before, after, change)
	}
}

// answer is what came of a reading, or of a part of it.
type answer struct {
	at     bus.Record
	result *dispatchv1.Result
	// part is what it brings; its order is nil where there is none, because of cause.
	part  order.Part
	cause fault.Cause
}

func answerOf(at bus.Record, result *dispatchv1.Result) answer {
	a := answer{at: at, result: result}
	a.part.Number, a.part.Index, _ = readingOf(result.GetKey(), result.GetDeliveryId())
	a.part.AskedAt = result.GetIssuedAt().AsTime()
	if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
		cause := result.GetCause()
		a.cause = fault.Cause{Code: cause.GetCode(), Detail: result.GetOutcome().String() + " " + cause.GetDetail()}
		return a
	}
	o, next, err := listing.ParsePart(result.GetValue())
	switch {
	case err != nil:
		a.cause = fault.Cause{Code: "answer-unreadable", Detail: err.Error()}
	case order.Key(result.GetConnector(), o.GetId()) != result.GetKey():
		a.cause = fault.Cause{Code: "answer-unreadable", Detail: "another order was answered, of the id " + strconv.Quote(o.GetId())}
	default:
		o.Source = result.GetConnector()
		a.part.Order, a.part.Next = o, next
	}
	return a
}

// settleReading returns the state after an answer, with what the flows ask for on it.
func (s *settler) settleReading(ctx context.Context, before *orderv1.State, a answer) (*orderv1.State, order.Change, error) {
	if a.part.Order == nil {
		return s.unanswered(ctx, before, a)
	}
	after, taken := order.Take(before, a.part, listing.MaxOrderParts)
	var whole *orderv1.Order
	if taken == order.TakenLast {
		var err error
		if whole, err = s.together(ctx, before, a.part); err != nil {
			return nil, 0, err
		}
		if whole == nil {
			// An answer of before is kept for a week, and the source may have been down for one.
			after, taken = order.Restart(before)
		} else if order.CheckParts(whole) != nil {
			taken = order.TakenTooLarge
		}
	}
	switch taken {
	case order.TakenRepeated:
		return before, order.ChangeRepeated, nil
	case order.TakenMore, order.TakenAgain:
		return after, order.ChangeStale, nil
	case order.TakenChanges:
		a.cause = fault.Cause{Code: "order-changes", Detail: "it was changed each time that it was read in parts, or a part of it was lost"}
		return s.unanswered(ctx, before, a)
	case order.TakenTooLarge:
		return s.tooLarge(ctx, before, a)
	case order.TakenLast:
	}
	askedAt := a.part.AskedAt
	if a.part.Index > 1 {
		askedAt = before.GetReading().GetParts().GetAskedAt().AsTime()
	}
	after, change := order.Answer(before, a.part.Number, whole, askedAt)
	if change != order.ChangeApplied {
		return after, change, nil
	}
	after, err := s.decideReading(ctx, before, after, a)
	if err == nil && proto.Size(after) > maxMessage {
		return s.tooLarge(ctx, before, a)
	}
	return after, change, err
}

// together returns the order of which that is the last part; nil where one of those before
// is not there any more.
func (s *settler) together(ctx context.Context, state *orderv1.State, last order.Part) (*orderv1.Order, error) {
	var whole *orderv1.Order
	for index := 1; index < last.Index; index++ {
		_, result, err := s.resultOf(ctx, readingID(state.GetKey(), last.Number, index))
		if err != nil && !errors.Is(err, errUnreadable) {
			return nil, err
		}
		part, _, err := listing.ParsePart(result.GetValue())
		switch {
		case err != nil:
			return nil, nil //nolint:nilnil,nilerr // as documented
		case whole == nil:
			whole = part
			whole.Source = last.Order.GetSource()
		default:
			whole.Lines = append(whole.Lines, part.GetLines()...)
		}
	}
	if whole == nil {
		return last.Order, nil
	}
	whole.Lines = append(whole.Lines, last.Order.GetLines()...)
	return whole, nil
}

// tooLarge has a person look at an order that is larger than is read, or kept. Let go, it
// is asked for again.
func (s *settler) tooLarge(ctx context.Context, before *orderv1.State, a answer) (*orderv1.State, order.Change, error) {
	result := a.result
	a.cause = fault.Cause{Code: connectors.CodeOrderTooLarge, Detail: fmt.Sprintf(
		"the order is larger than is read in parts, which is %d parts, %d bytes or %d lines and properties",
		listing.MaxOrderParts, order.MaxReadBytes, order.MaxParts)}
	s.log.WarnContext(ctx, "an order of which events disagree is too large to be read, and its reading is put into the Error Hold",
		"order", result.GetKey(), "delivery", result.GetDeliveryId(), "detail", a.cause.Detail)
	err := s.hold(ctx, &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: result.GetDeliveryId(), Connector: result.GetConnector(), Lane: before.GetReading().GetLane(), Key: result.GetKey(),
			Operation: result.GetOperation(), Requester: Role, CreatedAt: timestamppb.Now(),
		},
		Cause: causeOf(result.GetConnector(), result.GetOperation(), a.cause), OrderName: before.GetOrder().GetName(),
		Attempts: result.GetAttempts(), Event: result.GetEvent(),
	})
	if err != nil {
		return nil, 0, err
	}
	a.result = proto.CloneOf(result)
	a.result.Outcome, a.result.Value = dispatchv1.Outcome_OUTCOME_HELD, nil
	return s.unanswered(ctx, before, a)
}

// unanswered returns the state after a reading that came to nothing. What an event said
// must not be forgotten with it: it counts by the rule of arrival, or it is held.
func (s *settler) unanswered(ctx context.Context, before *orderv1.State, a answer) (*orderv1.State, order.Change, error) {
	if !order.Awaited(before, a.part.Number, a.part.Index) {
		return before, order.ChangeRepeated, nil
	}
	after, change, left := order.Unanswered(before, a.part.Number)
	why := []any{"order", a.result.GetKey(), "delivery", a.result.GetDeliveryId(), "cause", a.cause.Code, "detail", a.cause.Detail}
	switch {
	case change == order.ChangeApplied:
		s.log.WarnContext(ctx, "a source does not say which of two versions of an order it has; the one that came after its last word counts", why...)
		after, err := s.decideReading(ctx, before, after, a)
		return after, change, err
	case left == nil:
		s.log.InfoContext(ctx, "a source does not say which of two versions of an order it has; the one that came later stays", why...)
		return after, order.ChangeRepeated, nil
	}
	settled, err := s.leftAlone(ctx, before, a.result)
	if err != nil {
		return after, order.ChangeRepeated, err
	}
	if settled {
		s.log.InfoContext(ctx, "a source does not say which of two versions of an order it has; the one that came later stays", why...)
		return after, order.ChangeRepeated, nil
	}
	cause := fault.Cause{
		Code: "unsettled-version", Detail: "an event says something else of the version that the order has, and its source does not say which is right",
	}
	return after, order.ChangeRepeated, s.holdEvent(ctx, asArrival(a, left.GetOrder(), left.GetTopic(), left.GetReceivedAt()), a.result.GetKey(), cause)
}

// leftAlone reports whether nobody has to look at what an event said that the state has
// not: the call itself is held, and asks again when it is let go; the order is gone; or
// the source cannot be asked by this account, so that the rule of arrival is all there is.
// Each checkout of such a shop would be held otherwise.
func (s *settler) leftAlone(ctx context.Context, before *orderv1.State, result *dispatchv1.Result) (bool, error) {
	switch result.GetOutcome() {
	case dispatchv1.Outcome_OUTCOME_HELD:
		// Not where the answer was too large to be kept.
		_, there, err := s.holdAt(ctx, bus.HoldSubject(result.GetConnector(), result.GetKey(), result.GetDeliveryId()))
		if errors.Is(err, errUnreadable) {
			return true, nil // one is there
		}
		return there > 0, err
	case dispatchv1.Outcome_OUTCOME_CONFLICT:
		code := result.GetCause().GetCode()
		return code == connectors.CodeNoSuchOrder || code == connectors.CodeNoRight && before.GetReadAt() == nil, nil
	default:
		return false, nil
	}
}

// asArrival is an event that brings the order as somebody said it, for a person to let go.
// It is another one than those that the state knows.
func asArrival(a answer, o *orderv1.Order, topic string, at *timestamppb.Timestamp) *arrival {
	event := &eventv1.Event{Connector: a.result.GetConnector(), Topic: topic, Id: a.result.GetDeliveryId(), Order: o, ReceivedAt: at}
	return &arrival{event: event, order: o, stream: a.at.Stream, sequence: a.at.Sequence}
}

// decideReading adds what the flows ask for on the state after a reading: those that take
// one of the topics that disagree, and those that may have been told what is wrong.
func (s *settler) decideReading(ctx context.Context, before, after *orderv1.State, a answer) (*orderv1.State, error) {
	reading, o, result := before.GetReading(), after.GetOrder(), a.result
	disputed := plan.Disputed(before, reading.GetSinceRevision())
	flows, when := s.configuration.flowsThat(func(flow *catalog.Flow) bool {
		takesOne := slices.ContainsFunc(reading.GetTopics(), func(topic string) bool { return takes(flow, result.GetConnector(), topic) })
		return takesOne || slices.Contains(disputed, flow.Name)
	})
	asking := plan.Asking{Said: o, Bulk: reading.GetBulk(), Trace: plan.Trace{Parent: reading.GetTraceparent(), State: reading.GetTracestate()}}
	after, failures := plan.Decide(after, asking, flows, when)
	if len(failures) == 0 {
		return after, nil
	}
	told := asArrival(a, o, result.GetEvent().GetTopic(), result.GetSettledAt())
	return after, s.holdEvent(ctx, told, result.GetKey(), conditionCause(failures))
}
