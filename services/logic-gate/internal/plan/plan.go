// Package plan decides what an order asks of the outside world: which
// deliveries an event leads to, which of them may go now, and what a result sets
// free. It is pure: states in, states out; it never changes what it was given,
// and the same input leads to the same deliveries under the same ids.
//
// Three rules hold in every state that it returns. At most one delivery of an
// order is open at one connector. A delivery opens only when all that it comes
// after are delivered. A held delivery keeps what follows it at its connector
// waiting, and nothing else.
package plan

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
)

// Flow is what planning needs of a flow that takes the event at hand.
type Flow struct {
	Name  string
	Steps []Step
}

// Step is one delivery that a flow asks for.
type Step struct {
	Name      string
	Connector string
	Operation string
	Lane      string
	// BulkLane is where it waits that one event of many asks for; empty for Lane.
	BulkLane string
	// After names steps of the same flow.
	After []string
}

// Condition says whether a flow takes an order.
type Condition func(flow string, o *orderv1.Order) (bool, error)

// Asking is the event that flows are asked for.
type Asking struct {
	// Said is what it says, which may be older than the state: where the order was not
	// cancelled and wanted by then, its steps were asked for before it was cancelled,
	// however late the event comes.
	Said *orderv1.Order
	// Bulk: it is one of many, which live ones overtake.
	Bulk  bool
	Trace Trace
}

// Trace is the W3C trace context that new deliveries remember.
type Trace struct {
	Parent string
	State  string
}

// FlowError is a flow that could not be decided. The other flows were.
type FlowError struct {
	Flow string
	Err  error
}

// Error names the flow and what is wrong.
func (e FlowError) Error() string { return fmt.Sprintf("flow %q: %v", e.Flow, e.Err) }

// Unwrap returns the reason alone.
func (e FlowError) Unwrap() error { return e.Err }

// Decide returns the state with what the flows ask for at the order's present
// revision, and the flows that could not be decided.
//
// A step without a delivery gets one. One whose newest delivery asked for an
// older revision gets a follow-up, because that delivery may have been claimed,
// and so mapped, before the order changed; Close supersedes the follow-up if it
// had not. While a delivery waits it takes over the newer revision instead: it
// is mapped at its claim, so one call carries all edits that were made by then.
//
// Where a flow takes a live event, what the order has in bulk lanes goes on in the lanes
// of its steps: its newest version is asked for now, and nothing of it can go before
// what it has open at a connector.
func Decide(state *orderv1.State, asking Asking, flows []Flow, when Condition) (*orderv1.State, []FlowError) {
	next := proto.CloneOf(state)
	var failures []FlowError
	for _, flow := range flows {
		holds, err := when(flow.Name, next.GetOrder())
		if err != nil {
			failures = append(failures, FlowError{flow.Name, err})
			continue
		}
		if !holds {
			continue
		}
		steps, err := dependencyOrder(flow.Steps)
		if err != nil {
			failures = append(failures, FlowError{flow.Name, err})
			continue
		}
		uncancelled := next.GetOrder().GetCancelledAt() == nil
		late := !uncancelled && asking.Said.GetCancelledAt() == nil && wanted(when, flow.Name, asking.Said)
		for _, step := range steps {
			// Late, it counts only where nothing has asked for the step before it.
			first := late && newest(next, flow.Name, step.Name) == nil
			ask(next, flow.Name, step, asking, uncancelled || first)
		}
		if !asking.Bulk {
			hasten(next)
		}
	}
	release(next)
	return next, failures
}

// wanted says whether a flow takes what an event says. One that cannot be decided is
// not known to: then the cancelled order is sent, which loses nothing.
func wanted(when Condition, flow string, said *orderv1.Order) bool {
	holds, err := when(flow, said)
	return err == nil && holds
}

// Open returns the deliveries that DISPATCH has to hold, or had until they were
// closed there.
func Open(state *orderv1.State) []*orderv1.Delivery {
	var open []*orderv1.Delivery
	for _, d := range state.GetDeliveries() {
		if d.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN {
			open = append(open, d)
		}
	}
	return open
}

// Opened returns the deliveries that are open after and were not before, or were in
// another lane.
func Opened(before, after *orderv1.State) []*orderv1.Delivery {
	return slices.DeleteFunc(Open(after), func(d *orderv1.Delivery) bool {
		known := find(before, d.GetId())
		return known.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN && known.GetLane() == d.GetLane()
	})
}

// CancelledOut returns the deliveries that after skips for the order's cancellation and
// before did not.
func CancelledOut(before, after *orderv1.State) []*orderv1.Delivery {
	var found []*orderv1.Delivery
	for _, d := range after.GetDeliveries() {
		if d.GetCancelledOut() && !find(before, d.GetId()).GetCancelledOut() {
			found = append(found, d)
		}
	}
	return found
}

// ask makes sure that the step's newest delivery is for the present revision, and knows
// whether the step was asked for while the order was not cancelled: older deliveries,
// which say so, are forgotten one day.
func ask(state *orderv1.State, flow string, step Step, asking Asking, uncancelled bool) {
	var after []string
	for _, name := range step.After {
		if newest := newest(state, flow, name); newest != nil {
			after = append(after, newest.GetId())
		}
	}
	wanted := &orderv1.Delivery{
		Id:          order.DeliveryID(flow, step.Name, state.GetRevision()),
		Flow:        flow,
		Step:        step.Name,
		Connector:   step.Connector,
		Lane:        step.Lane,
		Operation:   step.Operation,
		After:       after,
		Revision:    state.GetRevision(),
		Status:      orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING,
		Traceparent: asking.Trace.Parent,
		Tracestate:  asking.Trace.State,

		AskedUncancelled: uncancelled || order.AskedUncancelled(state, flow, step.Name),
	}
	waiting := waiting(state, flow, step.Name)
	// What a live event has asked for stays where that put it.
	if live := waiting != nil && waiting.GetStepLane() == ""; asking.Bulk && !live {
		wanted.Lane, wanted.StepLane = cmp.Or(step.BulkLane, step.Lane), step.Lane
	}
	if waiting != nil {
		// Nobody outside has seen it: it follows the flow as it is now, and keeps
		// the id that others come after and the trace of what asked first.
		waiting.Revision = wanted.GetRevision()
		waiting.Connector, waiting.Operation = wanted.GetConnector(), wanted.GetOperation()
		waiting.Lane, waiting.StepLane = wanted.GetLane(), wanted.GetStepLane()
		waiting.After, waiting.AskedUncancelled = wanted.GetAfter(), wanted.GetAskedUncancelled()
		return
	}
	if covered(state, flow, step.Name) < wanted.GetRevision() {
		state.Deliveries = append(state.Deliveries, wanted)
	}
}

// hasten takes what waits or is open in a bulk lane to the lane of its step.
func hasten(state *orderv1.State) {
	for _, d := range state.GetDeliveries() {
		if d.GetStepLane() != "" && !isClosed(d) {
			d.Lane, d.StepLane = d.GetStepLane(), ""
		}
	}
}

// covered returns the newest revision that a step has delivered, was asked to
// deliver, or has skipped; 0 if it never was asked.
func covered(state *orderv1.State, flow, step string) int64 {
	var revision int64
	for _, d := range state.GetDeliveries() {
		if isOf(d, flow, step) {
			revision = max(revision, d.GetRevision(), d.GetDeliveredRevision())
		}
	}
	return revision
}

// newest returns the step's delivery for the newest revision, nil if it has none.
func newest(state *orderv1.State, flow, step string) *orderv1.Delivery {
	var found *orderv1.Delivery
	for _, d := range state.GetDeliveries() {
		if isOf(d, flow, step) && d.GetRevision() >= found.GetRevision() {
			found = d
		}
	}
	return found
}

// waiting returns the step's first delivery that waits. There are two where one was
// let out of the Error Hold ahead of its follow-up: the first goes first, with the
// newest order, and then supersedes the other.
func waiting(state *orderv1.State, flow, step string) *orderv1.Delivery {
	for _, d := range state.GetDeliveries() {
		if isOf(d, flow, step) && isWaiting(d) {
			return d
		}
	}
	return nil
}

func find(state *orderv1.State, id string) *orderv1.Delivery {
	for _, d := range state.GetDeliveries() {
		if d.GetId() == id {
			return d
		}
	}
	return nil
}

func isOf(d *orderv1.Delivery, flow, step string) bool {
	return d.GetFlow() == flow && d.GetStep() == step
}

func isWaiting(d *orderv1.Delivery) bool {
	return d.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING
}

// dependencyOrder returns the steps so that each stands behind what it comes
// after. Admission refuses flows where that cannot be; one that got past it is
// an error here, because its deliveries would wait forever.
func dependencyOrder(steps []Step) ([]Step, error) {
	ordered := make([]Step, 0, len(steps))
	done := make(map[string]bool, len(steps))
	for len(ordered) < len(steps) {
		before := len(ordered)
		for _, step := range steps {
			ready := !done[step.Name] && !slices.ContainsFunc(step.After, func(name string) bool { return !done[name] })
			if ready {
				ordered = append(ordered, step)
				done[step.Name] = true
			}
		}
		if len(ordered) == before {
			var stuck []string
			for _, step := range steps {
				if !done[step.Name] {
					stuck = append(stuck, step.Name)
				}
			}
			return nil, fmt.Errorf("steps %q come after each other or after steps that are not there", stuck)
		}
	}
	return ordered, nil
}
