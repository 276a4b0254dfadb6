package logicgate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

const (
	// catalogLag is how long after its arrival, or after the connector was published,
	// an event may wait for its connector to appear in the catalog.
	catalogLag = 5 * time.Second
	// maxOrderID is the door for ids: a key has to fit into a subject, with every
	// byte of it escaped.
	maxOrderID = 128
	// attempts at an event that fails for a reason unknown here, over some
	// seconds, before it is put aside.
	attempts = 8
	// dedupeHash is how many bytes of a body's hash tell versions under one id
	// apart: an order's state remembers 64 ids, and grows by each byte of this.
	dedupeHash = 9
	// holdHash is the like for the names of holds, which people read and type.
	holdHash = 8
)

// packs splits what ingest has kept into its events.
type packs struct{ *settler }

// arrival is one event with where it is kept.
type arrival struct {
	event  *eventv1.Event
	stream string
	// sequence and index say which event of which message of the stream.
	sequence uint64
	index    int
	// order is what the event says; nil where it could not be read, or only names it.
	order *orderv1.Order
	// fetch is what is needed where it only names it.
	fetch *fetch
	// connector is that of the order.
	connector *v1alpha1.Connector
	// readAt is when the source was asked, where the order is what it answered.
	readAt time.Time
	// again: that answer was taken in when it came.
	again bool
	// releases is how often it was let out of the Error Hold.
	releases int32
}

// holdID names the event in the Error Hold, each time that it gets there: a second
// one, of another topic or with another body, is not lost behind the first where
// its sender gives both one id.
func (a *arrival) holdID() string {
	id := a.id()
	if id == a.event.GetId() {
		sum := sha256.Sum256(append([]byte(a.event.GetTopic()+"\x00"), a.content()...))
		id += "-" + hex.EncodeToString(sum[:holdHash])
	}
	if a.releases > 0 {
		id += "-r" + strconv.Itoa(int(a.releases))
	}
	return id
}

// id is its sender's name for the event if it has one that fits into a subject,
// else its place.
func (a *arrival) id() string {
	if id := a.event.GetId(); id != "" && len(id) <= maxOrderID {
		return id
	}
	return a.stream + "-" + strconv.FormatUint(a.sequence, 10) + "-" + strconv.Itoa(a.index)
}

// content is the bytes that tell what the event says: its body, or the order that came in
// place of one. Another build may spell an order's bytes in another way; then a
// repetition is one by its version and not by its id, and changes nothing all the same.
func (a *arrival) content() []byte {
	if a.event.GetOrder() == nil {
		return a.event.GetBody()
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(a.event.GetOrder())
	if err != nil {
		// Only text that is no UTF-8 does this, and no such event can be read from a pack.
		return a.event.GetBody()
	}
	return data
}

// name is what people call the event's order, empty where nobody can tell.
func (a *arrival) name() string {
	return cmp.Or(a.order.GetName(), a.event.GetOrder().GetName())
}

// dedupeID tells the event from others of the same order. Some senders give one
// id to all topics that one action fires, and one that sends a newer version
// under an id that it has used must not lose it: only the same bytes are a
// repetition.
func (a *arrival) dedupeID() string {
	if a.event.GetId() == "" {
		return ""
	}
	sum := sha256.Sum256(a.content())
	return a.event.GetTopic() + " " + a.id() + " " + base64.RawURLEncoding.EncodeToString(sum[:dedupeHash])
}

func (p packs) split(ctx context.Context, m *bus.Incoming) []task {
	pack := &eventv1.Pack{}
	if err := proto.Unmarshal(m.Data, pack); err != nil {
		a := &arrival{event: &eventv1.Event{Connector: "ingest", Topic: "pack"}, stream: m.Stream, sequence: m.Sequence}
		return []task{p.aside(a, fault.Cause{Code: "pack-unreadable", Detail: err.Error()})}
	}
	tasks := make([]task, 0, len(pack.GetEvents())+len(pack.GetReleases()))
	for _, r := range pack.GetReleases() {
		letGo := p.letGo
		if r.GetConnector() != "" {
			letGo = p.letEventGo
		}
		tasks = append(tasks, task{r.GetKey(), func(ctx context.Context) error { return letGo(ctx, r) }})
	}
	for i, e := range pack.GetEvents() {
		if t, ok := p.task(ctx, &arrival{event: e, stream: m.Stream, sequence: m.Sequence, index: i}); ok {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// task returns what is to be done about an event, false for one about no order.
func (s *settler) task(ctx context.Context, a *arrival) (task, bool) {
	switch err := s.read(ctx, a); {
	case errors.Is(err, connectors.ErrNotAnOrder):
		s.counters.events.Add(1)
		s.counters.notOrders.Add(1)
		return task{}, false
	case err != nil:
		return s.aside(a, fault.Cause{Code: "event-unreadable", Detail: err.Error()}), true
	case a.fetch != nil:
		key := order.Key(a.event.GetConnector(), a.fetch.order)
		return task{key, func(ctx context.Context) error { return s.fetch(ctx, a, key) }}, true
	default:
		key := order.Key(a.order.GetSource(), a.order.GetId())
		return task{key, func(ctx context.Context) error { return s.event(ctx, a, key) }}, true
	}
}

// read understands the event: its body, or the order that it brings. A connector that
// panics on outside bytes has met one that it cannot read, and must not take the
// others down with it.
func (s *settler) read(ctx context.Context, a *arrival) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: reading it failed: %v", connectors.ErrMalformed, r)
		}
	}()
	if why := a.event.GetMalformed(); why != "" {
		return errors.New(why)
	}
	connector, err := s.connector(ctx, a)
	if err != nil {
		return err
	}
	o, err := s.order(connector, a.event)
	if errors.Is(err, connectors.ErrThin) {
		a.fetch, err = s.thin(connector, a.event)
		return err
	}
	if err != nil {
		return err
	}
	if err := order.CheckParts(o); err != nil {
		return fmt.Errorf("%w: the order %w", connectors.ErrMalformed, err)
	}
	if id := o.GetId(); id == "" || len(id) > maxOrderID {
		return fmt.Errorf("%w: the order's id has %d bytes, expected 1 to %d", connectors.ErrMalformed, len(id), maxOrderID)
	}
	o.Source = a.event.GetConnector()
	a.order, a.connector = o, connector
	return nil
}

// order returns the order that an event is about. One that came as an order is it: no
// source is asked, and its system need not have one.
func (s *settler) order(connector *v1alpha1.Connector, event *eventv1.Event) (*orderv1.Order, error) {
	if event.GetOrder() != nil {
		// The event stays as it came, because it may have to be held.
		return proto.CloneOf(event.GetOrder()), nil
	}
	source, err := s.configuration.source(connector)
	if err != nil {
		return nil, err
	}
	if err := order.CheckListed(event.GetBody()); err != nil {
		// A source tells by the topic alone what is about no order.
		if _, none := source.Order(&connector.Spec, event.GetTopic(), nil); errors.Is(none, connectors.ErrNotAnOrder) {
			return nil, none
		}
		return nil, fmt.Errorf("%w: %w", connectors.ErrMalformed, err)
	}
	return source.Order(&connector.Spec, event.GetTopic(), event.GetBody())
}

// connector returns the event's connector. The event may have waited for a gate for
// longer than catalogLag, and this one may have heard of nothing yet: before it gives up
// on a connector it reads what is published, and if that has it, waits for the flows to
// arrive with it.
func (s *settler) connector(ctx context.Context, a *arrival) (*v1alpha1.Connector, error) {
	name := a.event.GetConnector()
	found, unknown := s.configuration.connector(ctx, name, a.event.GetReceivedAt().AsTime().Add(catalogLag))
	if unknown == nil {
		return found, nil
	}
	published := false
	err := s.patience.do(ctx, func(ctx context.Context) error {
		newest, err := s.configuration.newest(ctx)
		published = err == nil && newest.Connectors[name] != nil
		return err
	})
	if err != nil || !published {
		return nil, errors.Join(unknown, err)
	}
	return s.configuration.connector(ctx, name, time.Now().Add(catalogLag))
}

// aside is the task of putting an event into the Error Hold.
func (s *settler) aside(a *arrival, cause fault.Cause) task {
	id := a.id()
	return task{key: "event " + id, run: func(ctx context.Context) error {
		ctx, span := s.startEvent(ctx, a)
		defer span.End()
		return s.settleAside(ctx, a, id, cause)
	}}
}

func (s *settler) startEvent(ctx context.Context, a *arrival) (context.Context, trace.Span) {
	ctx = telemetry.Extract(ctx, a.event.GetTraceparent(), a.event.GetTracestate())
	return s.tracer.Start(ctx, "logic-gate event", //nolint:spancheck // both callers end it
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			attribute.String("peppasync.connector", a.event.GetConnector()),
			attribute.String("peppasync.topic", a.event.GetTopic()),
			attribute.String("messaging.destination.name", a.stream),
		))
}

// event settles one event of an order. It returns an error only where not even
// the Error Hold takes it, or ctx is done.
func (s *settler) event(ctx context.Context, a *arrival, key string) error {
	ctx, span := s.startEvent(ctx, a)
	defer span.End()
	span.SetAttributes(attribute.String("peppasync.order", key))
	var err error
	for attempt := range attempts {
		if err = s.apply(ctx, span, a, key); err == nil {
			s.counters.events.Add(1)
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, errUnreadable) {
			break
		}
		if pause(ctx, backoffMin<<attempt) != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	span.SetStatus(codes.Error, "held")
	code := "event-not-applied"
	if errors.Is(err, errUnreadable) {
		code = "state-unreadable"
	}
	return s.settleAside(ctx, a, key, fault.Cause{Code: code, Detail: err.Error()})
}

// apply brings the order up to date with the event: state, then deliveries.
func (s *settler) apply(ctx context.Context, span trace.Span, a *arrival, key string) error {
	for {
		before, sequence, err := s.load(ctx, key)
		if err != nil {
			return err
		}
		folded, change := order.Fold(before, a.order, s.eventOf(ctx, before, a))
		// The name is what people look an order's trace up by.
		span.SetAttributes(attribute.String("peppasync.change", change.String()), attribute.String("peppasync.order_name", folded.GetOrder().GetName()))
		// Asked of a repetition too: what the flows could not decide when it came
		// first, they may decide since somebody has mended one.
		after, failures := s.decide(ctx, a, folded)
		if len(failures) > 0 {
			// Ahead of the state: once that knows the event, only a repetition asks
			// again.
			if err := s.holdEvent(ctx, a, key, conditionCause(failures)); err != nil {
				return err
			}
		}
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
		s.count(change)
		// It may be a repetition, also one whose id the state does not know (any more).
		return s.follow(ctx, before, after, change)
	}
}

// eventOf is what the fold needs of an arrival beside its order.
func (s *settler) eventOf(ctx context.Context, before *orderv1.State, a *arrival) order.Event {
	event := order.Event{ID: a.dedupeID(), Topic: a.event.GetTopic(), ReadAt: a.readAt, Again: a.again, Now: time.Now()}
	if order.SameVersion(before.GetOrder(), a.order) {
		event.Ask = s.asking(ctx, a.connector, a.order.GetId(), a.event.GetBulk())
	}
	if at := a.event.GetReceivedAt(); at != nil {
		event.ReceivedAt = at.AsTime()
	}
	return event
}

func (s *settler) decide(ctx context.Context, a *arrival, state *orderv1.State) (*orderv1.State, []plan.FlowError) {
	flows, when := s.configuration.flows(a.event.GetConnector(), a.event.GetTopic())
	traced := telemetry.Inject(ctx)
	return plan.Decide(state, plan.Asking{
		Said: a.order, Bulk: a.event.GetBulk(),
		Trace: plan.Trace{Parent: traced[telemetry.HeaderTraceparent], State: traced[telemetry.HeaderTracestate]},
	}, flows, when)
}

func conditionCause(failures []plan.FlowError) fault.Cause {
	var err error
	for _, failure := range failures {
		err = errors.Join(err, failure)
	}
	return fault.Cause{Code: "condition-failed", Detail: err.Error()}
}

func (s *settler) count(change order.Change) {
	switch change {
	case order.ChangeApplied:
		s.counters.applied.Add(1)
	case order.ChangeStale:
		s.counters.stale.Add(1)
	case order.ChangeSame:
		s.counters.same.Add(1)
	case order.ChangeRepeated:
		s.counters.repeated.Add(1)
	}
}
