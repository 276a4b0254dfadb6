package logicgate

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// thinWorld has a shop that says of deleted orders only which they are, and a flow that
// takes them.
func thinWorld(t *testing.T, lanes ...v1alpha1.Lane) *world {
	t.Helper()
	deleted := flow("orders", "true", false, "order.deleted")
	deleted.Spec.From[0].Connector = "woo"
	catalog := snapshot(deleted)
	catalog.Connectors["woo"] = connector("woo", v1alpha1.SystemWooCommerce)
	catalog.Connectors["woo"].Spec.Lanes = lanes
	w := newWorld(t, deleted)
	w.store.Replace(catalog)
	return w
}

func (w *world) thin() *eventv1.Event {
	e := w.event("order.deleted", []byte(`{"id":5}`))
	e.Connector = "woo"
	return e
}

// asked waits until so many fetches are in DISPATCH, and returns the one that ends in
// what is given.
func (w *world) asked(n int, suffix string) *dispatchv1.Delivery {
	w.t.Helper()
	var found *dispatchv1.Delivery
	w.eventually("a fetch", func() bool {
		all := w.dispatched()
		for id, d := range all {
			if d.GetOperation() == connectors.OperationReadOrder && strings.HasSuffix(id, suffix) {
				found = d
			}
		}
		return len(all) >= n && found != nil
	})
	return found
}

// comesBack publishes the result of a fetch as the dispatcher does.
func (w *world) comesBack(d *dispatchv1.Delivery, change func(*dispatchv1.Result)) {
	w.t.Helper()
	result := &dispatchv1.Result{
		DeliveryId: d.GetId(), Connector: d.GetConnector(), Key: d.GetKey(), Operation: d.GetOperation(), Requester: Role,
		Outcome: dispatchv1.Outcome_OUTCOME_DELIVERED, SettledAt: timestamppb.Now(), Event: d.GetEvent(),
	}
	change(result)
	data, err := proto.Marshal(result)
	if err == nil {
		_, err = w.bus.Publish(context.Background(), bus.Message{Subject: bus.ResultSubject(Role, d.GetId()), Data: data})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// holdsIt puts a fetch into the Error Hold as the dispatcher does.
func (w *world) holdsIt(d *dispatchv1.Delivery) {
	w.t.Helper()
	data, err := proto.Marshal(&dispatchv1.Hold{Delivery: d, Cause: &dispatchv1.Cause{Code: "http-400"}, Event: d.GetEvent()})
	if err == nil {
		_, err = w.bus.Publish(context.Background(), bus.Message{Subject: bus.HoldSubject(d.GetConnector(), d.GetKey(), d.GetId()), Data: data})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// mended lets the event of a fetch out of the Error Hold.
func (w *world) mended(d *dispatchv1.Delivery) {
	w.t.Helper()
	w.ask(&eventv1.Release{Connector: d.GetConnector(), Key: d.GetKey(), DeliveryId: d.GetId()})
}

func fetchedOrder(note string, at time.Time) func(*dispatchv1.Result) {
	return func(r *dispatchv1.Result) {
		value, err := listing.OrderValue(&orderv1.Order{Id: "5", Name: "#5", Note: note, UpdatedAt: timestamppb.New(at), CancelledAt: timestamppb.New(at)})
		if err != nil {
			panic(err)
		}
		r.Value = value
	}
}

func TestAnEventThatOnlyNamesItsOrderHasItFetched(t *testing.T) {
	w := thinWorld(t, v1alpha1.Lane{Name: "slow", Weight: 1}, v1alpha1.Lane{Name: "standard", Weight: 1})
	gate, _ := w.start(nil)
	event := w.thin()
	event.Traceparent = "00-" + createTrace + "-" + createSpan + "-01"
	w.capture(0, event)
	w.capture(1, event) // as ingest does when it gets no answer
	d := w.asked(1, "")
	w.eventually("both are taken", func() bool { return gate.Stats().Fetches == 2 })
	if n := len(w.dispatched()); n != 1 {
		t.Errorf("%d calls for one event", n)
	}
	if d.GetKey() != "woo_5" || d.GetLane() != "standard" || d.GetConnector() != "woo" || d.GetRequester() != Role || d.GetExpiresAt() != nil {
		t.Errorf("the call is %v", d)
	}
	if id, err := listing.ParseOrderID(d.GetArguments()); id != "5" || err != nil {
		t.Errorf("it asks for %q, error %v", id, err)
	}
	if !proto.Equal(d.GetEvent(), event) {
		t.Errorf("the event that goes along is %v, want %v", d.GetEvent(), event)
	}
	if parent := w.headers(d.GetId())["traceparent"]; !strings.Contains(parent, createTrace) {
		t.Errorf("its traceparent is %q, want the trace of the event", parent)
	}
	w.comesBack(d, fetchedOrder("as it is now", noon))
	w.becomes("woo_5", "orders.erp.1 OPEN")
	w.comesBack(d, fetchedOrder("as it is now", noon))
	w.eventually("the second answer is read", func() bool { return gate.Stats().Results == 2 })
	state := w.state("woo_5")
	if o := state.GetOrder(); o.GetSource() != "woo" || o.GetNote() != "as it is now" || state.GetRevision() != 1 {
		t.Errorf("state %v", state)
	}
	if got := gate.Stats(); got.Applied != 1 || got.Repeated != 1 || got.Held != 0 {
		t.Errorf("counted %+v", got)
	}
	// The same name again, and by now the order is another one.
	again := w.thin()
	w.capture(0, again)
	w.eventually("a second call", func() bool { return len(w.dispatched()) == 3 })
	for id, next := range w.dispatched() {
		if next.GetOperation() == connectors.OperationReadOrder && id != d.GetId() {
			w.comesBack(next, fetchedOrder("changed", noon.Add(time.Minute)))
		}
	}
	w.eventually("it is changed", func() bool { return w.state("woo_5").GetOrder().GetNote() == "changed" })
}

func TestAnOrderThatIsNotThereAnyMoreIsNothingToDo(t *testing.T) {
	w := thinWorld(t)
	gate, _ := w.start(nil)
	w.capture(0, w.thin())
	d := w.asked(1, "")
	w.comesBack(d, func(r *dispatchv1.Result) {
		r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_CONFLICT, &dispatchv1.Cause{Code: connectors.CodeNoSuchOrder, Status: 404}
	})
	w.eventually("it is counted", func() bool { return gate.Stats().Gone == 1 })
	w.eventually("nothing is asked any more", func() bool { return len(w.state("woo_5").GetFetches()) == 0 })
	// What is left of it says that there is nothing.
	if state := w.state("woo_5"); len(w.holds()) != 0 || !proto.Equal(state, &orderv1.State{Key: "woo_5"}) || w.log.count("not there any more") != 1 {
		t.Errorf("held %v, state %v", w.holds(), state)
	}
}

func TestAFetchThatIsHeldAsksAgainWhenItIsLetGo(t *testing.T) {
	w := thinWorld(t)
	gate, _ := w.start(nil)
	w.capture(0, w.thin())
	d := w.asked(1, "")
	held := func(r *dispatchv1.Result) {
		r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_HELD, &dispatchv1.Cause{Code: "http-400"}
	}
	w.holdsIt(d)
	w.comesBack(d, held)
	w.eventually("the result is read", func() bool { return gate.Stats().Results == 1 })
	if holds := w.holds(); len(holds) != 1 {
		t.Errorf("%d in the Error Hold, want the one that the dispatcher put there", len(holds))
	}
	w.mended(d)
	first := w.asked(2, "-r1")
	w.holdsIt(first)
	w.comesBack(first, held)
	// Let go before that, it would join the call that its order's state still has open, and
	// be asked for once more under an id of that.
	w.eventually("the second result is read", func() bool { return gate.Stats().Results == 2 })
	w.mended(first)
	second := w.asked(3, "-r2")
	if base, _ := strings.CutSuffix(second.GetId(), "-r2"); base != d.GetId() {
		t.Errorf("it asks under %s, want that of %s", second.GetId(), d.GetId())
	}
	w.comesBack(second, fetchedOrder("at last", noon))
	w.becomes("woo_5", "orders.erp.1 OPEN")
	if got := gate.Stats(); got.Held != 0 || got.Released != 2 {
		t.Errorf("counted %+v", got)
	}
}

func TestAFetchThatNobodyHeldIsHeldWithItsEvent(t *testing.T) {
	tests := map[string]struct {
		change func(*dispatchv1.Result)
		code   string
	}{
		"an answer that is too large to be kept": {func(r *dispatchv1.Result) {
			r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_HELD, &dispatchv1.Cause{Code: "result-too-large"}
		}, "result-too-large"},
		"an answer without an order": {func(*dispatchv1.Result) {}, "answer-unreadable"},
		"another order": {func(r *dispatchv1.Result) {
			value, err := listing.OrderValue(&orderv1.Order{Id: "6", UpdatedAt: timestamppb.New(noon)})
			if err != nil {
				panic(err)
			}
			r.Value = value
		}, "answer-unreadable"},
		"a conflict of another kind": {func(r *dispatchv1.Result) {
			r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_CONFLICT, &dispatchv1.Cause{Code: connectors.CodeNoRight}
		}, connectors.CodeNoRight},
		"an outcome that a fetch does not have": {func(r *dispatchv1.Result) { r.Outcome = dispatchv1.Outcome_OUTCOME_EXPIRED }, "unexpected-outcome"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := thinWorld(t)
			w.start(nil)
			event := w.thin()
			w.capture(0, event)
			d := w.asked(1, "")
			w.comesBack(d, test.change)
			subject := bus.HoldSubject("woo", "woo_5", d.GetId())
			w.eventually("it is held", func() bool { return w.holds()[subject] != nil })
			hold := w.holds()[subject]
			if hold.GetCause().GetCode() != test.code || !proto.Equal(hold.GetEvent(), event) || len(w.holds()) != 1 {
				t.Errorf("the hold is %v", hold)
			}
			w.mended(d)
			w.asked(2, "-r1")
		})
	}
}

// A shop that refuses to tell of its orders does so for each event of a spike: each is
// held, and the log says it once with the number of the others.
func TestFetchesThatFailAlikeAreOneLine(t *testing.T) {
	kept := &logs{}
	w := thinWorld(t)
	s := newSettler(w.bus, configuration{catalog: w.store}, slog.New(kept), noop.NewTracerProvider().Tracer(""))
	const events = 20
	for i := range events {
		refused := &dispatchv1.Result{
			DeliveryId: fmt.Sprint("fetch-", i), Connector: "woo", Key: fmt.Sprint("woo_", i), Operation: connectors.OperationReadOrder, Requester: Role,
			Outcome: dispatchv1.Outcome_OUTCOME_CONFLICT, Cause: &dispatchv1.Cause{Code: connectors.CodeNoRight}, Event: w.thin(),
		}
		gone := proto.CloneOf(refused)
		gone.Cause.Code = connectors.CodeNoSuchOrder
		for _, result := range []*dispatchv1.Result{refused, gone} {
			if err := s.settleFetched(t.Context(), bus.Record{}, result, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(w.holds()); n != events {
		t.Errorf("%d events are held, want %d", n, events)
	}
	for _, text := range []string{"could not be fetched", "not there any more"} {
		if n := kept.count(text); n != 1 {
			t.Errorf("%d lines say %q of %d events, want one: %q", n, text, events, kept.lines())
		}
	}
}

func TestAnEventThatNamesNothingIsHeld(t *testing.T) {
	w := thinWorld(t)
	gate, _ := w.start(nil)
	nameless, endless, large := w.thin(), w.thin(), w.thin()
	nameless.Body = []byte(`{}`)
	endless.Body = []byte(`{"id":99999999999999999999999}`)
	large.Body = []byte(`{"id":5,"x":"` + strings.Repeat("x", maxThin) + `"}`)
	w.capture(0, nameless, endless, large)
	w.eventually("all are held", func() bool { return gate.Stats().Held == 3 })
	if len(w.dispatched()) != 0 {
		t.Errorf("asked for %v", w.dispatched())
	}
}
