package logicgate

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// readMark is in the ids of the calls that ask a source for an order of which events
// disagree. With it they have four parts, and so are nobody's step of a flow.
const readMark = "_read_"

// readingID names a reading; its number makes each another call.
func readingID(key string, number int64) string {
	return key + readMark + strconv.FormatInt(number, 10)
}

// readingOf returns the number of the reading that an id names.
func readingOf(key, id string) (int64, bool) {
	text, found := strings.CutPrefix(id, key+readMark)
	number, err := strconv.ParseInt(text, 10, 64)
	return number, found && err == nil
}

// asking returns how the source is asked for an order where events disagree, nil where it
// cannot be: its system has no such query, nobody says where it is, or it has no such ids,
// as of an order that came from a file. It is asked in the lane of what webhooks miss: an
// order that is probably right already goes behind what waits to be known at all. Where
// an event of many makes it necessary, it takes nothing from live ones either.
func (s *settler) asking(ctx context.Context, connector *v1alpha1.Connector, id string, bulk bool) *orderv1.Reading {
	system := s.configuration.systems[string(connector.Spec.System)]
	if system == nil || connector.Spec.Endpoint == "" {
		return nil
	}
	if operation, ok := system.Operations(&connector.Spec)[connectors.OperationReadOrder]; !ok || operation.Effect != connectors.EffectNone {
		return nil
	}
	call := connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderArguments(id)}
	if _, err := system.Request(&connector.Spec, call); err != nil {
		return nil
	}
	lane := fetchLane(connector)
	if r := connector.Spec.Reconcile; r != nil && r.Lane != "" {
		lane = r.Lane
	}
	if bulk {
		lane = connector.Spec.BulkLane(lane)
	}
	traced := telemetry.Inject(ctx)
	return &orderv1.Reading{Lane: lane, Bulk: bulk, Traceparent: traced[telemetry.HeaderTraceparent], Tracestate: traced[telemetry.HeaderTracestate]}
}

// askSource publishes the question that a state says is open, if there is one. Like a
// delivery it is published again by whoever finds it open after a crash, under the same
// id and in the same lane. It does not expire, since an outage is a pause.
func (s *settler) askSource(ctx context.Context, state *orderv1.State) error {
	r := state.GetReading()
	if r == nil {
		return nil
	}
	ctx = telemetry.Extract(ctx, r.GetTraceparent(), r.GetTracestate())
	source, id := state.GetOrder().GetSource(), readingID(state.GetKey(), r.GetNumber())
	named := &eventv1.Event{Connector: source, Id: id}
	if len(r.GetTopics()) > 0 {
		named.Topic = r.GetTopics()[0]
	}
	data, err := proto.Marshal(&dispatchv1.Delivery{
		Id: id, Connector: source, Lane: r.GetLane(), Key: state.GetKey(), Operation: connectors.OperationReadOrder,
		Requester: Role, CreatedAt: timestamppb.Now(),
		// Without a body: held with the call, it is what a person lets go.
		Event:   named,
		Content: &dispatchv1.Delivery_Arguments{Arguments: listing.OrderArguments(state.GetOrder().GetId())},
	})
	if err != nil {
		return err
	}
	err = s.publishOnce(ctx, bus.Message{
		Subject: bus.DispatchSubject(source, r.GetLane(), state.GetKey(), id), Data: data, ExpectStream: bus.StreamDispatch,
	})
	if err == nil {
		s.counters.readings.Add(1)
	}
	return err
}

// follow publishes what a state asks for: what has opened since before, or all that is
// open where nothing changed, because whoever changed it may have died before publishing.
func (s *settler) follow(ctx context.Context, before, after *orderv1.State, change order.Change) error {
	deliveries := plan.Open(after)
	if change == order.ChangeApplied {
		deliveries = plan.Opened(before, after)
	}
	if err := s.publish(ctx, after, deliveries); err != nil {
		return err
	}
	if change == order.ChangeApplied && before.GetReading().GetNumber() == after.GetReading().GetNumber() {
		return nil
	}
	return s.askSource(ctx, after)
}

// answered takes in what came of a reading.
func (s *settler) answered(ctx context.Context, m *bus.Incoming, result *dispatchv1.Result) error {
	ctx, span := s.tracer.Start(m.Context(ctx), "logic-gate answered", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("peppasync.order", result.GetKey()),
		attribute.String("peppasync.delivery", result.GetDeliveryId()),
		attribute.String("peppasync.outcome", result.GetOutcome().String()),
	))
	defer span.End()
	o, cause := s.answerOf(result)
	if o == nil {
		s.log.InfoContext(ctx, "a source does not say which of two versions of an order it has; the one that came later stays",
			"order", result.GetKey(), "delivery", result.GetDeliveryId(), "cause", cause.Code, "detail", cause.Detail)
	}
	for {
		before, sequence, err := s.load(ctx, result.GetKey())
		if errors.Is(err, errUnreadable) {
			return s.holdUnsettled(ctx, result, err)
		}
		if err != nil {
			return err
		}
		after, change, err := s.settleReading(ctx, m, before, result, o)
		if err != nil {
			return err
		}
		span.SetAttributes(attribute.String("peppasync.change", change.String()))
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
		s.counters.results.Add(1)
		return s.follow(ctx, before, after, change)
	}
}

// answerOf returns the order that a reading has brought, or why there is none. Where the
// source has no such order any more, nothing is left to settle.
func (s *settler) answerOf(result *dispatchv1.Result) (*orderv1.Order, fault.Cause) {
	if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
		cause := result.GetCause()
		return nil, fault.Cause{Code: cause.GetCode(), Detail: result.GetOutcome().String() + " " + cause.GetDetail()}
	}
	o, err := listing.ParseOrder(result.GetValue())
	switch {
	case err != nil:
		return nil, fault.Cause{Code: "answer-unreadable", Detail: err.Error()}
	case order.Key(result.GetConnector(), o.GetId()) != result.GetKey():
		return nil, fault.Cause{Code: "answer-unreadable", Detail: "another order was answered, of the id " + strconv.Quote(o.GetId())}
	}
	o.Source = result.GetConnector()
	return o, fault.Cause{}
}

// settleReading returns the state after an answer, with what the flows ask for on it.
func (s *settler) settleReading(
	ctx context.Context, m *bus.Incoming, before *orderv1.State, result *dispatchv1.Result, o *orderv1.Order,
) (*orderv1.State, order.Change, error) {
	number, _ := readingOf(result.GetKey(), result.GetDeliveryId())
	if o == nil {
		return s.unanswered(ctx, m, before, result, number)
	}
	after, change := order.Answer(before, number, o, result.GetIssuedAt().AsTime())
	if change != order.ChangeApplied {
		return after, change, nil
	}
	after, err := s.decideReading(ctx, m, before, after, result)
	return after, change, err
}

// unanswered returns the state after a reading that came to nothing. What an event said
// must not be forgotten with it: it counts by the rule of arrival, or it is held.
func (s *settler) unanswered(
	ctx context.Context, m *bus.Incoming, before *orderv1.State, result *dispatchv1.Result, number int64,
) (*orderv1.State, order.Change, error) {
	after, change, left := order.Unanswered(before, number)
	switch {
	case change == order.ChangeApplied:
		s.log.WarnContext(ctx, "a source does not say which of two versions of an order it has; the one that came after its last word counts",
			"order", result.GetKey(), "delivery", result.GetDeliveryId())
		after, err := s.decideReading(ctx, m, before, after, result)
		return after, change, err
	case left == nil:
		return after, order.ChangeRepeated, nil
	}
	settled, err := s.leftAlone(ctx, before, result)
	if settled || err != nil {
		return after, order.ChangeRepeated, err
	}
	cause := fault.Cause{
		Code: "unsettled-version", Detail: "an event says something else of the version that the order has, and its source does not say which is right",
	}
	return after, order.ChangeRepeated, s.holdEvent(ctx, asArrival(m, result, left.GetOrder(), left.GetTopic(), left.GetReceivedAt()), result.GetKey(), cause)
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
func asArrival(m *bus.Incoming, result *dispatchv1.Result, o *orderv1.Order, topic string, at *timestamppb.Timestamp) *arrival {
	event := &eventv1.Event{Connector: result.GetConnector(), Topic: topic, Id: result.GetDeliveryId(), Order: o, ReceivedAt: at}
	return &arrival{event: event, order: o, stream: m.Stream, sequence: m.Sequence}
}

// decideReading adds what the flows ask for on the state after a reading: those that take
// one of the topics that disagree, and those that may have been told what is wrong.
func (s *settler) decideReading(
	ctx context.Context, m *bus.Incoming, before, after *orderv1.State, result *dispatchv1.Result,
) (*orderv1.State, error) {
	reading, o := before.GetReading(), after.GetOrder()
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
	a := asArrival(m, result, o, result.GetEvent().GetTopic(), result.GetSettledAt())
	return after, s.holdEvent(ctx, a, result.GetKey(), conditionCause(failures))
}

// askAgain asks a source once more, because a person let a reading out of the Error Hold.
func (s *settler) askAgain(ctx context.Context, hold *dispatchv1.Hold) error {
	for {
		before, sequence, err := s.load(ctx, hold.GetDelivery().GetKey())
		if err != nil {
			return err
		}
		after, asked := order.Ask(before, hold.GetDelivery().GetLane())
		if !asked {
			return s.askSource(ctx, before)
		}
		written, err := s.write(ctx, after, sequence)
		if err != nil {
			return err
		}
		if written {
			return s.askSource(ctx, after)
		}
	}
}
