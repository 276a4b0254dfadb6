package logicgate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

const (
	// maxThin bounds an event that only names its order: it goes along with the call, its
	// claim, its result and its hold.
	maxThin = 64 << 10
	// fetchMark is in the ids of these calls. With it they have four parts, and so are
	// nobody's step of a flow.
	fetchMark = "_fetch_"
	// releaseMark is behind it where a person let the event out of the Error Hold.
	releaseMark = "-r"
	fetchHash   = 16
)

// fetch is what an event that only names its order needs.
type fetch struct {
	// order is the shop's id of it, and lane the one in which it is asked for.
	order, lane string
}

// thin returns how the order of an event is fetched.
func (s *settler) thin(connector *v1alpha1.Connector, event *eventv1.Event) (*fetch, error) {
	source, err := s.configuration.source(connector)
	if err != nil {
		return nil, err
	}
	naming, ok := source.(connectors.Thin)
	if !ok {
		return nil, fmt.Errorf("%w: %s on %s only names its order and cannot be asked for it", connectors.ErrMalformed, connector.Spec.System, event.GetTopic())
	}
	id, err := naming.OrderID(&connector.Spec, event.GetTopic(), event.GetBody())
	switch {
	case err != nil:
		return nil, err
	case id == "" || len(id) > maxOrderID:
		return nil, fmt.Errorf("%w: the order's id has %d bytes, expected 1 to %d", connectors.ErrMalformed, len(id), maxOrderID)
	case proto.Size(event) > maxThin:
		return nil, fmt.Errorf("%w: an event that only names its order has %d bytes, expected at most %d", connectors.ErrMalformed, proto.Size(event), maxThin)
	}
	lane := fetchLane(connector)
	if event.GetBulk() {
		lane = connector.Spec.BulkLane(lane)
	}
	return &fetch{order: id, lane: lane}, nil
}

// fetchLane is where orders go; where there is no such lane, the first one.
func fetchLane(connector *v1alpha1.Connector) string {
	for _, lane := range connector.Spec.Lanes {
		if lane.Name == v1alpha1.LaneStandard {
			return lane.Name
		}
	}
	if len(connector.Spec.Lanes) > 0 {
		return connector.Spec.Lanes[0].Name
	}
	return v1alpha1.LaneStandard
}

// fetchID names the call, so that an event which is read twice asks once. Like the
// dispatch id of a step it is another one after each release.
func fetchID(a *arrival, key string) string {
	h := sha256.New()
	for _, part := range []string{a.event.GetTopic(), a.id(), string(a.event.GetBody())} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return fetchOf(key, h.Sum(nil), a.releases)
}

// furtherID names the call that asks once more for an event which joined another: never
// one that the event may have asked under before, since that would be answered by nobody.
func furtherID(n *orderv1.Naming, key, after string) string {
	h := sha256.New()
	for _, part := range []string{n.GetTopic(), string(n.GetEvent()), after} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return fetchOf(key, h.Sum(nil), n.GetReleases())
}

func fetchOf(key string, hash []byte, releases int32) string {
	id := key + fetchMark + hex.EncodeToString(hash[:fetchHash])
	if releases > 0 {
		id += releaseMark + strconv.Itoa(int(releases))
	}
	return id
}

// releasesBefore is how often what is held was let go before. The dispatcher holds a
// fetch, and does not count; the id does.
func releasesBefore(hold *dispatchv1.Hold) int32 {
	_, rest, fetched := strings.Cut(hold.GetDelivery().GetId(), fetchMark)
	_, number, released := strings.Cut(rest, releaseMark)
	n, err := strconv.ParseInt(number, 10, 32)
	if !fetched || !released || err != nil || n < 0 {
		return hold.GetReleases()
	}
	return int32(n)
}

// fetch has the order read that an event names. While a fetch of it waits in the same
// lane the event joins that one, in the state of the order: one call does for all that
// came before it was sent. Else it asks: state, then call. The call must arrive, so it does
// not expire; its key is the order's, so that the answers come in the order of the events.
func (s *settler) fetch(ctx context.Context, a *arrival, key string) error {
	ctx, span := s.startEvent(ctx, a)
	defer span.End()
	id := fetchID(a, key)
	span.SetAttributes(attribute.String("peppasync.order", key), attribute.String("peppasync.delivery", id))
	if answered, err := s.fetchedBefore(ctx, a, key, id); answered || err != nil {
		return err
	}
	named, err := namingOf(a)
	if err != nil {
		return err
	}
	for {
		before, sequence, err := s.load(ctx, key)
		if errors.Is(err, errUnreadable) {
			span.SetStatus(codes.Error, "held")
			return s.settleAside(ctx, a, key, fault.Cause{Code: "state-unreadable", Detail: err.Error()})
		}
		if err != nil {
			return err
		}
		after, f, joining := order.Join(before, named, a.fetch.lane)
		if joining == order.JoiningAsks || joining == order.JoiningFull {
			f = &orderv1.Fetch{
				Id: id, Connector: a.event.GetConnector(), Lane: a.fetch.lane, OrderId: a.fetch.order,
				OpenedAt: timestamppb.Now(), Asked: []*orderv1.Naming{named},
			}
		}
		switch joining {
		case order.JoiningFull, order.JoiningRepeated:
			// Of a repetition, whoever wrote it may have died before the call was in DISPATCH.
			return s.publishFetch(ctx, key, f)
		case order.JoiningAsks:
			after = order.OpenFetch(before, key, f)
		case order.JoiningDone:
		}
		written, err := s.write(ctx, after, sequence)
		if err != nil {
			return err
		}
		switch {
		case !written:
		case joining == order.JoiningDone:
			s.counters.joined.Add(1)
			return s.revive(ctx, key, f)
		default:
			return s.publishFetch(ctx, key, f)
		}
	}
}

// namingOf is an event as a state keeps it.
func namingOf(a *arrival) (*orderv1.Naming, error) {
	data, err := proto.Marshal(a.event)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", a.id(), err)
	}
	n := &orderv1.Naming{
		Topic: a.event.GetTopic(), ReceivedAt: a.event.GetReceivedAt(), Event: data, Releases: a.releases, Bulk: a.event.GetBulk(),
	}
	if n.GetReceivedAt() == nil {
		n.ReceivedAt = timestamppb.Now()
	}
	return n, nil
}

// arrivalOf is the event that a state keeps.
func arrivalOf(n *orderv1.Naming) (*arrival, error) {
	event := &eventv1.Event{}
	if err := proto.Unmarshal(n.GetEvent(), event); err != nil {
		return nil, fmt.Errorf("an event that only names its order: %w", err)
	}
	event.Bulk = n.GetBulk()
	return &arrival{event: event, releases: n.GetReleases()}, nil
}

// publishFetch publishes the call of a fetch, once however often it is tried. The event
// that asked first goes along with it, and comes back with the order.
func (s *settler) publishFetch(ctx context.Context, key string, f *orderv1.Fetch) error {
	first, err := arrivalOf(f.GetAsked()[0])
	if err != nil {
		return err
	}
	data, err := proto.Marshal(&dispatchv1.Delivery{
		Id: f.GetId(), Connector: f.GetConnector(), Lane: f.GetLane(), Key: key, Operation: connectors.OperationReadOrder,
		Requester: Role, CreatedAt: timestamppb.Now(), Event: first.event,
		Content: &dispatchv1.Delivery_Arguments{Arguments: listing.OrderArguments(f.GetOrderId())},
	})
	if err != nil {
		return err
	}
	ctx = telemetry.Extract(ctx, first.event.GetTraceparent(), first.event.GetTracestate())
	err = s.publishOnce(ctx, bus.Message{
		Subject: bus.DispatchSubject(f.GetConnector(), f.GetLane(), key, f.GetId()), Data: data, ExpectStream: bus.StreamDispatch,
	})
	if err != nil {
		// Not held: the state says that it is asked for. The event comes again.
		return fmt.Errorf("fetch %s: %w", f.GetId(), err)
	}
	s.counters.fetches.Add(1)
	return nil
}
