package plan_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// world is one order with everything around it: the events and results that
// were not acknowledged yet, the state that was written last, and a dispatcher
// that claims, maps late and answers. A gate in it may die between any two of
// its writes; what it had not acknowledged is read again.
type world struct {
	flows  []plan.Flow
	inputs []input
	state  *orderv1.State
	events int

	// Deliveries at the dispatcher, by dispatch id.
	sent map[string]*sent
	// The revision that each step must end at, by "flow.step": the newest one at
	// which a flow that takes the order asked for it.
	asked map[string]int64
	// The revision that the outside holds, by "flow.step".
	holds map[string]int64
	// live: an event has come that is not one of many.
	live bool
}

type input struct {
	event  *orderv1.Order
	id     string
	topic  int
	bulk   bool
	result *dispatchv1.Result
	// release lets go of a held delivery.
	release *eventv1.Release
}

type sent struct {
	delivery *orderv1.Delivery
	closed   bool
	held     bool
	skipped  bool
	claimed  int64
}

func step(d *orderv1.Delivery) string { return d.GetFlow() + "." + d.GetStep() }

// drawFlows draws flows whose steps share few connectors, so that they get in
// each other's way.
func drawFlows(t *rapid.T) []plan.Flow {
	var flows []plan.Flow
	for i := range rapid.IntRange(1, 3).Draw(t, "flows") {
		flow := plan.Flow{Name: fmt.Sprint("flow-", i)}
		count := rapid.IntRange(1, 3).Draw(t, "steps")
		for _, n := range rapid.Permutation([]int{0, 1, 2}[:count]).Draw(t, "order of steps") {
			s := plan.Step{
				Name: fmt.Sprint("step-", n), Operation: "upsert",
				Connector: rapid.SampledFrom([]string{"wms", "erp", "crm"}).Draw(t, "connector"),
				Lane:      rapid.SampledFrom([]string{"express", "bulk"}).Draw(t, "lane"),
				BulkLane:  "bulk",
			}
			for _, before := range flow.Steps {
				if rapid.Bool().Draw(t, "after") {
					s.After = append(s.After, before.Name)
				}
			}
			flow.Steps = append(flow.Steps, s)
		}
		flows = append(flows, flow)
	}
	return flows
}

// matching is what takes events of a topic: the first flow takes them all, the
// others only some.
func (w *world) matching(topic int) []plan.Flow {
	var flows []plan.Flow
	for i, flow := range w.flows {
		if i == 0 || topic%len(w.flows) == i {
			flows = append(flows, flow)
		}
	}
	return flows
}

// when is decided by the order alone, as the dispatcher decides it again.
func when(_ string, o *orderv1.Order) (bool, error) {
	if o.GetTest() && o.GetNote() == "broken" {
		return false, errors.New("no such field")
	}
	return !o.GetTest(), nil
}

// read processes the i-th input as the gate does, and dies after a number of
// writes. Only an input that was read to its end is acknowledged.
func (w *world) read(t *rapid.T, i, writes int) {
	in := w.inputs[i]
	before := w.state
	var next *orderv1.State
	switch {
	case in.release != nil:
		// What the Error Hold says of the revision that was claimed.
		revision := w.sent[in.release.GetDeliveryId()].claimed
		next, _ = plan.Release(before, in.release, revision)
		if again, twice := plan.Release(next, in.release, revision); twice || !proto.Equal(again, next) {
			t.Fatalf("the release of %s changes the state twice", in.release.GetDeliveryId())
		}
	case in.result != nil:
		var closing plan.Closing
		next, closing = plan.Close(before, in.result)
		if closing == plan.ClosingUnknown {
			t.Fatalf("result of %s is unknown to %v", in.result.GetDeliveryId(), standing(before))
		}
		if again, _ := plan.Close(next, in.result); !proto.Equal(again, next) {
			t.Fatalf("the result of %s changes the state twice", in.result.GetDeliveryId())
		}
	default:
		folded, change := order.Fold(before, in.event, order.Event{ID: in.id, Now: noon})
		next = folded
		if change != order.ChangeRepeated {
			flows := w.matching(in.topic)
			next, _ = plan.Decide(folded, plan.Asking{Said: in.event, Bulk: in.bulk}, flows, when)
			w.lanes(t, in, flows, next)
			if again, _ := plan.Decide(folded, plan.Asking{Said: in.event, Bulk: in.bulk}, flows, when); !proto.Equal(again, next) {
				t.Fatal("the same event leads to other deliveries")
			}
		}
	}
	if !proto.Equal(before, next) {
		if writes == 0 {
			return
		}
		writes--
		for _, d := range plan.CancelledOut(before, next) {
			if id := order.DispatchIDOf(next.GetKey(), d); w.holds[step(d)] > 0 && id != in.result.GetDeliveryId() {
				t.Fatalf("%s is not told of the cancellation of what it has: %v", id, standing(next))
			}
		}
		if in.event != nil {
			w.ask(next, w.matching(in.topic))
		}
		if in.release.GetResolution() == eventv1.Resolution_RESOLUTION_SENT {
			s, name := w.sent[in.release.GetDeliveryId()], flowStep(w.baseOf(t, in.release.GetDeliveryId()))
			w.holds[name], s.held = max(w.holds[name], s.claimed), false
		}
		w.state = next
	}
	for _, d := range plan.Open(w.state) {
		if writes == 0 {
			return
		}
		writes--
		w.publish(t, d)
	}
	w.inputs = slices.Delete(w.inputs, i, i+1)
}

// lanes checks that nothing waits in a bulk lane for what a live event asks, nor in
// another for what only events of many have asked.
func (w *world) lanes(t *rapid.T, in input, flows []plan.Flow, next *orderv1.State) {
	w.live = w.live || !in.bulk
	taken := slices.ContainsFunc(flows, func(f plan.Flow) bool {
		holds, err := when(f.Name, next.GetOrder())
		return err == nil && holds && len(f.Steps) > 0
	})
	for _, d := range next.GetDeliveries() {
		switch closed := d.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN && d.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING; {
		case d.GetStepLane() != "" && d.GetLane() != "bulk":
			t.Fatalf("%s is for lane %s and waits in %s", d.GetId(), d.GetStepLane(), d.GetLane())
		case d.GetStepLane() != "" && !closed && !in.bulk && taken:
			t.Fatalf("%s waits in bulk for what a live event asks: %v", d.GetId(), standing(next))
		case d.GetLane() != "bulk" && !w.live:
			t.Fatalf("%s does not wait in bulk, and no live event has asked for it: %v", d.GetId(), standing(next))
		}
	}
}

func (w *world) ask(state *orderv1.State, flows []plan.Flow) {
	for _, flow := range flows {
		if holds, err := when(flow.Name, state.GetOrder()); err != nil || !holds {
			continue
		}
		for _, s := range flow.Steps {
			w.asked[flow.Name+"."+s.Name] = state.GetRevision()
		}
	}
}

// publish is DISPATCH: it takes each delivery once, and the dispatcher absorbs
// what it has closed.
func (w *world) publish(t *rapid.T, d *orderv1.Delivery) {
	id := order.DispatchIDOf(w.state.GetKey(), d)
	if w.sent[id] != nil {
		w.sent[id].delivery.Lane = d.GetLane() // the same one, in whatever lane
		return
	}
	for other, s := range w.sent {
		if !s.closed && s.delivery.GetConnector() == d.GetConnector() {
			t.Fatalf("%s and %s are open at %s", other, id, d.GetConnector())
		}
	}
	for _, after := range d.GetAfter() {
		before := w.newest(after)
		if w.cancelledOut(after) {
			if !order.Has(w.state, d.GetFlow(), d.GetStep(), d.GetConnector()) && !w.underWay(d) {
				t.Fatalf("%s opens after %s, which the cancellation skipped, and its system has nothing", d.GetId(), after)
			}
			continue
		}
		switch superseded := before == nil || w.ended(after, orderv1.DeliveryStatus_DELIVERY_STATUS_SUPERSEDED); {
		case superseded && w.holds[flowStep(after)] == 0:
			t.Fatalf("%s opens before %s, which nothing has delivered", d.GetId(), after)
		case !superseded && (!before.closed || before.held || before.skipped):
			t.Fatalf("%s opens before %s is delivered", d.GetId(), after)
		}
	}
	if p := w.newest(d.GetPredecessor()); p != nil && (!p.closed || p.held) &&
		!w.ended(d.GetPredecessor(), orderv1.DeliveryStatus_DELIVERY_STATUS_SUPERSEDED, orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED) {
		t.Fatalf("%s opens before its predecessor %s", d.GetId(), d.GetPredecessor())
	}
	w.sent[id] = &sent{delivery: proto.CloneOf(d)}
}

// newest returns a delivery as it was sent last, by its id in the state.
func (w *world) newest(id string) *sent {
	base := order.DispatchID(w.state.GetKey(), id)
	found := w.sent[base]
	for n := 1; w.sent[fmt.Sprint(base, "-r", n)] != nil; n++ {
		found = w.sent[fmt.Sprint(base, "-r", n)]
	}
	return found
}

// ended reports whether a delivery that was released ended in one of these ways
// before it was sent again.
func (w *world) ended(id string, how ...orderv1.DeliveryStatus) bool {
	return slices.ContainsFunc(w.state.GetDeliveries(), func(d *orderv1.Delivery) bool {
		return d.GetId() == id && slices.Contains(how, d.GetStatus())
	})
}

// cancelledOut reports whether the cancellation has skipped a delivery.
func (w *world) cancelledOut(id string) bool {
	return slices.ContainsFunc(w.state.GetDeliveries(), func(d *orderv1.Delivery) bool { return d.GetId() == id && d.GetCancelledOut() })
}

// underWay reports whether the step or the connector of a delivery had another call
// before: whether that had an effect was not known when d was set free.
func (w *world) underWay(d *orderv1.Delivery) bool {
	for _, s := range w.sent {
		if s.delivery.GetId() != d.GetId() && (step(s.delivery) == step(d) || s.delivery.GetConnector() == d.GetConnector()) {
			return true
		}
	}
	return false
}

// baseOf returns the id in the state of what was sent.
func (w *world) baseOf(t *rapid.T, sent string) string {
	_, id, err := order.SplitDispatchID(sent)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// release lets go of a held delivery, maybe with the word that it had arrived.
func (w *world) release(t *rapid.T, id string) {
	w.inputs = append(w.inputs, input{release: &eventv1.Release{
		Key: w.state.GetKey(), DeliveryId: id, By: "somebody", Reason: "mended", AskedAt: timestamppb.New(noon),
		Resolution: rapid.SampledFrom([]eventv1.Resolution{
			eventv1.Resolution_RESOLUTION_UNSPECIFIED, eventv1.Resolution_RESOLUTION_NOT_SENT, eventv1.Resolution_RESOLUTION_SENT,
		}).Draw(t, "resolution"),
	}})
}

func flowStep(id string) string {
	return id[:strings.LastIndexByte(id, '.')]
}

// pending returns the ids of deliveries in a stage, sorted so that a seed
// repeats.
func (w *world) pending(in func(*sent) bool) []string {
	var ids []string
	for id, s := range w.sent {
		if in(s) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func unclaimed(s *sent) bool { return !s.closed && s.claimed == 0 }
func claimed(s *sent) bool   { return !s.closed && s.claimed > 0 }
func inHold(s *sent) bool    { return s.held }

func (w *world) claim(t *rapid.T, id string) {
	s := w.sent[id]
	if takes, err := when(s.delivery.GetFlow(), w.state.GetOrder()); err != nil || !takes {
		s.closed, s.skipped = true, true
		w.answer(id, dispatchv1.Outcome_OUTCOME_SKIPPED, 0)
		return
	}
	if d := s.delivery; order.Annuls(w.state, d.GetFlow(), d.GetStep(), d.GetConnector()) {
		if w.holds[step(d)] > 0 {
			t.Fatalf("%s is not told of the cancellation of what it has: %v", id, standing(w.state))
		}
		s.closed, s.skipped = true, true
		w.answer(id, dispatchv1.Outcome_OUTCOME_SKIPPED, 0)
		w.inputs[len(w.inputs)-1].result.Cause = &dispatchv1.Cause{Code: order.CauseCancelled}
		return
	}
	s.claimed = w.state.GetRevision()
	if s.claimed < w.holds[step(s.delivery)] {
		t.Fatalf("%s goes back to revision %d", id, s.claimed)
	}
}

func (w *world) deliver(id string) {
	s := w.sent[id]
	s.closed, s.held = true, false
	w.holds[step(s.delivery)] = max(w.holds[step(s.delivery)], s.claimed)
	w.answer(id, dispatchv1.Outcome_OUTCOME_DELIVERED, s.claimed)
}

func (w *world) answer(id string, outcome dispatchv1.Outcome, revision int64) {
	w.inputs = append(w.inputs, input{result: &dispatchv1.Result{
		DeliveryId: id, Key: w.state.GetKey(), Outcome: outcome, Revision: revision, SettledAt: timestamppb.New(noon),
	}})
}

// send lets an event arrive: any version up to a new one, in any order.
func (w *world) send(t *rapid.T) {
	w.events++
	cancelled := map[bool]*timestamppb.Timestamp{true: timestamppb.New(noon)}[rapid.IntRange(0, 3).Draw(t, "cancelled") == 0]
	version := max(0, w.events-rapid.IntRange(0, 3).Draw(t, "late by"))
	w.inputs = append(w.inputs, input{
		id: fmt.Sprint("event-", w.events), topic: rapid.IntRange(0, 5).Draw(t, "topic"), bulk: rapid.Bool().Draw(t, "bulk"),
		event: &orderv1.Order{
			Source: "shopify", Id: "5001", UpdatedAt: timestamppb.New(noon.Add(time.Duration(version) * time.Second)),
			Note: rapid.SampledFrom([]string{"a", "b", "broken"}).Draw(t, "note"),
			Test: rapid.IntRange(0, 5).Draw(t, "test") == 0, CancelledAt: cancelled,
		},
	})
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{flows: drawFlows(t), sent: map[string]*sent{}, asked: map[string]int64{}, holds: map[string]int64{}}
		alternative := drawFlows(t)
		t.Repeat(map[string]func(*rapid.T){
			"event": func(t *rapid.T) { w.send(t) },
			"repeat": func(t *rapid.T) {
				if len(w.inputs) == 0 {
					t.Skip("nothing to repeat")
				}
				w.inputs = append(w.inputs, rapid.SampledFrom(w.inputs).Draw(t, "again"))
			},
			"read": func(t *rapid.T) {
				if len(w.inputs) == 0 {
					t.Skip("nothing to read")
				}
				w.read(t, rapid.IntRange(0, len(w.inputs)-1).Draw(t, "input"), rapid.SampledFrom([]int{99, 99, 0, 1, 2}).Draw(t, "writes"))
			},
			"claim": func(t *rapid.T) {
				if ids := w.pending(unclaimed); len(ids) > 0 {
					w.claim(t, rapid.SampledFrom(ids).Draw(t, "delivery"))
				}
			},
			"deliver": func(t *rapid.T) {
				if ids := w.pending(claimed); len(ids) > 0 {
					w.deliver(rapid.SampledFrom(ids).Draw(t, "delivery"))
				}
			},
			"hold": func(t *rapid.T) {
				if ids := w.pending(claimed); len(ids) > 0 {
					id := rapid.SampledFrom(ids).Draw(t, "delivery")
					w.sent[id].closed, w.sent[id].held = true, true
					w.answer(id, dispatchv1.Outcome_OUTCOME_HELD, 0)
				}
			},
			"release a held one": func(t *rapid.T) {
				if ids := w.pending(inHold); len(ids) > 0 {
					w.release(t, rapid.SampledFrom(ids).Draw(t, "delivery"))
				}
			},
			"change the catalog": func(*rapid.T) { w.flows, alternative = alternative, w.flows },
			"":                   func(t *rapid.T) { w.check(t) },
		})
		w.drain(t)
	})
}

// check holds in every state that was written.
func (w *world) check(t *rapid.T) {
	open := map[string]int{}
	seen := map[string]bool{}
	for _, d := range w.state.GetDeliveries() {
		if seen[d.GetId()] {
			t.Fatalf("%s is there twice", d.GetId())
		}
		seen[d.GetId()] = true
		if d.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN {
			open[d.GetConnector()]++
		}
	}
	for connector, count := range open {
		if count > 1 {
			t.Fatalf("%d deliveries open at %s: %v", count, connector, standing(w.state))
		}
	}
}

// drain reads and answers everything, and judges where the order ended.
func (w *world) drain(t *rapid.T) {
	for range 10_000 {
		w.check(t)
		switch unclaimed, claimed := w.pending(unclaimed), w.pending(claimed); {
		case len(w.inputs) > 0:
			w.read(t, 0, 99)
		case len(unclaimed) > 0:
			w.claim(t, unclaimed[0])
		case len(claimed) > 0:
			w.deliver(claimed[0])
		default:
			w.judge(t)
			return
		}
	}
	t.Fatalf("it never ends: %v", standing(w.state))
}

func (w *world) judge(t *rapid.T) {
	excused := map[string]bool{}
	heldAt := map[string]bool{}
	byID := map[string]*orderv1.Delivery{}
	for _, d := range w.state.GetDeliveries() {
		byID[d.GetId()] = d
		switch d.GetStatus() {
		case orderv1.DeliveryStatus_DELIVERY_STATUS_HELD:
			heldAt[d.GetConnector()] = true
			excused[step(d)] = true
		case orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED:
			excused[step(d)] = true
		case orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN:
			t.Fatalf("%s is open and was answered: %v", d.GetId(), standing(w.state))
		default:
		}
	}
	for _, d := range w.state.GetDeliveries() {
		if d.GetStatus() != orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING {
			continue
		}
		excused[step(d)] = true
		waits := heldAt[d.GetConnector()]
		for _, id := range append(slices.Clone(d.GetAfter()), d.GetPredecessor()) {
			status := byID[id].GetStatus()
			waits = waits || status == orderv1.DeliveryStatus_DELIVERY_STATUS_HELD || status == orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING
		}
		if !waits || len(heldAt) == 0 {
			t.Fatalf("%s waits for nothing that is held: %v", d.GetId(), standing(w.state))
		}
	}
	for name, revision := range w.asked {
		if w.holds[name] < revision && !excused[name] {
			t.Fatalf("%s ends at revision %d of %d: %v", name, w.holds[name], revision, standing(w.state))
		}
	}
}
