package logicgate

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// readMark is in the ids of the calls that ask a source for an order of which events
// disagree. With it they have four parts, and so are nobody's step of a flow.
const readMark = "_read_"

// partMark is in those that ask for a part which is not the first. Builds that know of no
// parts take such an answer for nothing that they have asked for.
const partMark = "-p"

// readingID names one of the calls of a reading, which are counted from 1; its number makes
// each another call.
func readingID(key string, number int64, index int) string {
	id := key + readMark + strconv.FormatInt(number, 10)
	if index > 1 {
		id += partMark + strconv.Itoa(index)
	}
	return id
}

// readingOf returns the number of the reading that an id names, and which of its calls.
func readingOf(key, id string) (number int64, index int, found bool) {
	text, found := strings.CutPrefix(id, key+readMark)
	text, part, later := strings.Cut(text, partMark)
	index = 1
	if later {
		n, err := strconv.Atoi(part)
		index, found = n, found && err == nil && n > 1
	}
	number, err := strconv.ParseInt(text, 10, 64)
	return number, index, found && err == nil
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
	call := connectors.Call{Operation: connectors.OperationReadOrder, Arguments: listing.OrderPart{ID: id}.Arguments()}
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
	source, id := state.GetOrder().GetSource(), asked(state)
	named := &eventv1.Event{Connector: source, Id: id}
	if len(r.GetTopics()) > 0 {
		named.Topic = r.GetTopics()[0]
	}
	data, err := proto.Marshal(&dispatchv1.Delivery{
		Id: id, Connector: source, Lane: r.GetLane(), Key: state.GetKey(), Operation: connectors.OperationReadOrder,
		Requester: Role, CreatedAt: timestamppb.Now(),
		// Without a body: held with the call, it is what a person lets go.
		Event: named,
		Content: &dispatchv1.Delivery_Arguments{
			Arguments: listing.OrderPart{ID: state.GetOrder().GetId(), Page: r.GetParts().GetNext()}.Arguments(),
		},
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

// asked is the id of the call of the reading that is open.
func asked(state *orderv1.State) string {
	r := state.GetReading()
	return readingID(state.GetKey(), r.GetNumber(), int(r.GetParts().GetAnswered())+1)
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
	switch {
	case after.GetReading() == nil:
		return nil
	case before.GetReading() == nil || asked(before) != asked(after):
		return s.askSource(ctx, after)
	case change == order.ChangeApplied:
		return nil
	}
	return s.askStill(ctx, after)
}

// askStill looks after a question that was open before. Its answer may have been read by a
// gate that knew of no parts; then nobody would wait for it any more, and all that disagrees
// about the order for ever.
func (s *settler) askStill(ctx context.Context, state *orderv1.State) error {
	record, result, err := s.resultOf(ctx, asked(state))
	switch {
	case err != nil && !errors.Is(err, errUnreadable):
		return err
	case result != nil:
		return s.takeAnswer(ctx, record, result)
	}
	return s.askSource(ctx, state)
}

// askAgain asks a source once more, because a person let a reading out of the Error Hold.
func (s *settler) askAgain(ctx context.Context, hold *dispatchv1.Hold) error {
	for {
		before, sequence, err := s.load(ctx, hold.GetDelivery().GetKey())
		if err != nil {
			return err
		}
		after, asked := order.Ask(before, hold.GetDelivery().GetLane())
		if !asked && before.GetReading() != nil {
			return s.askStill(ctx, before)
		}
		if !asked {
			return nil
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
