package operator_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/operator"
)

// That a source refuses to list its orders is read where Kubernetes is asked how the
// Connector does, with what to do, in an event and in the gauge, and goes by itself when
// ingest closes the hold.
func TestASourceRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	observed, err := telemetry.Setup(t.Context(), telemetry.Options{Service: operator.Name, Prometheus: true})
	w.must(err)
	w.start(func(c *operator.Config) { c.Telemetry = observed })
	w.guarded()
	hold := &dispatchv1.Hold{
		Delivery: &dispatchv1.Delivery{
			Id: connectors.RefusalID(connectors.OperationListOrders), Connector: "netsuite", Key: connectors.KeyOfSources,
			Operation: connectors.OperationListOrders, Requester: "ingest",
		},
		Cause: &dispatchv1.Cause{Code: connectors.CodeNoRight, Detail: "it may not"}, Advice: "give the credentials the right to read orders", HeldAt: timestamppb.Now(),
	}
	write := func() {
		t.Helper()
		data, err := proto.Marshal(hold)
		w.must(err)
		d := hold.GetDelivery()
		_, err = w.bus.Publish(t.Context(), bus.Message{Subject: bus.HoldSubject(d.GetConnector(), d.GetKey(), d.GetId()), Data: data})
		w.must(err)
	}
	says := func(what string, status metav1.ConditionStatus, message, gauge string) {
		t.Helper()
		w.until(what, func(ctx context.Context) error {
			c, err := w.connector(ctx, "netsuite")
			if err != nil {
				return err
			}
			refused := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionSourceRefused)
			if refused == nil || refused.Status != status || !strings.Contains(refused.Message, message) {
				return fmt.Errorf("SourceRefused is %+v", refused)
			}
			recorder := httptest.NewRecorder()
			observed.Metrics().ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", http.NoBody))
			if line := `peppasync_source_refused{connector="netsuite"} ` + gauge + "\n"; !strings.Contains(recorder.Body.String(), line) {
				return fmt.Errorf("the metrics do not say %q", line)
			}
			return nil
		})
	}
	says("nothing is refused", metav1.ConditionFalse, "it refuses nothing", "0")
	write()
	says("its orders are not listed", metav1.ConditionTrue, "no-right: it may not; give the credentials the right to read orders", "1")
	w.until("an event says so", func(ctx context.Context) error {
		var events eventsv1.EventList
		if err := api.client.List(ctx, &events, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Regarding.Name == "netsuite" && e.Reason == v1alpha1.ReasonRefused && e.Type == "Warning" && strings.Contains(e.Note, "listOrders is refused") {
				return nil
			}
		}
		return fmt.Errorf("none of %d", len(events.Items))
	})
	hold.Release = &eventv1.Release{By: "ingest", Reason: "the source answers again"}
	write()
	says("it answers", metav1.ConditionFalse, "it refuses nothing", "0")
}
