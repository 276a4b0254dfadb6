package operator_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
	"github.com/peppasync/peppasync/services/operator"
)

// How many orders are on hold at a Connector says the gauge as the status does, and 0 where
// none is; while NATS does not answer it says nothing.
func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	observed, err := telemetry.Setup(t.Context(), telemetry.Options{Service: operator.Name, Prometheus: true})
	w.must(err)
	w.start(func(c *operator.Config) { c.Telemetry = observed })
	w.guarded()
	shows := func(what, want string, held int64) {
		t.Helper()
		if want != "" {
			want += "\n" + `peppasync_source_refused{connector="netsuite"} 0`
		}
		w.until(what, func(ctx context.Context) error {
			recorder := httptest.NewRecorder()
			observed.Metrics().ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", http.NoBody))
			var lines []string
			for line := range strings.Lines(recorder.Body.String()) {
				if strings.HasPrefix(line, "peppasync_") {
					lines = append(lines, line)
				}
			}
			if got := strings.TrimSpace(strings.Join(lines, "")); got != want {
				return fmt.Errorf("it shows %q, want %q", got, want)
			}
			c, err := w.connector(ctx, "netsuite")
			if err == nil && c.Status.Held != held {
				err = fmt.Errorf("the status has %d, want %d", c.Status.Held, held)
			}
			return err
		})
	}
	shows("none is on hold", `peppasync_connector_held{connector="netsuite"} 0`, 0)
	d := &orderv1.Delivery{Id: "orders.erp.1", Flow: "orders", Step: "erp", Connector: "netsuite", Status: orderv1.DeliveryStatus_DELIVERY_STATUS_HELD}
	hold := &dispatchv1.Hold{Delivery: &dispatchv1.Delivery{
		Id: order.DispatchIDOf("shopify_5001", d), Connector: "netsuite", Key: "shopify_5001", Requester: logicgate.Role,
		Content: &dispatchv1.Delivery_OrderStep{OrderStep: &dispatchv1.OrderStep{Flow: "orders", Step: "erp"}},
	}}
	write := func(subject string, message proto.Message) {
		t.Helper()
		data, err := proto.Marshal(message)
		w.must(err)
		w.until("it is written", func(ctx context.Context) error { // NATS may just have come back
			_, err := w.bus.Publish(ctx, bus.Message{Subject: subject, Data: data})
			return err
		})
	}
	write(bus.OrderStateSubject("shopify_5001"), &orderv1.State{Key: "shopify_5001", Deliveries: []*orderv1.Delivery{d}})
	write(bus.HoldSubject("netsuite", "shopify_5001", hold.GetDelivery().GetId()), hold)
	shows("one is on hold", `peppasync_connector_held{connector="netsuite"} 1`, 1)
	w.nats.Stop()
	shows("nobody can tell", "", 1)
	w.nats.StartAgain(t)
	d.Released, d.Status = 1, orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN
	write(bus.OrderStateSubject("shopify_5001"), &orderv1.State{Key: "shopify_5001", Deliveries: []*orderv1.Delivery{d}})
	shows("it was let go", `peppasync_connector_held{connector="netsuite"} 0`, 0)
	page, err := os.ReadFile("../docs/metrics.md")
	w.must(err)
	for _, name := range []string{"peppasync_connector_held", "peppasync_source_refused"} {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("services/docs/metrics.md says nothing of %s", name)
		}
	}
}
