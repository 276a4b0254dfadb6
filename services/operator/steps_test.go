package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

const stepStatus = orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING

// order writes an order of which a step at the shop is open, and one at the ERP is as told.
func (w *world) order(erp orderv1.DeliveryStatus) {
	w.t.Helper()
	open := orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN
	if erp != stepStatus {
		open = orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED
	}
	data, err := proto.Marshal(&orderv1.State{
		Key: "shopify_5001", Order: &orderv1.Order{Name: "#1001"},
		Deliveries: []*orderv1.Delivery{
			{Id: "orders.ship.1", Step: "ship", Connector: "wms", Status: open},
			{Id: "orders.erp.1", Step: "erp", Connector: "netsuite", Status: erp, After: []string{"orders.ship.1"}},
		},
	})
	w.must(err)
	_, err = w.bus.Publish(w.t.Context(), bus.Message{Subject: bus.OrderStateSubject("shopify_5001"), Data: data})
	w.must(err)
}

const laterStep = "1 order has a step there that waits for another step, such as #1001, whose erp waits for ship at wms"

// What waits for another step is owed too: no lane holds it, and the order's state alone
// knows of it.
func TestDeletionOfAConnectorWhoseStepsWaitForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admitted()
	for _, object := range w.read("netsuite.yaml") {
		w.must(api.client.Create(t.Context(), object))
	}
	w.enqueue("wms", "shopify_5001")
	w.order(stepStatus)
	erp := &v1alpha1.Connector{ObjectMeta: meta(w.namespace, "netsuite")}
	err := api.client.Delete(t.Context(), erp)
	if want := "Connector netsuite cannot be deleted: " + laterStep; err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want it refused: %s", err, want)
	}
	w.order(orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED)
	w.must(api.client.Delete(t.Context(), erp))
	w.until("it is gone", func(ctx context.Context) error { return gone(w.connector(ctx, "netsuite")) })
}

// Where admission was not asked, the finalizer keeps it for them.
func TestStepsThatWaitForOthersAreDrained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admission("127.0.0.1:1") // nobody there; deletion is not stopped by that
	w.start()
	w.unguarded()
	w.guarded()
	w.enqueue("wms", "shopify_5001")
	w.order(stepStatus)
	w.must(api.client.Delete(t.Context(), &v1alpha1.Connector{ObjectMeta: meta(w.namespace, "netsuite")}))
	drains := func(want string) {
		t.Helper()
		w.until("it says what it waits for", func(ctx context.Context) error {
			c, err := w.connector(ctx, "netsuite")
			if err != nil {
				return err
			}
			draining := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionDraining)
			if draining == nil || draining.Status != metav1.ConditionTrue || !strings.Contains(draining.Message, want) {
				return fmt.Errorf("Draining is %+v, want %q", draining, want)
			}
			return nil
		})
	}
	drains(laterStep)
	w.enqueue("netsuite", "shopify_5002")
	drains("1 order waits to be delivered there")
	w.order(orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED)
	w.deliver(2)
	w.until("it is gone", func(ctx context.Context) error { return gone(w.connector(ctx, "netsuite")) })
}
