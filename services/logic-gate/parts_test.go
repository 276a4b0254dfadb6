package logicgate

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// long is order 5 with lines, changed a number of seconds after noon.
func long(note string, lines, seconds int) *orderv1.Order {
	o := &orderv1.Order{
		Id: "5", Name: "#5", CreatedAt: timestamppb.New(noon), UpdatedAt: timestamppb.New(noon.Add(time.Duration(seconds) * time.Second)),
		Currency: "USD", Total: "10.00", FinancialStatus: "pending", Note: note,
	}
	for i := range lines {
		o.Lines = append(o.Lines, &orderv1.Line{Id: strconv.Itoa(i), Sku: "MUG", Title: note, Quantity: 1, UnitPrice: "10.00"})
	}
	return o
}

// tells is an event that brings an order whole.
func (w *world) tells(topic string, o *orderv1.Order) *eventv1.Event {
	e := w.event(topic, nil)
	e.Order = o
	return e
}

// part is an answer with two lines of an order, or the last one, to a call that was sent a
// number of seconds from now.
func (w *world) part(d *dispatchv1.Delivery, o *orderv1.Order, sent int) func(*dispatchv1.Result) {
	w.t.Helper()
	asked, parts, err := listing.ParseOrderPart(d.GetArguments())
	if err != nil || !parts || asked.ID != "5" {
		w.t.Fatalf("%s asks for %+v, in parts: %v, error %v", d.GetId(), asked, parts, err)
	}
	from, _ := strconv.Atoi(asked.Page)
	some, next := proto.CloneOf(o), ""
	some.Lines = some.GetLines()[from:]
	if len(some.GetLines()) > 2 {
		some.Lines, next = some.GetLines()[:2], strconv.Itoa(from+2)
	}
	return func(r *dispatchv1.Result) {
		r.IssuedAt = timestamppb.New(time.Now().Add(time.Duration(sent) * time.Second))
		if r.Value, err = listing.OrderPartValue(some, asked, next); err != nil {
			w.t.Error(err)
		}
	}
}

// lines are what the lines of the order say, whose notes are their titles.
func (w *world) lines() string {
	var all []string
	for _, l := range w.state("shopify_5").GetOrder().GetLines() {
		all = append(all, l.GetId()+l.GetTitle())
	}
	return strings.Join(all, " ")
}

// disputed is a world in which two events of one second disagree about an order of five
// lines, and its source is asked.
func disputed(t *testing.T) (*world, *Gate, func()) {
	t.Helper()
	w := askableWorld(t, toERP())
	gate, stop := w.start(nil)
	w.capture(0, w.tells("orders/create", long("a", 5, 0)), w.tells("orders/updated", long("b", 5, 0)))
	return w, gate, stop
}

// One call after the other, in the lane of the first; the order counts when it is whole, as
// of the first call. Until then the state holds where the next part begins, and no lines.
func TestAnOrderThatOneAnswerDoesNotHoldIsReadInParts(t *testing.T) {
	w, gate, _ := disputed(t)
	first := w.asked(2, "_read_1")
	began := time.Now().Add(10 * time.Second)
	w.comesBack(first, w.part(first, long("a", 5, 0), 10))
	second := w.asked(3, "_read_1-p2")
	if second.GetLane() != "bulk" || second.GetConnector() != "shopify" || second.GetKey() != "shopify_5" || second.GetExpiresAt() != nil ||
		second.GetEvent().GetTopic() != "orders/updated" {
		t.Errorf("the second call is %v", second)
	}
	if r := w.state("shopify_5").GetReading(); r.GetParts().GetAnswered() != 1 || r.GetParts().GetNext() != "2" || proto.Size(r.GetParts()) > 100 {
		t.Errorf("the reading is %v", r)
	}
	w.comesBack(second, w.part(second, long("a", 5, 0), 20))
	third := w.asked(4, "_read_1-p3")
	if w.note() != "b" {
		t.Errorf("the order is %q before it is whole", w.note())
	}
	// Answers that come twice change nothing.
	w.comesBack(first, w.part(first, long("a", 5, 0), 10))
	w.comesBack(third, w.part(third, long("a", 5, 0), 30))
	w.comesBack(third, w.part(third, long("a", 5, 0), 30))
	w.eventually("all are read", func() bool { return gate.Stats().Results == 5 })
	state := w.state("shopify_5")
	if w.note() != "a" || w.lines() != "0a 1a 2a 3a 4a" || state.GetRevision() != 3 || state.GetReading() != nil || state.GetOrder().GetSource() != "shopify" {
		t.Errorf("state %v", state)
	}
	if at := state.GetReadAt().AsTime(); at.Before(began.Add(-time.Second)) || at.After(began.Add(5*time.Second)) {
		t.Errorf("it is taken for what the source said at %s, want when the first part was asked for, %s", at, began)
	}
	if n := len(w.dispatched()); n != 4 || len(w.holds()) != 0 {
		t.Errorf("%d calls, want a delivery and three questions; held %v", n, w.holds())
	}
}

// Killed after any number of writes between the first answer and the last, a gate is followed
// by one that goes on where it was.
func TestKilledBetweenParts(t *testing.T) {
	// The state and the question after each of two parts, and the state after the last.
	for writes := range 6 {
		t.Run(fmt.Sprint("after ", writes, " writes"), func(t *testing.T) {
			w, gate, stop := disputed(t)
			first := w.asked(2, "_read_1")
			w.eventually("both are settled", func() bool { return gate.Stats().Events == 2 })
			stop()
			killer := deadlyAfter(writes)
			_, kill := w.start(killer.before)
			if writes == 5 {
				kill = func() {}
			}
			w.comesBack(first, w.part(first, long("a", 5, 0), 10))
			for index := 2; index <= 3; index++ {
				if writes < 2*(index-1) {
					<-killer.died
					kill()
					w.start(nil)
					writes = 100
				}
				d := w.asked(index+1, fmt.Sprint("_read_1-p", index))
				w.comesBack(d, w.part(d, long("a", 5, 0), 10*index))
			}
			if writes == 4 {
				<-killer.died
				kill()
				w.start(nil)
			}
			w.eventually("the order is as the shop has it", func() bool { return w.lines() == "0a 1a 2a 3a 4a" && w.state("shopify_5").GetReading() == nil })
			if state := w.state("shopify_5"); state.GetRevision() != 3 || state.GetReadings() != 1 || len(w.dispatched()) != 4 {
				t.Errorf("state %v, %d calls", state, len(w.dispatched()))
			}
		})
	}
}

// Parts of two versions are no order: it is read from the start, three times at most.
func TestAnOrderThatChangesBetweenPartsIsReadAgain(t *testing.T) {
	for name, test := range map[string]struct{ changes, calls int }{
		"once":                 {1, 2 + 3},
		"until it is given up": {3, 3 * 2},
	} {
		t.Run(name, func(t *testing.T) {
			w, gate, _ := disputed(t)
			seconds, changes := 0, 0
			for n := int64(1); ; n++ {
				d := w.asked(2, fmt.Sprint("_read_", n))
				w.comesBack(d, w.part(d, long("a", 5, seconds), 10))
				d = w.asked(2, fmt.Sprint("_read_", n, "-p2"))
				if changes < test.changes {
					changes++
					seconds++
					w.comesBack(d, w.part(d, long("a", 5, seconds), 10))
					if n == 3 {
						break
					}
					continue
				}
				w.comesBack(d, w.part(d, long("a", 5, seconds), 10))
				d = w.asked(2, fmt.Sprint("_read_", n, "-p3"))
				w.comesBack(d, w.part(d, long("a", 5, seconds), 10))
				break
			}
			w.eventually("all are read", func() bool {
				return gate.Stats().Results == int64(test.calls) && w.state("shopify_5").GetReading() == nil
			})
			want, lines := "b", "0b 1b 2b 3b 4b" // what came later stays
			if test.changes == 1 {
				want, lines = "a", "0a 1a 2a 3a 4a"
			}
			if w.note() != want || w.lines() != lines || len(w.dispatched()) != 1+test.calls || len(w.holds()) != 0 {
				t.Errorf("the order is %q with lines %s, %d calls, held %v", w.note(), w.lines(), len(w.dispatched()), w.holds())
			}
			if n := w.log.count("order-changes"); (n == 1) != (test.changes == 3) {
				t.Errorf("log %v", w.log.lines())
			}
		})
	}
}

// What a webhook says between two parts may be newer than the first one: of that version it
// is read from the start, at once; a newer version stands against what was read.
func TestAWebhookBetweenParts(t *testing.T) {
	t.Run("of the same version", func(t *testing.T) {
		w, gate, _ := disputed(t)
		first := w.asked(2, "_read_1")
		w.comesBack(first, w.part(first, long("a", 5, 0), 0))
		second := w.asked(3, "_read_1-p2")
		w.capture(0, w.tells("orders/updated", long("c", 5, 0)))
		w.eventually("it is folded", func() bool { return gate.Stats().Events == 3 })
		w.comesBack(second, w.part(second, long("a", 5, 0), 10))
		for id, index := range map[string]int{"_read_2": 1} {
			for ; index <= 3; index++ {
				d := w.asked(3+index, id)
				w.comesBack(d, w.part(d, long("c", 5, 0), 20))
				id = fmt.Sprint("_read_2-p", index+1)
			}
		}
		w.eventually("the order is as the shop has it", func() bool { return w.state("shopify_5").GetReading() == nil })
		if w.lines() != "0c 1c 2c 3c 4c" || len(w.dispatched()) != 6 {
			t.Errorf("lines %s, %d calls", w.lines(), len(w.dispatched()))
		}
	})
	t.Run("of a newer version", func(t *testing.T) {
		w, gate, _ := disputed(t)
		first := w.asked(2, "_read_1")
		w.comesBack(first, w.part(first, long("a", 5, 0), 0))
		second := w.asked(3, "_read_1-p2")
		w.capture(0, w.tells("orders/updated", long("new", 5, 7)))
		w.eventually("it is folded", func() bool { return gate.Stats().Events == 3 })
		w.comesBack(second, w.part(second, long("a", 5, 0), 10)) // read before it was changed
		third := w.asked(4, "_read_1-p3")
		w.comesBack(third, w.part(third, long("a", 5, 0), 10))
		w.eventually("it is closed", func() bool { return w.state("shopify_5").GetReading() == nil })
		if w.note() != "new" || w.lines() != "0new 1new 2new 3new 4new" {
			t.Errorf("the order is %q with %s", w.note(), w.lines())
		}
	})
}

// Beyond the bounds an order is held, under its reading; let go, it is read again.
func TestAnOrderLargerThanIsReadIsHeld(t *testing.T) {
	for name, test := range map[string]struct{ lines, title, calls int }{
		"in parts":      {2*listing.MaxOrderParts + 1, 1, listing.MaxOrderParts},
		"in bytes":      {9, 100 << 10, 3},
		"as many lines": {2 * listing.MaxOrderParts, 1, listing.MaxOrderParts},
	} {
		t.Run(name, func(t *testing.T) {
			w, gate, _ := disputed(t)
			o := long(strings.Repeat("x", test.title), test.lines, 0)
			d := w.asked(2, "_read_1")
			for index := 2; ; index++ {
				w.comesBack(d, w.part(d, o, 10))
				if index > test.calls {
					break
				}
				d = w.asked(1+index, fmt.Sprint("_read_1-p", index))
			}
			w.eventually("it is closed", func() bool {
				return gate.Stats().Results == int64(test.calls) && w.state("shopify_5").GetReading() == nil
			})
			if name == "as many lines" {
				if n := len(w.state("shopify_5").GetOrder().GetLines()); n != test.lines || len(w.holds()) != 0 {
					t.Errorf("%d lines of %d, held %v", n, test.lines, w.holds())
				}
				return
			}
			hold := w.newestHold(bus.HoldSubject("shopify", "shopify_5", d.GetId()))
			if hold.GetCause().GetCode() != connectors.CodeOrderTooLarge || hold.GetOrderName() != "#5" || w.note() != "b" || len(w.holds()) != 1 {
				t.Fatalf("held %v, the order is %.9q", w.holds(), w.note())
			}
			w.mended(d)
			again := w.asked(2+test.calls, "_read_2")
			w.comesBack(again, w.part(again, long("a", 1, 0), 10))
			w.eventually("the order is as the shop has it", func() bool { return w.lines() == "0a" })
		})
	}
}

// A part that is not in RESULT any more, where the source was down for longer than that keeps
// its messages, has the order read from the start.
func TestAPartThatIsLostHasTheOrderReadAgain(t *testing.T) {
	w, _, _ := disputed(t)
	first := w.asked(2, "_read_1")
	w.comesBack(first, w.part(first, long("a", 3, 0), 10))
	second := w.asked(3, "_read_1-p2")
	if err := w.bus.Remove(context.Background(), bus.StreamResult, bus.ResultSubject(Role, first.GetId())); err != nil {
		t.Fatal(err)
	}
	w.comesBack(second, w.part(second, long("a", 3, 0), 10))
	for _, id := range []string{"_read_2", "_read_2-p2"} {
		d := w.asked(3, id)
		w.comesBack(d, w.part(d, long("a", 3, 0), 10))
	}
	w.eventually("the order is as the shop has it", func() bool { return w.lines() == "0a 1a 2a" })
}

// A gate of a build that knows of no parts reads the answer away. Whatever comes of that
// order next has it taken in all the same.
func TestAnAnswerThatAnotherBuildHasReadAwayIsTakenIn(t *testing.T) {
	w, gate, stop := disputed(t)
	first := w.asked(2, "_read_1")
	w.comesBack(first, w.part(first, long("a", 3, 0), 10))
	second := w.asked(3, "_read_1-p2")
	w.eventually("the first part is settled", func() bool { return gate.Stats().Results == 1 })
	stop()
	w.comesBack(second, w.part(second, long("a", 3, 0), 10))
	ctx, cancel := context.WithCancel(t.Context())
	options := bus.ConsumerOptions{Stream: bus.StreamResult, Durable: bus.Consumer(Role), Filters: []string{bus.ResultFilter(Role)}, AckWait: gate.ackWait}
	err := w.bus.Consume(ctx, options, func(ctx context.Context, m *bus.Incoming) {
		if strings.HasSuffix(m.Subject, "-p2") {
			if err := m.Ack(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	w.capture(0, w.tells("orders/updated", long("b", 5, 0))) // says what is known
	w.eventually("the order is as the shop has it", func() bool { return w.lines() == "0a 1a 2a" && w.state("shopify_5").GetReading() == nil })
}

// A question that a build asked which knows of no parts is refused for good where the order
// is long. Let go, it is asked in parts.
func TestAReadingOfAnotherBuildIsAskedAgainInParts(t *testing.T) {
	w, _, _ := disputed(t)
	d := w.asked(2, "_read_1")
	d.Content = &dispatchv1.Delivery_Arguments{Arguments: listing.OrderArguments("5")}
	w.holdsIt(d)
	w.comesBack(d, func(r *dispatchv1.Result) {
		r.Outcome, r.Cause = dispatchv1.Outcome_OUTCOME_HELD, &dispatchv1.Cause{Code: connectors.CodeOrderTooLarge}
	})
	w.eventually("it is closed", func() bool { return w.state("shopify_5").GetReading() == nil })
	w.mended(d)
	for _, id := range []string{"_read_2", "_read_2-p2"} {
		d := w.asked(3, id)
		w.comesBack(d, w.part(d, long("a", 4, 0), 10))
	}
	w.eventually("the order is as the shop has it", func() bool { return w.lines() == "0a 1a 2a 3a" })
}
