package logicgate

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// askableWorld has a shop that can be asked for its orders.
func askableWorld(t *testing.T, flows ...*catalog.Flow) *world {
	t.Helper()
	w := newWorld(t, flows...)
	catalog := snapshot(flows...)
	shop := &catalog.Connectors["shopify"].Spec
	shop.Endpoint, shop.Lanes = "https://demo.myshopify.com", []v1alpha1.Lane{{Name: "standard", Weight: 2}, {Name: "bulk", Weight: 1}}
	shop.Reconcile = &v1alpha1.Reconcile{Lane: "bulk"}
	w.store.Replace(catalog)
	return w
}

// version is the webhook of order 5 with a note, all in one second.
func (w *world) version(topic, note string) *eventv1.Event {
	return w.event(topic, shopOrder(5, 0, map[string]any{"note": note}))
}

// says is an answer: the order as the shop has it.
func (w *world) says(note string) func(*dispatchv1.Result) {
	return func(r *dispatchv1.Result) {
		o, err := w.sources()["Shopify"].Order(&v1alpha1.ConnectorSpec{}, "orders/updated", shopOrder(5, 0, map[string]any{"note": note}))
		if err == nil {
			r.Value, err = listing.OrderValue(o)
		}
		if err != nil {
			w.t.Error(err)
		}
		r.IssuedAt = timestamppb.New(time.Now().Add(10 * time.Second))
	}
}

func (w *world) note() string { return w.state("shopify_5").GetOrder().GetNote() }

// Whichever of two events of one second comes first, the order ends as the shop has it,
// with one question, and the flows that were told otherwise are told.
func TestWhatEventsDisagreeAboutTheSourceSettles(t *testing.T) {
	for _, arrivals := range [][]string{{"old", "new"}, {"new", "old"}} {
		t.Run(fmt.Sprint(arrivals), func(t *testing.T) {
			w := askableWorld(t, toERP())
			gate, _ := w.start(nil)
			first, second := w.version("orders/create", arrivals[0]), w.version("orders/updated", arrivals[1])
			second.Traceparent = "00-" + createTrace + "-" + createSpan + "-01"
			w.capture(0, first)
			w.becomes("shopify_5", "orders.erp.1 OPEN")
			w.answer("shopify_5_orders_erp_1", delivered, 1)
			w.becomes("shopify_5", "orders.erp.1 DELIVERED")
			w.capture(1, second, second)
			w.becomes("shopify_5", "orders.erp.1 DELIVERED, orders.erp.2 OPEN") // it does not wait for the answer
			d := w.asked(3, "shopify_5_read_1")
			if d.GetKey() != "shopify_5" || d.GetLane() != "bulk" || d.GetConnector() != "shopify" || d.GetRequester() != Role || d.GetExpiresAt() != nil {
				t.Errorf("the call is %v", d)
			}
			if id, err := listing.ParseOrderID(d.GetArguments()); id != "5" || err != nil {
				t.Errorf("it asks for %q, error %v", id, err)
			}
			w.eventually("the repetition is taken", func() bool { return gate.Stats().Events == 3 })
			w.comesBack(d, w.says("new"))
			w.comesBack(d, w.says("another"))
			w.eventually("both answers are read", func() bool { return gate.Stats().Results == 3 })
			state := w.state("shopify_5")
			want := int64(2)
			if arrivals[1] == "old" {
				want = 3
			}
			if w.note() != "new" || state.GetRevision() != want || state.GetReading() != nil || state.GetReadAt() == nil {
				t.Errorf("state %v, want revision %d", state, want)
			}
			w.answer("shopify_5_orders_erp_2", delivered, 2)
			if want == 3 {
				w.becomes("shopify_5", "orders.erp.1 DELIVERED, orders.erp.2 DELIVERED, orders.erp.3 OPEN")
			} else {
				w.becomes("shopify_5", "orders.erp.1 DELIVERED, orders.erp.2 DELIVERED")
			}
			w.eventually("all are in DISPATCH", func() bool { return len(w.dispatched()) >= 1+int(want) })
			if got := gate.Stats(); len(w.dispatched()) != 1+int(want) || got.Held != 0 {
				t.Errorf("%d calls, want one question beside %d deliveries; counted %+v", len(w.dispatched()), want, got)
			}
		})
	}
}

// Several that disagree need one question, as long as its answer is newer than each; one
// that may be older is asked for once more. What came before stays answered.
func TestSeveralThatDisagreeNeedOneAnswer(t *testing.T) {
	w := askableWorld(t, toERP())
	gate, _ := w.start(nil)
	w.capture(0, w.version("orders/create", "a"), w.version("orders/updated", "b"), w.version("orders/updated", "c"), w.version("orders/updated", "d"))
	w.eventually("all are applied", func() bool { return gate.Stats().Applied == 4 })
	d := w.asked(2, "_read_1")
	w.comesBack(d, func(r *dispatchv1.Result) {
		w.says("b")(r)
		r.IssuedAt = timestamppb.New(w.state("shopify_5").GetReading().GetNewestEventAt().AsTime())
	})
	next := w.asked(3, "_read_2")
	if w.note() != "d" {
		t.Errorf("the order is %q, by an answer that may be older than that", w.note())
	}
	w.comesBack(next, w.says("c"))
	w.eventually("the order is as the shop has it", func() bool { return w.note() == "c" })
	w.capture(0, w.version("orders/updated", "a"), w.version("orders/updated", "b"))
	w.eventually("late ones", func() bool { return gate.Stats().Stale == 2 })
	if w.note() != "c" || w.state("shopify_5").GetReading() != nil || len(w.dispatched()) != 3 {
		t.Errorf("the order is %q, reading %v, %d calls", w.note(), w.state("shopify_5").GetReading(), len(w.dispatched()))
	}
}

// The flow that took the event which was late and wrong is told, though no event of what
// is right is one of its own.
func TestAFlowThatWasToldWrongIsToldRight(t *testing.T) {
	w := askableWorld(t, flow("create", "true", false, "orders/create"), flow("update", "true", false, "orders/updated"))
	gate, _ := w.start(nil)
	w.capture(0, w.version("orders/updated", "new"))
	w.becomes("shopify_5", "update.erp.1 OPEN")
	w.answer("shopify_5_update_erp_1", delivered, 1)
	w.capture(0, w.version("orders/create", "old"))
	w.becomes("shopify_5", "update.erp.1 DELIVERED, create.erp.2 OPEN")
	w.answer("shopify_5_create_erp_2", delivered, 2)
	w.comesBack(w.asked(3, "_read_1"), w.says("new"))
	w.becomes("shopify_5", "update.erp.1 DELIVERED, create.erp.2 DELIVERED, create.erp.3 OPEN, update.erp.3 WAITING")
	if got := gate.Stats(); got.Readings != 1 || got.Held != 0 {
		t.Errorf("counted %+v", got)
	}
}

// Where a source does not say, the rule of arrival holds and nobody is bothered.
func TestWhereTheSourceDoesNotSayTheLaterOneStays(t *testing.T) {
	conflict := func(code string) func(*dispatchv1.Result) {
		return func(r *dispatchv1.Result) {
			r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_CONFLICT, &dispatchv1.Cause{Code: code}
		}
	}
	for name, answer := range map[string]func(*dispatchv1.Result){
		"the order is not there any more": conflict(connectors.CodeNoSuchOrder),
		"no right to read orders":         conflict(connectors.CodeNoRight),
		"an answer without an order":      func(*dispatchv1.Result) {},
		"another order": func(r *dispatchv1.Result) {
			r.Value, _ = listing.OrderValue(&orderv1.Order{Id: "6", UpdatedAt: timestamppb.New(noon)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := askableWorld(t, toERP())
			gate, _ := w.start(nil)
			w.capture(0, w.version("orders/create", "a"), w.version("orders/updated", "b"))
			w.comesBack(w.asked(2, "_read_1"), answer)
			w.eventually("it is read", func() bool { return gate.Stats().Results == 1 })
			if state := w.state("shopify_5"); w.note() != "b" || state.GetReading() != nil || len(w.holds()) != 0 || w.log.count("does not say which") != 1 {
				t.Errorf("state %v, %d held, log %v", state, len(w.holds()), w.log.lines())
			}
		})
	}
}

// What an event said against an earlier word of the source is in no state. Where the
// source does not answer it counts, for the flows too.
func TestAnEventAgainstAnOldWordOfASilentSourceCounts(t *testing.T) {
	w := askableWorld(t, toERP())
	w.start(nil)
	w.capture(0, w.version("orders/create", "a"), w.version("orders/updated", "b"))
	w.comesBack(w.asked(2, "_read_1"), func(r *dispatchv1.Result) {
		w.says("b")(r)
		r.IssuedAt = timestamppb.New(noon.Add(30 * time.Second)) // not its last word on that second
	})
	w.eventually("the source has said it", func() bool { return w.state("shopify_5").GetReadAt() != nil })
	w.capture(0, w.version("orders/updated", "c"))
	d := w.asked(3, "_read_2")
	if w.note() != "b" {
		t.Errorf("the order is %q before the source has answered", w.note())
	}
	w.comesBack(d, func(r *dispatchv1.Result) {
		r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_CONFLICT, &dispatchv1.Cause{Code: connectors.CodeNoRight}
	})
	w.eventually("the event counts", func() bool { return w.note() == "c" })
	w.becomes("shopify_5", "orders.erp.1 OPEN, orders.erp.2 WAITING")
	if state := w.state("shopify_5"); state.GetReadAt() != nil || state.GetReading() != nil || state.GetDeliveries()[1].GetRevision() != 3 || len(w.holds()) != 0 {
		t.Errorf("state %v, %d held", state, len(w.holds()))
	}
}

// An event that steps back is right rarely, and nobody can tell: it is held as it was, and
// has its source asked again when it is let go.
func TestWhatNobodySettlesIsHeld(t *testing.T) {
	gone := func(r *dispatchv1.Result) {
		r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_CONFLICT, &dispatchv1.Cause{Code: connectors.CodeNoSuchOrder}
	}
	right := func(r *dispatchv1.Result) {
		r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_CONFLICT, &dispatchv1.Cause{Code: connectors.CodeNoRight}
	}
	for name, test := range map[string]struct {
		answer func(*dispatchv1.Result)
		held   bool
	}{
		"an answer without an order": {func(*dispatchv1.Result) {}, true},
		"an answer too large to be kept": {func(r *dispatchv1.Result) {
			r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_HELD, &dispatchv1.Cause{Code: "result-too-large"}
		}, true},
		"another conflict": {func(r *dispatchv1.Result) {
			r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_CONFLICT, &dispatchv1.Cause{Code: "locked"}
		}, true},
		"the order is not there any more": {gone, false},
		"no right to read orders":         {right, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := askableWorld(t, toERP())
			gate, _ := w.start(nil)
			back := w.event("orders/create", shopOrder(5, 0, map[string]any{"note": "late, or right"}))
			w.capture(0, w.event("orders/paid", shopOrder(5, 0, map[string]any{"financial_status": "paid"})), back)
			d := w.asked(2, "_read_1")
			w.comesBack(d, test.answer)
			w.eventually("it is closed", func() bool { return gate.Stats().Results == 1 && w.state("shopify_5").GetReading() == nil })
			if state := w.state("shopify_5"); state.GetOrder().GetFinancialStatus() != "paid" || state.GetRevision() != 1 {
				t.Errorf("state %v", state)
			}
			if !test.held {
				if len(w.holds()) != 0 || w.log.count("does not say which") != 1 {
					t.Errorf("%d held, log %v", len(w.holds()), w.log.lines())
				}
				return
			}
			if len(w.holds()) != 1 {
				t.Fatalf("%d held, want what the event said", len(w.holds()))
			}
			for _, hold := range w.holds() {
				e := hold.GetEvent()
				if hold.GetCause().GetCode() != "unsettled-version" || e.GetOrder().GetNote() != "late, or right" || e.GetTopic() != "orders/create" ||
					!e.GetReceivedAt().AsTime().Equal(back.GetReceivedAt().AsTime()) {
					t.Errorf("held as %v", hold)
				}
				w.mended(hold.GetDelivery())
			}
			w.comesBack(w.asked(3, "_read_2"), w.says("late, or right"))
			w.eventually("the order is as the shop has it", func() bool { return w.note() == "late, or right" })
		})
	}
}

func TestASourceThatCannotBeAskedIsNot(t *testing.T) {
	for name, change := range map[string]func(shop *v1alpha1.ConnectorSpec, b *eventv1.Event){
		"nobody says where it is":       func(shop *v1alpha1.ConnectorSpec, _ *eventv1.Event) { shop.Endpoint = "" },
		"a system without the question": func(shop *v1alpha1.ConnectorSpec, _ *eventv1.Event) { shop.System = v1alpha1.SystemHTTP },
		"no id of its own": func(_ *v1alpha1.ConnectorSpec, e *eventv1.Event) {
			e.Order.Id = "A-1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := askableWorld(t, toERP())
			gate, _ := w.start(nil)
			a, b := w.whole("shopify", "5"), w.whole("shopify", "5")
			b.Order.Note = "b"
			spec := &w.store.Current().Connectors["shopify"].Spec
			change(spec, a)
			change(spec, b)
			w.capture(0, a, b)
			w.eventually("both are applied", func() bool { return gate.Stats().Applied == 2 })
			w.capture(0, w.event("orders/create", shopOrder(7, 0, nil)))
			w.eventually("a later event", func() bool { return gate.Stats().Events == 3 })
			if got := gate.Stats(); got.Readings != 0 {
				t.Errorf("asked: %v", w.dispatched())
			}
		})
	}
}

// A reading that is refused for good waits for a person like any call, and is asked again
// when it is let go.
func TestAReadingThatIsHeldIsAskedAgain(t *testing.T) {
	w := askableWorld(t, toERP())
	gate, _ := w.start(nil)
	w.capture(0, w.version("orders/create", "a"), w.version("orders/updated", "b"))
	d := w.asked(2, "_read_1")
	w.holdsIt(d)
	w.comesBack(d, func(r *dispatchv1.Result) {
		r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_HELD, &dispatchv1.Cause{Code: "order-too-large"}
	})
	w.eventually("it is closed", func() bool { return w.state("shopify_5").GetReading() == nil })
	w.mended(d)
	w.mended(d)
	next := w.asked(3, "_read_2")
	w.eventually("it is on record", func() bool {
		return w.newestHold(bus.HoldSubject("shopify", "shopify_5", d.GetId())).GetRelease().GetBy() == "ann"
	})
	w.comesBack(next, w.says("a"))
	w.eventually("the order is as the shop has it", func() bool { return w.note() == "a" })
	if got := gate.Stats(); got.Released != 1 || len(w.dispatched()) != 3 {
		t.Errorf("counted %+v, %d calls", got, len(w.dispatched()))
	}
}

// A flow that cannot decide about what the source says has it held, whole.
func TestAnAnswerThatAFlowCannotDecideAboutIsHeld(t *testing.T) {
	w := askableWorld(t, flow("orders", `order.note == "a" || order.note == "b" || int(order.note) > 0`, false, "orders/create", "orders/updated"))
	w.start(nil)
	w.capture(0, w.version("orders/create", "a"), w.version("orders/updated", "b"))
	w.comesBack(w.asked(2, "_read_1"), w.says("c"))
	w.eventually("it is held", func() bool { return len(w.holds()) == 1 })
	w.eventually("the order is as the shop has it", func() bool { return w.note() == "c" })
	for _, hold := range w.holds() {
		if hold.GetCause().GetCode() != "condition-failed" || hold.GetEvent().GetOrder().GetNote() != "c" {
			t.Errorf("held as %v", hold)
		}
	}
}

// Killed after any number of writes, of the events or of the answer, a gate is followed by
// one that asks the same question, and brings the order to the same end.
func TestKilledAroundAReading(t *testing.T) {
	// Two states, a delivery and the question; the answer's state, and no delivery, since
	// the first is open.
	const before, after = 4, 1
	for writes := range before + after + 1 {
		t.Run(fmt.Sprint("after ", writes, " writes"), func(t *testing.T) {
			w := askableWorld(t, toERP())
			w.capture(0, w.version("orders/create", "a"), w.version("orders/updated", "b"))
			killer := deadlyAfter(writes)
			_, kill := w.start(killer.before)
			if writes < before {
				<-killer.died
				kill()
				w.start(nil)
			}
			w.comesBack(w.asked(2, "_read_1"), w.says("a"))
			if writes == before {
				<-killer.died
				kill()
				w.start(nil)
			}
			w.eventually("the order is as the shop has it", func() bool { return w.note() == "a" && w.state("shopify_5").GetReading() == nil })
			w.becomes("shopify_5", "orders.erp.1 OPEN, orders.erp.2 WAITING")
			if state := w.state("shopify_5"); state.GetRevision() != 3 || state.GetReadings() != 1 {
				t.Errorf("state %v", state)
			}
			if n := len(w.dispatched()); n != 2 {
				t.Errorf("%d calls, want a delivery and a question", n)
			}
		})
	}
}

// What was read because an event only named its order is the source's own word: of two
// in one second the later one counts, whatever it says, and nothing more is asked.
func TestWhatIsReadForAnEventNeedsNoSecondReading(t *testing.T) {
	w := thinWorld(t, v1alpha1.Lane{Name: "standard", Weight: 9}, v1alpha1.Lane{Name: "bulk", Weight: 1})
	woo := *w.store.Current()
	woo.Connectors["woo"].Spec.Endpoint = "https://shop.example"
	gate, _ := w.start(nil)
	read := func(note string, seconds int) func(*dispatchv1.Result) {
		return func(r *dispatchv1.Result) {
			fetchedOrder(note, noon)(r)
			r.IssuedAt = timestamppb.New(noon.Add(time.Duration(seconds) * time.Second))
		}
	}
	w.capture(0, w.thin())
	first := w.asked(1, "")
	w.comesBack(first, read("first", 2))
	w.eventually("the first", func() bool { return gate.Stats().Applied == 1 })
	// In a lane of its own, or the next one would join it.
	bulk := w.thin()
	bulk.Bulk = true
	w.capture(0, bulk)
	w.eventually("a second call", func() bool { return gate.Stats().Fetches == 2 })
	w.capture(0, w.thin())
	w.eventually("a third call", func() bool { return gate.Stats().Fetches == 3 && len(w.dispatched()) == 4 })
	answers := []func(*dispatchv1.Result){read("second", 3), read("of before", 1)}
	for id, d := range w.dispatched() {
		if d.GetOperation() == connectors.OperationReadOrder && id != first.GetId() {
			w.comesBack(d, answers[0])
			answers = answers[1:]
			w.eventually("its answer", func() bool { return gate.Stats().Results == int64(3-len(answers)) })
		}
	}
	if got := gate.Stats(); got.Applied != 2 || got.Stale != 1 || got.Readings != 0 || w.state("woo_5").GetOrder().GetNote() != "second" {
		t.Errorf("counted %+v, the order is %v", got, w.state("woo_5").GetOrder())
	}
}
