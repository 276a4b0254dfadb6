package plan_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// toBoth sends an order to the WMS first and to the ERP after it.
func toBoth() plan.Flow {
	return plan.Flow{Name: "orders", Steps: []plan.Step{
		{Name: "wms", Connector: "wms", Operation: "createOrder", Lane: "standard"},
		{Name: "erp", Connector: "netsuite", Operation: "upsertSalesOrder", Lane: "express", After: []string{"wms"}},
	}}
}

// toERP is a second flow with one step at the same ERP.
func toERP(name string) plan.Flow {
	return plan.Flow{Name: name, Steps: []plan.Step{{Name: "erp", Connector: "netsuite", Operation: "upsertSalesOrder", Lane: "bulk"}}}
}

func always(string, *orderv1.Order) (bool, error) { return true, nil }

// revise returns the state after an event that changed the order.
func revise(state *orderv1.State) *orderv1.State {
	revision := state.GetRevision() + 1
	next, _ := order.Fold(state, &orderv1.Order{
		Source: "shopify", Id: "5001", Note: fmt.Sprint("version ", revision),
		UpdatedAt: timestamppb.New(noon.Add(time.Duration(revision) * time.Second)),
	}, order.Event{ID: fmt.Sprint("event-", revision), Now: noon})
	return next
}

func decide(t *testing.T, state *orderv1.State, flows ...plan.Flow) *orderv1.State {
	t.Helper()
	next, failures := plan.Decide(state, plan.Asking{Said: state.GetOrder(), Trace: plan.Trace{Parent: "parent", State: "state"}}, flows, always)
	if len(failures) > 0 {
		t.Fatal(failures)
	}
	return next
}

// closeDelivery returns the state after a result, and checks that the same
// result again changes nothing.
func closeDelivery(t *testing.T, state *orderv1.State, id string, outcome dispatchv1.Outcome, revision int64) *orderv1.State {
	t.Helper()
	result := &dispatchv1.Result{
		DeliveryId: order.DispatchID(state.GetKey(), id), Key: state.GetKey(), Outcome: outcome, Revision: revision,
		SettledAt: timestamppb.New(noon.Add(time.Hour)), Reference: "SO-1",
	}
	if outcome == dispatchv1.Outcome_OUTCOME_HELD {
		result.Cause = &dispatchv1.Cause{Code: "unknown-configuration", Detail: "no such finish"}
	}
	next, closing := plan.Close(state, result)
	if closing != plan.ClosingDone {
		t.Fatalf("result of %s did nothing (%d)", id, closing)
	}
	again, closing := plan.Close(next, result)
	if closing != plan.ClosingRepeated || !proto.Equal(again, next) {
		t.Fatalf("the same result of %s again changed the state", id)
	}
	return next
}

const (
	delivered = dispatchv1.Outcome_OUTCOME_DELIVERED
	held      = dispatchv1.Outcome_OUTCOME_HELD
	skipped   = dispatchv1.Outcome_OUTCOME_SKIPPED
)

// standing is every delivery with its status, in order: "orders.wms.1 OPEN".
func standing(state *orderv1.State) []string {
	var lines []string
	for _, d := range state.GetDeliveries() {
		line := d.GetId() + " " + strings.TrimPrefix(d.GetStatus().String(), "DELIVERY_STATUS_")
		if d.GetStatus() == orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING {
			line += fmt.Sprintf(" r%d", d.GetRevision())
			if d.GetPredecessor() != "" {
				line += " behind " + d.GetPredecessor()
			}
			if len(d.GetAfter()) > 0 {
				line += " after " + strings.Join(d.GetAfter(), ",")
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func TestPlans(t *testing.T) {
	for name, test := range map[string]struct {
		run  func(t *testing.T) *orderv1.State
		want []string
	}{
		"a step after another waits for it": {func(t *testing.T) *orderv1.State {
			return decide(t, revise(nil), toBoth())
		}, []string{"orders.wms.1 OPEN", "orders.erp.1 WAITING r1 after orders.wms.1"}},

		"and opens when that is delivered": {func(t *testing.T) *orderv1.State {
			return closeDelivery(t, decide(t, revise(nil), toBoth()), "orders.wms.1", delivered, 1)
		}, []string{"orders.wms.1 DELIVERED", "orders.erp.1 OPEN"}},

		"a held step holds what comes after it": {func(t *testing.T) *orderv1.State {
			return closeDelivery(t, decide(t, revise(nil), toBoth()), "orders.wms.1", held, 0)
		}, []string{"orders.wms.1 HELD", "orders.erp.1 WAITING r1 after orders.wms.1"}},

		"a held delivery that a person releases frees it": {func(t *testing.T) *orderv1.State {
			state := closeDelivery(t, decide(t, revise(nil), toBoth()), "orders.wms.1", held, 0)
			return closeDelivery(t, state, "orders.wms.1", delivered, 1)
		}, []string{"orders.wms.1 DELIVERED", "orders.erp.1 OPEN"}},

		"a skipped step skips what comes after it": {func(t *testing.T) *orderv1.State {
			return closeDelivery(t, decide(t, revise(nil), toBoth()), "orders.wms.1", skipped, 0)
		}, []string{"orders.wms.1 SKIPPED", "orders.erp.1 SKIPPED"}},

		"the same revision asks for nothing new": {func(t *testing.T) *orderv1.State {
			return decide(t, decide(t, revise(nil), toBoth()), toBoth())
		}, []string{"orders.wms.1 OPEN", "orders.erp.1 WAITING r1 after orders.wms.1"}},

		"an edit follows the open delivery, and lifts the waiting one": {func(t *testing.T) *orderv1.State {
			return decide(t, revise(decide(t, revise(nil), toBoth())), toBoth())
		}, []string{"orders.wms.1 OPEN", "orders.wms.2 WAITING r2 behind orders.wms.1", "orders.erp.1 WAITING r2 after orders.wms.2"}},

		"many edits make one follow-up": {func(t *testing.T) *orderv1.State {
			state := decide(t, revise(nil), toERP("edits"))
			for range 5 {
				state = decide(t, revise(state), toERP("edits"))
			}
			return state
		}, []string{"edits.erp.1 OPEN", "edits.erp.2 WAITING r6 behind edits.erp.1"}},

		"a follow-up is superseded when its revision went along": {func(t *testing.T) *orderv1.State {
			state := decide(t, revise(decide(t, revise(nil), toBoth())), toBoth())
			return closeDelivery(t, state, "orders.wms.1", delivered, 2)
		}, []string{"orders.wms.1 DELIVERED", "orders.wms.2 SUPERSEDED", "orders.erp.1 OPEN"}},

		"and goes when it did not": {func(t *testing.T) *orderv1.State {
			state := decide(t, revise(decide(t, revise(nil), toBoth())), toBoth())
			return closeDelivery(t, state, "orders.wms.1", delivered, 1)
		}, []string{"orders.wms.1 DELIVERED", "orders.wms.2 OPEN", "orders.erp.1 WAITING r2 after orders.wms.2"}},

		"an edit after all is delivered is delivered again": {func(t *testing.T) *orderv1.State {
			state := closeDelivery(t, decide(t, revise(nil), toERP("edits")), "edits.erp.1", delivered, 1)
			return decide(t, revise(state), toERP("edits"))
		}, []string{"edits.erp.1 DELIVERED", "edits.erp.2 OPEN"}},

		"an edit that went along unasked is not delivered again": {func(t *testing.T) *orderv1.State {
			state := revise(decide(t, revise(nil), toERP("edits")))
			return decide(t, closeDelivery(t, state, "edits.erp.1", delivered, 2), toERP("edits"))
		}, []string{"edits.erp.1 DELIVERED"}},

		"two flows take turns at one connector": {func(t *testing.T) *orderv1.State {
			return decide(t, revise(nil), toERP("a"), toERP("b"), toERP("c"))
		}, []string{"a.erp.1 OPEN", "b.erp.1 WAITING r1 behind a.erp.1", "c.erp.1 WAITING r1 behind b.erp.1"}},

		"and a held one stops those behind it": {func(t *testing.T) *orderv1.State {
			return closeDelivery(t, decide(t, revise(nil), toERP("a"), toERP("b")), "a.erp.1", held, 0)
		}, []string{"a.erp.1 HELD", "b.erp.1 WAITING r1 behind a.erp.1"}},

		"an edit of a held order waits behind it": {func(t *testing.T) *orderv1.State {
			state := closeDelivery(t, decide(t, revise(nil), toBoth()), "orders.wms.1", held, 0)
			return decide(t, revise(state), toBoth())
		}, []string{"orders.wms.1 HELD", "orders.wms.2 WAITING r2 behind orders.wms.1", "orders.erp.1 WAITING r2 after orders.wms.2"}},

		"an outcome that steps do not have is held": {func(t *testing.T) *orderv1.State {
			return closeDelivery(t, decide(t, revise(nil), toERP("a")), "a.erp.1", dispatchv1.Outcome_OUTCOME_EXPIRED, 0)
		}, []string{"a.erp.1 HELD"}},

		"steps may be written in any order": {func(t *testing.T) *orderv1.State {
			flow := toBoth()
			flow.Steps[0], flow.Steps[1] = flow.Steps[1], flow.Steps[0]
			return decide(t, revise(nil), flow)
		}, []string{"orders.wms.1 OPEN", "orders.erp.1 WAITING r1 after orders.wms.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, standing(test.run(t))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Results of one delivery may be read in another order than they were written.
func TestAnOlderResultUndoesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		first, late dispatchv1.Outcome
		closing     plan.Closing
		want        string
	}{
		"delivered is final":                        {delivered, held, plan.ClosingRepeated, "a.erp.1 DELIVERED"},
		"also for a skip":                           {delivered, skipped, plan.ClosingRepeated, "a.erp.1 DELIVERED"},
		"skipped stays when an older hold is read":  {skipped, held, plan.ClosingRepeated, "a.erp.1 SKIPPED"},
		"skipped gives way to a delivery":           {skipped, delivered, plan.ClosingDone, "a.erp.1 DELIVERED"},
		"held gives way to a person who drops it":   {held, skipped, plan.ClosingDone, "a.erp.1 SKIPPED"},
		"held gives way to one who has it released": {held, delivered, plan.ClosingDone, "a.erp.1 DELIVERED"},
	} {
		t.Run(name, func(t *testing.T) {
			state := closeDelivery(t, decide(t, revise(nil), toERP("a")), "a.erp.1", test.first, 1)
			next, closing := plan.Close(state, &dispatchv1.Result{
				DeliveryId: order.DispatchID(state.GetKey(), "a.erp.1"), Outcome: test.late, Revision: 1,
			})
			if got := standing(next)[0]; closing != test.closing || got != test.want {
				t.Errorf("%d and %q, want %d and %q", closing, got, test.closing, test.want)
			}
		})
	}
}

func TestDecideReportsTheFlowThatFailsAndPlansTheOthers(t *testing.T) {
	broken := errors.New("no such key: finish")
	state, failures := plan.Decide(revise(nil), plan.Asking{}, []plan.Flow{toERP("a"), toERP("b"), toERP("c")},
		func(flow string, _ *orderv1.Order) (bool, error) {
			if flow == "b" {
				return false, broken
			}
			return flow == "a", nil
		})
	if len(failures) != 1 || failures[0].Flow != "b" || !errors.Is(failures[0], broken) {
		t.Errorf("failures %v, want flow b with its error", failures)
	}
	if diff := cmp.Diff([]string{"a.erp.1 OPEN"}, standing(state)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecideRefusesStepsThatWaitForEachOther(t *testing.T) {
	circle := plan.Flow{Name: "circle", Steps: []plan.Step{{Name: "a", After: []string{"b"}}, {Name: "b", After: []string{"a"}}}}
	missing := plan.Flow{Name: "missing", Steps: []plan.Step{{Name: "a", After: []string{"nowhere"}}}}
	state, failures := plan.Decide(revise(nil), plan.Asking{}, []plan.Flow{circle, missing}, always)
	if len(failures) != 2 || len(state.GetDeliveries()) != 0 {
		t.Errorf("failures %v and deliveries %v; want two failures and no delivery", failures, standing(state))
	}
}

func TestDeliveryCarriesWhatItIs(t *testing.T) {
	state := closeDelivery(t, decide(t, revise(nil), toBoth()), "orders.wms.1", held, 0)
	want := &orderv1.Delivery{
		Id: "orders.wms.1", Flow: "orders", Step: "wms", Connector: "wms", Lane: "standard", Operation: "createOrder",
		Revision: 1, Status: orderv1.DeliveryStatus_DELIVERY_STATUS_HELD, Cause: "unknown-configuration: no such finish",
		SettledAt: timestamppb.New(noon.Add(time.Hour)), Reference: "SO-1", Traceparent: "parent", Tracestate: "state",
		AskedUncancelled: true,
	}
	if diff := cmp.Diff(want, state.GetDeliveries()[0], protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClosedDeliveriesArePruned(t *testing.T) {
	var state *orderv1.State
	for revision := int64(1); revision <= 300; revision++ {
		state = decide(t, revise(state), toBoth())
		state = closeDelivery(t, state, fmt.Sprint("orders.wms.", revision), delivered, revision)
		outcome := skipped
		if revision == 7 {
			outcome = delivered
		}
		state = closeDelivery(t, state, fmt.Sprint("orders.erp.", revision), outcome, revision)
	}
	lines := standing(state)
	if len(lines) > 64 {
		t.Errorf("%d deliveries kept", len(lines))
	}
	if !strings.Contains(strings.Join(lines, "\n"), "orders.erp.7 DELIVERED") {
		t.Errorf("what the ERP holds was forgotten: %v", lines)
	}
	late := &dispatchv1.Result{DeliveryId: order.DispatchID(state.GetKey(), "orders.wms.3"), Outcome: delivered, Revision: 3}
	if _, closing := plan.Close(state, late); closing != plan.ClosingRepeated {
		t.Errorf("late result of a pruned delivery is %d, want repeated", closing)
	}
	for _, id := range []string{"shopify_5001_orders_wms_301", "shopify_5002_orders_wms_3", "shopify_5001_other_wms_3", "readStock-1"} {
		if _, closing := plan.Close(state, &dispatchv1.Result{DeliveryId: id, Outcome: delivered}); closing != plan.ClosingUnknown {
			t.Errorf("result of %s is %d, want unknown", id, closing)
		}
	}
}
