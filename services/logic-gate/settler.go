package logicgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/notice"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// records is what the gate reads and writes: *bus.Bus.
type records interface {
	Last(ctx context.Context, stream, subject string) (bus.Record, error)
	Publish(ctx context.Context, m bus.Message) (bus.Ack, error)
}

// settler brings orders and DISPATCH up to date with one event or result at a
// time. It is safe for concurrent use: orders are guarded by compare-and-set.
type settler struct {
	records       records
	configuration configuration
	shards        int
	log           *slog.Logger
	// notices are lines of what may happen to each event of a storm.
	notices  *notice.Board
	tracer   trace.Tracer
	patience *patience
	counters counters
}

// noticeEvery is how often a line is written of each kind, with how many more there were.
const noticeEvery = 10 * time.Second

func newSettler(r records, c configuration, log *slog.Logger, tracer trace.Tracer) *settler {
	return &settler{
		records: r, configuration: c, log: log, notices: notice.New(log, noticeEvery), tracer: tracer, patience: &patience{log: log},
	}
}

// unsettled reports what could not even be put into the Error Hold.
func (s *settler) unsettled(m *bus.Incoming, err error) {
	s.log.Error("a message could not be settled and will be tried again", "stream", m.Stream, "sequence", m.Sequence, "error", err)
}

// errUnreadable: what is stored for an order is not a state, or in the Error Hold no
// hold. It stays so: what needs it steps aside, because trying again would end in
// nothing but unreadable messages in work.
var errUnreadable = errors.New("what is stored there cannot be read")

// load returns the newest state of an order with its sequence; nil and 0 where
// there is none.
func (s *settler) load(ctx context.Context, key string) (*orderv1.State, uint64, error) {
	var record bus.Record
	err := s.patience.do(ctx, func(ctx context.Context) (err error) {
		record, err = s.records.Last(ctx, s.stream(key), bus.OrderStateSubject(key))
		return err
	})
	if errors.Is(err, bus.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("order %s: %w", key, err)
	}
	state := &orderv1.State{}
	if err := proto.Unmarshal(record.Data, state); err != nil {
		return nil, 0, fmt.Errorf("order %s, sequence %d of %s: %w: %w", key, record.Sequence, record.Stream, errUnreadable, err)
	}
	return state, record.Sequence, nil
}

// write stores a state in place of the one with that sequence. It reports
// false where another state is there: the caller decides again on that one.
// That may be its own: a write whose answer got lost. Or it is still on its way,
// and the caller decides the same again until it is there or has come to nothing.
func (s *settler) write(ctx context.Context, state *orderv1.State, replaces uint64) (bool, error) {
	data, err := proto.Marshal(state)
	if err != nil {
		return false, fmt.Errorf("order %s: %w", state.GetKey(), err)
	}
	err = s.patience.do(ctx, func(ctx context.Context) error {
		_, err := s.records.Publish(ctx, bus.Message{
			Subject: bus.OrderStateSubject(state.GetKey()), Data: data,
			ExpectLast: new(replaces), ExpectStream: s.stream(state.GetKey()),
		})
		return err
	})
	if bus.IsConflict(err) {
		// The other writer is on its way through the same order.
		return false, pause(ctx, time.Millisecond+rand.N(4*time.Millisecond))
	}
	if err != nil {
		return false, fmt.Errorf("order %s: %w", state.GetKey(), err)
	}
	return true, nil
}

// tell says which deliveries the order's cancellation has just left without a call,
// because nothing outside shows them any more.
func (s *settler) tell(ctx context.Context, before, after *orderv1.State) {
	for _, d := range plan.CancelledOut(before, after) {
		s.log.InfoContext(ctx, "a delivery is skipped, because its order was cancelled before it was carried out",
			"order", after.GetKey(), "delivery", d.GetId(), "connector", d.GetConnector(), "cause", d.GetCause())
	}
}

// publish puts deliveries into DISPATCH, each in the trace of the event that
// asked for it. What is there already is not put there twice; what was closed
// already is recognized by the dispatcher, by its result.
func (s *settler) publish(ctx context.Context, state *orderv1.State, deliveries []*orderv1.Delivery) error {
	for _, d := range deliveries {
		if err := s.publishOne(telemetry.Extract(ctx, d.GetTraceparent(), d.GetTracestate()), state, d); err != nil {
			return err
		}
	}
	return nil
}

func (s *settler) publishOne(ctx context.Context, state *orderv1.State, d *orderv1.Delivery) error {
	id := order.DispatchIDOf(state.GetKey(), d)
	data, err := proto.Marshal(&dispatchv1.Delivery{
		Id: id, Connector: d.GetConnector(), Lane: d.GetLane(), Key: state.GetKey(), Operation: d.GetOperation(),
		Requester: Role, CreatedAt: timestamppb.Now(),
		Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{
			Flow: d.GetFlow(), Step: d.GetStep(), Revision: d.GetRevision(),
		}},
	})
	if err != nil {
		return fmt.Errorf("delivery %s: %w", id, err)
	}
	err = s.publishOnce(ctx, bus.Message{
		Subject: bus.DispatchSubject(d.GetConnector(), d.GetLane(), state.GetKey(), id), Data: data, ExpectStream: bus.StreamDispatch,
	})
	if err != nil {
		return fmt.Errorf("delivery %s: %w", id, err)
	}
	s.counters.deliveries.Add(1)
	return nil
}

// publishOnce publishes on a subject that is for this message alone, in the stream
// that it expects.
func (s *settler) publishOnce(ctx context.Context, m bus.Message) error {
	m.ExpectLast = bus.Sequence(0)
	for backoff := backoffMin; ; backoff = min(2*backoff, backoffMax) {
		err := s.patience.do(ctx, func(ctx context.Context) error {
			_, err := s.records.Publish(ctx, m)
			return err
		})
		if !bus.IsConflict(err) {
			return err
		}
		// An earlier attempt, or another replica, may still be at it.
		_, err = bus.Instead(ctx, s.records, m.ExpectStream, m, err)
		if !bus.IsUnavailable(err) {
			return err
		}
		if err := pause(ctx, backoff/2+rand.N(backoff)); err != nil {
			return err
		}
	}
}

func (s *settler) stream(key string) string { return bus.OrderStream(bus.OrderShard(key, s.shards)) }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
