package notifier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/notifier/internal/message"
)

// route is one person and the connector that carries the text to them.
type route struct {
	connector, lane, to string
}

// hold publishes what is to be said about a hold. It returns nil once nothing is
// left to be said, and an error only for what may pass.
func (n *Notifier) hold(ctx context.Context, m *bus.Incoming) error {
	hold := &dispatchv1.Hold{}
	if err := proto.Unmarshal(m.Data, hold); err != nil {
		n.log.ErrorContext(ctx, "a hold cannot be read and nobody is told of it; it stays in the Error Hold",
			"subject", m.Subject, "sequence", m.Sequence, "error", err)
		return nil
	}
	if hold.GetRelease() != nil {
		return nil // it says that a person has let the event go, or that the source answers again
	}
	d := hold.GetDelivery()
	switch message.KindOf(hold, Role) {
	case message.KindMessage:
		n.log.ErrorContext(ctx, "a text could not be sent and is held; no other text tells of it", "connector", d.GetConnector(), "delivery", d.GetId(),
			"cause", hold.GetCause().GetCode(), "detail", hold.GetCause().GetDetail(), "in_doubt", hold.GetInDoubt())
		return nil
	case message.KindOther:
		n.log.DebugContext(ctx, "a hold is about no order; nobody is told", "subject", m.Subject)
		return nil
	case message.KindOrder, message.KindRefused, message.KindSource:
	}
	routes := routesOf(n.catalog.Current())
	if len(routes) == 0 {
		n.log.DebugContext(ctx, "no policy asks for texts about holds", "subject", m.Subject)
		return nil
	}
	if age := time.Since(m.Time); age > n.tellWithin {
		if !n.late.Swap(true) {
			n.log.WarnContext(ctx, "there are holds of long ago, and whether they were told is no longer known; nobody is told again, look into the Error Hold",
				"first", m.Subject, "age", age.Round(time.Second), "told_within", n.tellWithin)
		}
		return nil
	}
	return n.tell(ctx, m, hold, routes)
}

// tell publishes a text for each of the routes, in the trace of the hold.
func (n *Notifier) tell(ctx context.Context, m *bus.Incoming, hold *dispatchv1.Hold, routes []route) error {
	d := hold.GetDelivery()
	ctx, span := n.tracer.Start(m.Context(ctx), "notifier hold", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			attribute.String("peppasync.order", d.GetKey()),
			attribute.String("peppasync.delivery", d.GetId()),
			attribute.String("peppasync.cause", hold.GetCause().GetCode()),
			attribute.Int("peppasync.texts", len(routes)),
		))
	defer span.End()
	name, err := n.orderName(ctx, hold)
	if err != nil {
		span.SetStatus(codes.Error, "tried again")
		return err
	}
	text := message.Text(hold, name)
	for _, r := range routes {
		id := message.ID(m.Subject, m.Sequence, hold, r.to)
		if err := n.publish(ctx, id, r, text); err != nil {
			span.SetStatus(codes.Error, "tried again")
			return fmt.Errorf("the text %s about %s through %s: %w", id, d.GetId(), r.connector, err)
		}
	}
	return nil
}

// routesOf returns whom the policies want to be told of holds, each recipient
// once: by the first policy, in the order of their names, that names them.
func routesOf(snapshot *catalog.Snapshot) []route {
	var routes []route
	known := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(snapshot.Policies)) {
		spec := &snapshot.Policies[name].Spec
		if !slices.Contains(spec.Events, v1alpha1.NotificationEventHeld) {
			continue
		}
		connector := snapshot.Connectors[spec.Through.Connector]
		if connector == nil {
			continue // the catalog refuses such a policy
		}
		lane := laneOf(connector)
		for _, to := range spec.To {
			if !known[to] {
				known[to] = true
				routes = append(routes, route{connector: connector.Name, lane: lane, to: to})
			}
		}
	}
	return routes
}

// laneOf returns the lane for texts: express, or the heaviest where a connector
// names its lanes otherwise.
func laneOf(connector *v1alpha1.Connector) string {
	lanes := connector.Spec.Lanes
	if len(lanes) == 0 || slices.ContainsFunc(lanes, func(l v1alpha1.Lane) bool { return l.Name == v1alpha1.LaneExpress }) {
		return v1alpha1.LaneExpress
	}
	return slices.MaxFunc(lanes, func(a, b v1alpha1.Lane) int { return cmp.Compare(a.Weight, b.Weight) }).Name
}

// publish puts a text into DISPATCH unless it is or was there. A delivery is in
// DISPATCH or, after that, in WAITING until its result is in RESULT, so that who
// looks for it in this order cannot miss it on its way; under whatever connector and lane, because the
// catalog may have changed since. Between the look and the write another replica
// may publish it, or it may even be sent: the first is a conflict of the
// compare-and-set, the second is seen by the dispatcher, which looks for the
// result before each claim.
func (n *Notifier) publish(ctx context.Context, id string, r route, text string) error {
	for _, place := range []struct{ stream, subject string }{
		{bus.StreamDispatch, "dispatch.v1.*.*." + id + "." + id},
		{bus.StreamWaiting, "waiting.v1.*." + id + "." + id},
		{bus.StreamResult, bus.ResultSubject(Role, id)},
	} {
		if _, err := n.records.Last(ctx, place.stream, place.subject); !errors.Is(err, bus.ErrNotFound) {
			return err
		}
	}
	data, err := proto.Marshal(&dispatchv1.Delivery{
		// Nothing is to be kept in order about texts: each has a key of its own, so
		// that none waits for the retries of another.
		Id: id, Connector: r.connector, Lane: r.lane, Key: id, Operation: connectors.OperationSendMessage,
		Requester: Role, CreatedAt: timestamppb.Now(),
		Content: &dispatchv1.Delivery_Arguments{Arguments: &structpb.Struct{Fields: map[string]*structpb.Value{
			"to": structpb.NewStringValue(r.to), "body": structpb.NewStringValue(text),
		}}},
	})
	if err != nil {
		return err
	}
	m := bus.Message{
		Subject: bus.DispatchSubject(r.connector, r.lane, id, id), Data: data,
		ExpectLast: bus.Sequence(0), ExpectStream: bus.StreamDispatch,
	}
	_, err = n.records.Publish(ctx, m)
	if bus.IsConflict(err) {
		_, err = bus.Instead(ctx, n.records, bus.StreamDispatch, m, err)
	}
	return err
}

// orderName returns what people call the order of a hold: as the hold says, or
// its state, or else the shop's id; empty where none of them does.
func (n *Notifier) orderName(ctx context.Context, hold *dispatchv1.Hold) (string, error) {
	if name := hold.GetOrderName(); name != "" {
		return name, nil
	}
	if connectors.IsRefusal(hold) {
		return "", nil // it is about no order
	}
	key := hold.GetDelivery().GetKey()
	_, id, err := order.SplitKey(key)
	if err != nil {
		return "", nil //nolint:nilerr // an event that became no order has no key of one
	}
	shards, err := n.bus.Shards(ctx, bus.PrefixOrder)
	if err != nil {
		return "", fmt.Errorf("counting the order shards: %w", err)
	}
	record, err := n.records.Last(ctx, bus.OrderStream(bus.OrderShard(key, shards)), bus.OrderStateSubject(key))
	switch {
	case errors.Is(err, bus.ErrNotFound):
		return id, nil
	case err != nil:
		return "", fmt.Errorf("reading order %s for its name: %w", key, err)
	}
	state := &orderv1.State{}
	if err := proto.Unmarshal(record.Data, state); err != nil {
		n.log.WarnContext(ctx, "the state of a held order cannot be read; the text names the order by its id", "order", key, "error", err)
	}
	return cmp.Or(state.GetOrder().GetName(), id), nil
}
