package plan_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// cancel returns the state after an event of the order as a cancelled one.
func cancel(state *orderv1.State) *orderv1.State {
	o := revise(state).GetOrder()
	o.CancelledAt = timestamppb.New(noon.Add(time.Minute))
	next, _ := order.Fold(state, o, order.Event{ID: fmt.Sprint("cancelled-", state.GetRevision()), Now: noon})
	return next
}

// cancelledOut returns the state after the dispatcher skipped a delivery because the
// order was cancelled.
func cancelledOut(t *testing.T, state *orderv1.State, id string) *orderv1.State {
	t.Helper()
	next, closing := plan.Close(state, &dispatchv1.Result{
		DeliveryId: order.DispatchID(state.GetKey(), id), Outcome: skipped, Revision: state.GetRevision(),
		Cause: &dispatchv1.Cause{Code: order.CauseCancelled, Detail: "the order was cancelled before it had any of it"},
	})
	if closing != plan.ClosingDone {
		t.Fatalf("the skip of %s did nothing (%d)", id, closing)
	}
	return next
}

// taxed is the flow toERP after an edit that put a step before the one it had.
func taxed() plan.Flow {
	flow := toERP("orders")
	flow.Steps[0].After = []string{"tax"}
	flow.Steps = append([]plan.Step{{Name: "tax", Connector: "tax", Operation: "put"}}, flow.Steps...)
	return flow
}

// What the cancellation skips at one system keeps no other from being told that has the
// order, and makes nothing at one that has not.
func TestWhatComesAfterAStepThatTheCancellationSkips(t *testing.T) {
	for name, test := range map[string]struct {
		run  func(t *testing.T) *orderv1.State
		want []string
		// skips are those of the newest change, for the log.
		skips []string
	}{
		"it has nothing either": {func(t *testing.T) *orderv1.State {
			return cancelledOut(t, cancel(decide(t, revise(nil), taxed())), "orders.tax.1")
		}, []string{"orders.tax.1 SKIPPED", "orders.erp.1 SKIPPED"}, []string{"orders.tax.1", "orders.erp.1"}},

		"it has the order, and the step before it is new": {func(t *testing.T) *orderv1.State {
			state := closeDelivery(t, decide(t, revise(nil), toERP("orders")), "orders.erp.1", delivered, 1)
			state = decide(t, cancel(decide(t, revise(state), taxed())), taxed())
			return cancelledOut(t, cancelledOut(t, state, "orders.tax.2"), "orders.tax.3")
		}, []string{"orders.erp.1 DELIVERED", "orders.tax.2 SKIPPED", "orders.tax.3 SKIPPED", "orders.erp.2 OPEN"}, []string{"orders.tax.2", "orders.tax.3"}},

		"it has the order, two steps before are new": {func(t *testing.T) *orderv1.State {
			state := closeDelivery(t, decide(t, revise(nil), toERP("orders")), "orders.erp.1", delivered, 1)
			flow := taxed()
			flow.Steps[1].After = []string{"wms"}
			flow.Steps = append(flow.Steps, plan.Step{Name: "wms", Connector: "wms", Operation: "put", After: []string{"tax"}})
			return cancelledOut(t, cancel(decide(t, revise(state), flow)), "orders.tax.2")
		}, []string{"orders.erp.1 DELIVERED", "orders.tax.2 SKIPPED", "orders.wms.2 SKIPPED", "orders.erp.2 OPEN"}, []string{"orders.tax.2", "orders.wms.2"}},

		"a call to it is under way, and the step before it is new": {func(t *testing.T) *orderv1.State {
			state := decide(t, cancel(decide(t, revise(decide(t, revise(nil), toERP("orders"))), taxed())), taxed())
			state = cancelledOut(t, cancelledOut(t, state, "orders.tax.2"), "orders.tax.3")
			return closeDelivery(t, state, "orders.erp.1", delivered, 1)
		}, []string{"orders.erp.1 DELIVERED", "orders.tax.2 SKIPPED", "orders.tax.3 SKIPPED", "orders.erp.2 OPEN"}, []string{"orders.tax.2", "orders.tax.3"}},

		"it has the order, and the condition skips": {func(t *testing.T) *orderv1.State {
			state := closeDelivery(t, decide(t, revise(nil), toERP("orders")), "orders.erp.1", delivered, 1)
			return closeDelivery(t, cancel(decide(t, revise(state), taxed())), "orders.tax.2", skipped, 3)
		}, []string{"orders.erp.1 DELIVERED", "orders.tax.2 SKIPPED", "orders.erp.2 SKIPPED"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			state := test.run(t)
			if diff := cmp.Diff(test.want, standing(state)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var skips []string
			for _, d := range plan.CancelledOut(nil, state) {
				skips = append(skips, d.GetId())
				if d.GetCause() == "" {
					t.Errorf("%s does not say why", d.GetId())
				}
			}
			if diff := cmp.Diff(test.skips, skips); diff != "" {
				t.Errorf("skipped for the cancellation (-want +got):\n%s", diff)
			}
			if again := plan.CancelledOut(state, state); len(again) > 0 {
				t.Errorf("what is known is told again: %v", again)
			}
		})
	}
}

// Whether the cancellation annuls a step goes by who asked for it first.
func TestWhatACancellationAnnuls(t *testing.T) {
	flow := toERP("orders")
	refunds := func(_ string, o *orderv1.Order) (bool, error) { return o.GetCancelledAt() != nil, nil }
	undecided := func(_ string, o *orderv1.Order) (bool, error) {
		if o.GetCancelledAt() == nil {
			return false, errors.New("no such key")
		}
		return true, nil
	}
	created := revise(nil).GetOrder()
	by := func(t *testing.T, state *orderv1.State, said *orderv1.Order, when plan.Condition, flow plan.Flow) *orderv1.State {
		t.Helper()
		next, failures := plan.Decide(state, plan.Asking{Said: said}, []plan.Flow{flow}, when)
		if len(failures) > 0 {
			t.Fatal(failures)
		}
		return next
	}
	for name, test := range map[string]struct {
		run  func(t *testing.T) *orderv1.State
		want bool
	}{
		"asked for, then cancelled": {func(t *testing.T) *orderv1.State {
			return cancel(decide(t, revise(nil), flow))
		}, true},
		"and edited as a cancelled one": {func(t *testing.T) *orderv1.State {
			return decide(t, cancel(decide(t, cancel(decide(t, revise(nil), flow)), flow)), flow)
		}, true},
		"and delivered before": {func(t *testing.T) *orderv1.State {
			return cancel(closeDelivery(t, decide(t, revise(nil), flow), "orders.erp.1", delivered, 1))
		}, false},
		"not cancelled": {func(t *testing.T) *orderv1.State {
			return decide(t, revise(nil), flow)
		}, false},
		"first asked for by the cancellation": {func(t *testing.T) *orderv1.State {
			return decide(t, cancel(revise(nil)), flow)
		}, false},
		"and by more events of the cancelled order": {func(t *testing.T) *orderv1.State {
			return decide(t, cancel(decide(t, cancel(revise(nil)), flow)), flow)
		}, false},
		"and by its creation, which comes late": {func(t *testing.T) *orderv1.State {
			return by(t, decide(t, cancel(revise(nil)), flow), created, always, flow)
		}, false},
		"and by its creation, while it waits": {func(t *testing.T) *orderv1.State {
			return by(t, decide(t, cancel(revise(nil)), taxed()), created, always, taxed())
		}, false},
		"its creation comes after the cancellation, which the flow does not take": {func(t *testing.T) *orderv1.State {
			return by(t, cancel(revise(nil)), created, always, flow)
		}, true},
		"which asks for a refund, as the order is now": {func(t *testing.T) *orderv1.State {
			return by(t, cancel(revise(nil)), created, refunds, flow)
		}, false},
		"which cannot be decided": {func(t *testing.T) *orderv1.State {
			return by(t, cancel(revise(nil)), created, undecided, flow)
		}, false},
		"asked for before this was recorded": {func(t *testing.T) *orderv1.State {
			state := decide(t, revise(nil), flow)
			state.Deliveries[0].AskedUncancelled = false
			return decide(t, cancel(state), flow)
		}, false},
		"asked for long ago": {func(t *testing.T) *orderv1.State {
			state := decide(t, revise(nil), flow)
			for range 300 {
				state = decide(t, cancel(state), flow)
				for _, d := range plan.Open(state) {
					state = cancelledOut(t, state, d.GetId())
				}
			}
			return state
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			state := test.run(t)
			if got := order.Annuls(state, "orders", "erp", "netsuite"); got != test.want {
				t.Errorf("annulled: %v, want %v, with %v", got, test.want, state.GetDeliveries())
			}
		})
	}
}
