package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// withBulk is toBoth at connectors with a lane for what is one of many.
func withBulk() plan.Flow {
	flow := toBoth()
	for i := range flow.Steps {
		flow.Steps[i].BulkLane = "bulk"
	}
	return flow
}

func decideBulk(t *testing.T, state *orderv1.State, flows ...plan.Flow) *orderv1.State {
	t.Helper()
	next, failures := plan.Decide(state, plan.Asking{Said: state.GetOrder(), Bulk: true}, flows, always)
	if len(failures) > 0 {
		t.Fatal(failures)
	}
	return next
}

// lanes is every delivery with its status and lane.
func lanes(state *orderv1.State) []string {
	var lines []string
	for _, d := range state.GetDeliveries() {
		lines = append(lines, strings.Join([]string{d.GetId(), strings.TrimPrefix(d.GetStatus().String(), "DELIVERY_STATUS_"), d.GetLane()}, " "))
	}
	return lines
}

func TestLanesOfManyAndOfOne(t *testing.T) {
	for name, test := range map[string]struct {
		run  func(t *testing.T) *orderv1.State
		want []string
	}{
		"one of many waits in bulk, and so does what comes after it": {func(t *testing.T) *orderv1.State {
			return closeDelivery(t, decideBulk(t, revise(nil), withBulk()), "orders.wms.1", delivered, 1)
		}, []string{"orders.wms.1 DELIVERED bulk", "orders.erp.1 OPEN bulk"}},

		"a live edit takes what is open and what waits along": {func(t *testing.T) *orderv1.State {
			return decide(t, revise(decideBulk(t, revise(nil), withBulk())), withBulk())
		}, []string{"orders.wms.1 OPEN standard", "orders.wms.2 WAITING standard", "orders.erp.1 WAITING express"}},

		"a live repetition does so too": {func(t *testing.T) *orderv1.State {
			return decide(t, decideBulk(t, revise(nil), withBulk()), withBulk())
		}, []string{"orders.wms.1 OPEN standard", "orders.erp.1 WAITING express"}},

		"a live event of another flow takes along what stands before it": {func(t *testing.T) *orderv1.State {
			return decide(t, decideBulk(t, revise(nil), withBulk()), toERP("other"))
		}, []string{"orders.wms.1 OPEN standard", "orders.erp.1 WAITING express", "other.erp.1 WAITING bulk"}},

		"one that no flow takes leaves it": {func(t *testing.T) *orderv1.State {
			return decide(t, decideBulk(t, revise(nil), withBulk()))
		}, []string{"orders.wms.1 OPEN bulk", "orders.erp.1 WAITING bulk"}},

		"one of many takes nothing back": {func(t *testing.T) *orderv1.State {
			return decideBulk(t, revise(decide(t, revise(nil), withBulk())), withBulk())
		}, []string{"orders.wms.1 OPEN standard", "orders.wms.2 WAITING bulk", "orders.erp.1 WAITING express"}},

		"without a lane for many all go as ever": {func(t *testing.T) *orderv1.State {
			return decideBulk(t, revise(nil), toBoth())
		}, []string{"orders.wms.1 OPEN standard", "orders.erp.1 WAITING express"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, lanes(test.run(t))); diff != "" {
				t.Errorf("want -, got +\n%s", diff)
			}
		})
	}
}

// What was put into another lane is published there, and nothing else is.
func TestOpenedInAnotherLane(t *testing.T) {
	before := decideBulk(t, revise(nil), withBulk())
	after := decide(t, before, withBulk())
	opened := plan.Opened(before, after)
	if len(opened) != 1 || opened[0].GetId() != "orders.wms.1" || opened[0].GetLane() != "standard" {
		t.Errorf("published again: %v", opened)
	}
	if again := plan.Opened(after, decide(t, after, withBulk())); len(again) != 0 {
		t.Errorf("published again though nothing has changed: %v", again)
	}
}
