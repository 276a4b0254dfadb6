package logicgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
)

// longWait is how long a fetch may be open before an event that joins it looks whether its
// call is still there.
const longWait = time.Minute

// revive looks after a fetch that an event has joined and that waits for long. Its call
// may have been lost with its stream, or its answer read by a gate of an older build; then
// all that comes would join it for ever.
func (s *settler) revive(ctx context.Context, key string, f *orderv1.Fetch) error {
	if time.Since(f.GetOpenedAt().AsTime()) < longWait {
		return nil
	}
	answer, result, err := s.resultOf(ctx, f.GetId())
	switch {
	case err != nil:
		return err
	case result != nil:
		return s.takeFetched(ctx, answer, result, false)
	}
	return s.publishFetch(ctx, key, f)
}

// resultOf returns what became of a fetch, nil where nothing is known (any more).
func (s *settler) resultOf(ctx context.Context, id string) (bus.Record, *dispatchv1.Result, error) {
	var record bus.Record
	err := s.patience.do(ctx, func(ctx context.Context) (err error) {
		record, err = s.records.Last(ctx, bus.StreamResult, bus.ResultSubject(Role, id))
		return err
	})
	if errors.Is(err, bus.ErrNotFound) {
		return record, nil, nil
	}
	if err != nil {
		return record, nil, fmt.Errorf("what fetch %s was answered: %w", id, err)
	}
	result := &dispatchv1.Result{}
	if err := proto.Unmarshal(record.Data, result); err != nil {
		return record, nil, fmt.Errorf("what fetch %s was answered: %w: %w", id, errUnreadable, err)
	}
	return record, result, nil
}

// fetchedBefore takes in what an event's own call was answered before. It is closed under
// its id, so that asking again would be answered by nobody. For a replay it is what a
// webhook would have had in its body. It reports false where there was no such call.
func (s *settler) fetchedBefore(ctx context.Context, a *arrival, key, id string) (bool, error) {
	answer, result, err := s.resultOf(ctx, id)
	switch {
	case errors.Is(err, errUnreadable):
		return true, s.settleAside(ctx, a, key, fault.Cause{Code: "answer-unreadable", Detail: err.Error()})
	case err != nil || result == nil:
		return false, err
	case a.event.GetReplayedAt() != nil && result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED:
		return true, nil
	}
	return true, s.takeFetched(ctx, answer, result, true)
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
	err := s.takeFetched(ctx, m.Record, result, false)
	if err == nil {
		s.counters.results.Add(1)
	}
	return err
}

// takeFetched takes in an answer for each event that it is newer than, and then closes the
// fetch, or asks once more for the others. Who dies in between does the first part again,
// which changes nothing. again: it is looked up, and was or will be read from RESULT too.
func (s *settler) takeFetched(ctx context.Context, answer bus.Record, result *dispatchv1.Result, again bool) error {
	state, _, err := s.load(ctx, result.GetKey())
	if err != nil && !errors.Is(err, errUnreadable) {
		return err
	}
	f := order.FetchOf(state, result.GetDeliveryId())
	if f == nil {
		// Closed before, or by an event that no state knows of.
		if err := s.settleFetched(ctx, answer, result, again); err != nil {
			return err
		}
		return s.publishFetches(ctx, state)
	}
	var sent time.Time
	if at := result.GetIssuedAt(); at != nil {
		sent = at.AsTime()
	}
	covered := order.Covered(f, sent)
	for i, n := range order.EachTopic(covered) {
		a, err := arrivalOf(n)
		if err != nil {
			return err
		}
		own := proto.CloneOf(result)
		own.Event = a.event
		if i > 0 {
			own.DeliveryId = fetchID(a, result.GetKey())
		}
		if err := s.settleFetched(ctx, answer, own, false); err != nil {
			return err
		}
	}
	return s.closeFetch(ctx, f, covered, result.GetKey())
}

// closeFetch writes that a fetch was answered, and asks once more for the events that came
// after its call was sent, or while the answer was taken in.
func (s *settler) closeFetch(ctx context.Context, f *orderv1.Fetch, settled []*orderv1.Naming, key string) error {
	for {
		before, sequence, err := s.load(ctx, key)
		if err != nil {
			return err
		}
		after, further := order.CloseFetch(before, f.GetId(), settled, time.Now(), func(n *orderv1.Naming) string {
			return furtherID(n, key, f.GetId())
		})
		if after == before {
			return s.publishFetches(ctx, before)
		}
		written, err := s.write(ctx, after, sequence)
		if err != nil {
			return err
		}
		if !written {
			continue
		}
		if further == nil {
			return nil
		}
		return s.publishFetch(ctx, key, further)
	}
}

// publishFetches publishes the calls that a state says are open, because whoever wrote it
// may have died before.
func (s *settler) publishFetches(ctx context.Context, state *orderv1.State) error {
	for _, f := range state.GetFetches() {
		if err := s.publishFetch(ctx, state.GetKey(), f); err != nil {
			return err
		}
	}
	return nil
}

// settleFetched takes in an answer for one event.
func (s *settler) settleFetched(ctx context.Context, answer bus.Record, result *dispatchv1.Result, again bool) error {
	code := result.GetCause().GetCode()
	switch result.GetOutcome() {
	case dispatchv1.Outcome_OUTCOME_DELIVERED:
		return s.applyFetched(ctx, answer, result, again)
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

func (s *settler) applyFetched(ctx context.Context, answer bus.Record, result *dispatchv1.Result, again bool) error {
	o, err := listing.ParseOrder(result.GetValue())
	if err == nil && order.Key(result.GetConnector(), o.GetId()) != result.GetKey() {
		err = fmt.Errorf("another order was answered, of the id %q", o.GetId())
	}
	if err != nil {
		return s.holdFetch(ctx, result, fault.Cause{Code: "answer-unreadable", Detail: err.Error()})
	}
	event := proto.CloneOf(result.GetEvent())
	event.Body, event.Order = nil, o
	a := &arrival{event: event, stream: answer.Stream, sequence: answer.Sequence, again: again}
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
