package logicgate

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// results reads what became of the deliveries, of the fetches and of the readings.
type results struct{ *settler }

func (r results) split(ctx context.Context, m *bus.Incoming) []task {
	result := &dispatchv1.Result{}
	if err := proto.Unmarshal(m.Data, result); err != nil {
		// Whose it is cannot be told; it stays in the stream for a week.
		r.log.ErrorContext(ctx, "a result cannot be read; its delivery stays open",
			"stream", m.Stream, "sequence", m.Sequence, "subject", m.Subject, "error", err)
		return nil
	}
	settle := r.result
	if _, _, reading := readingOf(result.GetKey(), result.GetDeliveryId()); reading {
		settle = func(ctx context.Context, m *bus.Incoming, result *dispatchv1.Result) error {
			return r.answered(m.Context(ctx), m.Record, result)
		}
	} else if result.GetEvent() != nil {
		settle = r.fetched
	}
	return []task{{result.GetKey(), func(ctx context.Context) error { return settle(ctx, m, result) }}}
}

// result closes a delivery and publishes what it releases.
func (s *settler) result(ctx context.Context, m *bus.Incoming, result *dispatchv1.Result) error {
	ctx, span := s.tracer.Start(m.Context(ctx), "logic-gate result", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			attribute.String("peppasync.order", result.GetKey()),
			attribute.String("peppasync.delivery", result.GetDeliveryId()),
			attribute.String("peppasync.outcome", result.GetOutcome().String()),
		))
	defer span.End()
	for {
		before, sequence, err := s.load(ctx, result.GetKey())
		if errors.Is(err, errUnreadable) {
			return s.holdUnsettled(ctx, result, err)
		}
		if err != nil {
			return err
		}
		after, closing := plan.Close(before, result)
		switch closing {
		case plan.ClosingUnknown:
			s.log.WarnContext(ctx, "a result is for a delivery that its order never asked for", "order", result.GetKey(), "delivery", result.GetDeliveryId())
			s.counters.results.Add(1)
			return nil
		case plan.ClosingRepeated:
			// Whoever closed it may have died before these were in DISPATCH.
			s.counters.results.Add(1)
			return s.publish(ctx, before, plan.Open(before))
		case plan.ClosingDone:
		}
		if !plan.Expected(result.GetOutcome()) {
			if err := s.holdResult(ctx, before, result); err != nil {
				return err
			}
		}
		written, err := s.write(ctx, after, sequence)
		if err != nil {
			return err
		}
		if !written {
			continue
		}
		s.counters.results.Add(1)
		s.tell(ctx, before, after)
		return s.release(ctx, span, after, plan.Opened(before, after))
	}
}

// release publishes deliveries that have waited for the result. Each goes on in
// the trace of its own event; the result that set it free is linked, because
// it may belong to another trace.
func (s *settler) release(ctx context.Context, by trace.Span, state *orderv1.State, deliveries []*orderv1.Delivery) error {
	for _, d := range deliveries {
		ctx, span := s.tracer.Start(telemetry.Extract(ctx, d.GetTraceparent(), d.GetTracestate()), "logic-gate release",
			trace.WithSpanKind(trace.SpanKindProducer),
			trace.WithLinks(trace.Link{SpanContext: by.SpanContext()}),
			trace.WithAttributes(attribute.String("peppasync.order", state.GetKey()), attribute.String("peppasync.delivery", d.GetId())))
		err := s.publishOne(ctx, state, d)
		span.End()
		if err != nil {
			return err
		}
	}
	return nil
}
