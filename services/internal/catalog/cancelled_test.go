package catalog_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// A flow whose every event is that of a cancelled order is about cancelled orders,
// without having to say so.
func TestAFlowOfNothingButCancellations(t *testing.T) {
	const topics, when = "topics: [orders/create, orders/paid]", `when: order.financial_status == "paid"`
	paid := &orderv1.Order{FinancialStatus: "paid", CancelledAt: timestamppb.Now()}
	for name, test := range map[string]struct {
		topics, when string
		about, takes bool
	}{
		"other events, a condition of something else": {"topics: [orders/create, orders/cancelled]", when, false, true},
		"cancellations only, a condition":             {"topics: [orders/cancelled]", when + " // and nothing else", true, true},
		"cancellations only, a condition that fails":  {"topics: [orders/cancelled]", `when: order.financial_status == "refunded" || false`, true, false},
		"cancellations only, a condition of it":       {"topics: [orders/cancelled]", "when: '!has(order.cancelled_at)'", true, false},
		"cancellations only":                          {"topics: [orders/cancelled]", "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot, problems := catalog.Compile(load(t, edit{"flow.yaml", topics, test.topics}, edit{"flow.yaml", when, test.when}), systems.Set())
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			condition := snapshot.Flows[0].When
			if got := condition.OfCancelled(); got != test.about {
				t.Errorf("about cancelled orders: %v, want %v", got, test.about)
			}
			if takes, err := condition.Eval(paid); takes != test.takes || err != nil {
				t.Errorf("a cancelled order is taken: %v, %v; want %v", takes, err, test.takes)
			}
		})
	}
}
