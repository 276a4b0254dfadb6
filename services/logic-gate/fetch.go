package logicgate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
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
	id := key + fetchMark + hex.EncodeToString(h.Sum(nil)[:fetchHash])
	if a.releases > 0 {
		id += releaseMark + strconv.Itoa(int(a.releases))
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

// fetch asks for the order that an event names. The event goes along with the call and
// comes back with the order: nothing else remembers it. The call must arrive, so it
// does not expire; its key is the order's, so that the answers come in the order of
// the events.
func (s *settler) fetch(ctx context.Context, a *arrival, key string) error {
	ctx, span := s.startEvent(ctx, a)
	defer span.End()
	id := fetchID(a, key)
	span.SetAttributes(attribute.String("peppasync.order", key), attribute.String("peppasync.delivery", id))
	if a.event.GetReplayedAt() != nil {
		if answered, err := s.fetchedBefore(ctx, id); answered || err != nil {
			return err
		}
	}
	data, err := proto.Marshal(&dispatchv1.Delivery{
		Id: id, Connector: a.event.GetConnector(), Lane: a.fetch.lane, Key: key, Operation: connectors.OperationReadOrder,
		Requester: Role, CreatedAt: timestamppb.Now(), Event: a.event,
		Content: &dispatchv1.Delivery_Arguments{Arguments: listing.OrderArguments(a.fetch.order)},
	})
	if err == nil {
		err = s.publishOnce(ctx, bus.Message{
			Subject: bus.DispatchSubject(a.event.GetConnector(), a.fetch.lane, key, id), Data: data, ExpectStream: bus.StreamDispatch,
		})
	}
	switch {
	case err == nil:
		s.counters.fetches.Add(1)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	span.SetStatus(codes.Error, "held")
	return s.settleAside(ctx, a, key, fault.Cause{Code: "event-not-applied", Detail: err.Error()})
}

// fetchedBefore applies the answer that an event of a replay got when it came first. The
// call is closed under its id, so that asking again would be answered by nobody; and what
// was answered then is what a webhook would have had in its body. It reports false where
// there was no such answer, or there is none any more.
func (s *settler) fetchedBefore(ctx context.Context, id string) (bool, error) {
	var record bus.Record
	err := s.patience.do(ctx, func(ctx context.Context) (err error) {
		record, err = s.records.Last(ctx, bus.StreamResult, bus.ResultSubject(Role, id))
		return err
	})
	if errors.Is(err, bus.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("what fetch %s was answered: %w", id, err)
	}
	result := &dispatchv1.Result{}
	if proto.Unmarshal(record.Data, result) != nil || result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
		return false, nil //nolint:nilerr // one that cannot be read is as good as none
	}
	return true, s.applyFetched(ctx, record, result)
}

// fetched takes in what came of a fetch. The order is an event of the topic that named
// it, which brings it whole.
func (s *settler) fetched(ctx context.Context, m *bus.Incoming, result *dispatchv1.Result) error {
	ctx, span := s.tracer.Start(m.Context(ctx), "logic-gate fetched", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("peppasync.order", result.GetKey()),
		attribute.String("peppasync.delivery", result.GetDeliveryId()),
		attribute.String("peppasync.outcome", result.GetOutcome().String()),
	))
	defer span.End()
	err := s.takeFetched(ctx, m, result)
	if err == nil {
		s.counters.results.Add(1)
	}
	return err
}

func (s *settler) takeFetched(ctx context.Context, m *bus.Incoming, result *dispatchv1.Result) error {
	code := result.GetCause().GetCode()
	switch result.GetOutcome() {
	case dispatchv1.Outcome_OUTCOME_DELIVERED:
		return s.applyFetched(ctx, m.Record, result)
	case dispatchv1.Outcome_OUTCOME_CONFLICT:
		if code != connectors.CodeNoSuchOrder {
			break
		}
		// Whoever empties the trash of a shop deletes thousands.
		s.notices.Post(slog.LevelInfo, "gone "+result.GetConnector(), "an event names an order that is not there any more; there is nothing to do about it",
			slog.String("connector", result.GetConnector()), slog.String("order", result.GetKey()), slog.String("topic", result.GetEvent().GetTopic()),
			slog.String("event", result.GetEvent().GetId()), slog.String("detail", result.GetCause().GetDetail()))
		s.counters.events.Add(1)
		s.counters.gone.Add(1)
		return nil
	case dispatchv1.Outcome_OUTCOME_HELD:
		// The dispatcher has put it into the Error Hold, with its event; but not where the
		// answer was too large to be kept.
		_, there, err := s.holdAt(ctx, bus.HoldSubject(result.GetConnector(), result.GetKey(), result.GetDeliveryId()))
		if there > 0 || err != nil && !errors.Is(err, errUnreadable) {
			return err
		}
	default:
		code = "unexpected-outcome"
	}
	return s.holdFetch(ctx, result, fault.Cause{Code: code, Detail: result.GetOutcome().String() + " " + result.GetCause().GetDetail()})
}

func (s *settler) applyFetched(ctx context.Context, answer bus.Record, result *dispatchv1.Result) error {
	o, err := listing.ParseOrder(result.GetValue())
	if err == nil && order.Key(result.GetConnector(), o.GetId()) != result.GetKey() {
		err = fmt.Errorf("another order was answered, of the id %q", o.GetId())
	}
	if err != nil {
		return s.holdFetch(ctx, result, fault.Cause{Code: "answer-unreadable", Detail: err.Error()})
	}
	event := proto.CloneOf(result.GetEvent())
	event.Body, event.Order = nil, o
	a := &arrival{event: event, stream: answer.Stream, sequence: answer.Sequence}
	if at := result.GetIssuedAt(); at != nil {
		a.readAt = at.AsTime()
	}
	if t, ok := s.task(ctx, a); ok {
		return t.run(ctx)
	}
	return nil
}

// holdFetch puts the event of a fetch into the Error Hold, where the dispatcher has
// not. Let go, it asks again.
func (s *settler) holdFetch(ctx context.Context, result *dispatchv1.Result, cause fault.Cause) error {
	// A shop that refuses to tell of its orders refuses each of a spike.
	s.notices.Post(slog.LevelWarn, "fetch "+result.GetConnector()+" "+cause.Code, "an event is put into the Error Hold, because its order could not be fetched",
		slog.String("connector", result.GetConnector()), slog.String("order", result.GetKey()), slog.String("delivery", result.GetDeliveryId()),
		slog.String("cause", cause.Code), slog.String("detail", cause.Detail))
	s.counters.events.Add(1)
	return s.hold(ctx, &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: result.GetDeliveryId(), Connector: result.GetConnector(), Key: result.GetKey(), Operation: result.GetOperation(), Requester: Role,
			CreatedAt: result.GetEvent().GetReceivedAt(),
		},
		Cause: causeOf(result.GetConnector(), result.GetOperation(), cause), Attempts: result.GetAttempts(), Event: result.GetEvent(),
	})
}
