package operator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// takenWithin is how soon a change of a resource is to be in the catalog.
const takenWithin = 2 * time.Second

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

var demoNames = []string{
	"Connector/netsuite", "Connector/shopify", "Connector/twilio", "Connector/wms",
	"Flow/orders", "NotificationPolicy/head-of-operations", "StockPool/main",
}

// demoTaken waits until the whole demo is the catalog and each resource says so.
func (w *world) demoTaken() {
	w.t.Helper()
	w.until("the demo is the catalog", func(ctx context.Context) error {
		names, err := w.names(ctx)
		if err == nil && !slices.Equal(names, demoNames) {
			err = fmt.Errorf("it holds %v", names)
		}
		return err
	})
	w.until("each Connector is ready", func(ctx context.Context) error {
		for _, name := range []string{"netsuite", "shopify", "twilio", "wms"} {
			c, err := w.connector(ctx, name)
			if err != nil {
				return err
			}
			if !apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("%s: %v", name, c.Status.Conditions)
			}
		}
		return nil
	})
}

// What is applied, in any order, becomes the catalog; a change is there within 2 s, and a
// role may read the Secrets that are named for it, and no others.
func TestCatalogFollowsTheResources(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admitted()
	w.demo()
	w.demoTaken()

	c, err := w.connector(t.Context(), "netsuite")
	w.must(err)
	began := time.Now()
	w.must(api.client.Patch(t.Context(), c, client.RawPatch("application/json-patch+json",
		[]byte(`[{"op":"replace","path":"/spec/limits/0/rollingWindow/calls","value":777}]`))))
	w.until("the limit is that of the catalog", func(ctx context.Context) error {
		resources, err := catalog.Published(ctx, w.bus)
		if err != nil {
			return err
		}
		for _, r := range resources {
			if c, ok := r.Object.(*v1alpha1.Connector); ok && c.Name == "netsuite" && c.Spec.Limits[0].RollingWindow.Calls == 777 {
				return nil
			}
		}
		return errors.New("it is not there yet")
	})
	if took := time.Since(began); took > takenWithin {
		t.Errorf("a change took %v to be in the catalog, want at most %v", took, takenWithin)
	}

	for role, want := range map[string][]string{ingestRole: {"shopify-webhook"}, dispatcherRole: {"netsuite", "shopify", "twilio", "wms"}} {
		w.until("the rules of "+role, func(ctx context.Context) error {
			var found rbacv1.Role
			if err := api.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: role}, &found); err != nil {
				return err
			}
			wanted := []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: want}}
			if diff := cmp.Diff(wanted, found.Rules); diff != "" {
				return fmt.Errorf("(-want +got):\n%s", diff)
			}
			return nil
		})
	}

	flow := &v1alpha1.Flow{ObjectMeta: meta(w.namespace, "orders")}
	w.must(api.client.Delete(t.Context(), flow))
	w.until("the flow has left the catalog", func(ctx context.Context) error {
		names, err := w.names(ctx)
		if err == nil && slices.Contains(names, "Flow/orders") {
			err = errors.New("it is still there")
		}
		return err
	})
}

// Admission compiles: what a schema cannot see is refused with the same sentence as in a
// file, what is only not there yet is a warning, and what others would miss is refused.
func TestAdmission(t *testing.T) { //nolint:tparallel // the cases share one world, and take turns in it
	t.Parallel()
	w := newWorld(t)
	w.admitted()
	w.demo()
	w.demoTaken()
	get := func(name string, object client.Object) {
		t.Helper()
		w.must(api.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, object))
	}
	flow, erp, shop := &v1alpha1.Flow{}, &v1alpha1.Connector{}, &v1alpha1.Connector{}
	for name, test := range map[string]struct {
		write func() client.Object
		want  string
	}{
		"a type error in a mapping": {func() client.Object {
			get("orders", flow)
			flow.Spec.Deliver[1].Mapping = `{"entity": order.name + 1}`
			return flow
		}, "spec.deliver[1].mapping: "},
		"a condition that is no condition": {func() client.Object {
			get("orders", flow)
			flow.Spec.When = "order.name"
			return flow
		}, "spec.when: "},
		"a field that no order has": {func() client.Object {
			get("orders", flow)
			flow.Spec.When = "order.color == 'x'"
			return flow
		}, "color"},
		"an operation that the system does not have": {func() client.Object {
			get("orders", flow)
			flow.Spec.Deliver[1].Operation = "upsertSaleOrder"
			return flow
		}, "did you mean upsertSalesOrder?"},
		"a lane that a flow waits in is taken away": {func() client.Object {
			get("netsuite", erp)
			erp.Spec.Lanes = []v1alpha1.Lane{{Name: "express", Weight: 1}}
			return erp
		}, "Flow/orders would not compile any more: spec.deliver[1].lane: Connector \"netsuite\" has no lane \"standard\""},
		"plain HTTP over the internet": {func() client.Object {
			get("netsuite", erp)
			erp.Spec.Endpoint = "http://erp.example.com"
			return erp
		}, "expected https"},
		"the key of a role as what a system is signed in to with": {func() client.Object {
			get("netsuite", erp)
			erp.Spec.Auth.SecretRef.Name = "peppasync-nats-throttle-dispatcher"
			return erp
		}, `spec.auth.secretRef.name: Secret "peppasync-nats-throttle-dispatcher" belongs to the installation`},
		"the key of admission as that of a webhook": {func() client.Object {
			get("shopify", shop)
			shop.Spec.Webhook.SecretRef.Name = webhookSecret
			return shop
		}, `spec.webhook.secretRef.name: Secret "` + webhookSecret + `" belongs to the installation`},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			w.until("it is judged", func(ctx context.Context) error {
				err = api.client.Update(ctx, test.write())
				if apierrors.IsConflict(err) { // its status was written meanwhile
					return err
				}
				return nil
			})
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it refused with a sentence that says %q", err, test.want)
			}
		})
	}
	early := &v1alpha1.Flow{ObjectMeta: meta(w.namespace, "early"), Spec: v1alpha1.FlowSpec{
		From:    []v1alpha1.EventSource{{Connector: "shopify", Topics: []string{"orders/create"}}},
		Deliver: []v1alpha1.DeliverStep{{Name: "later", Connector: "not-there-yet", Operation: "putOrder", Mapping: `{"id": externalId}`}},
	}}
	w.must(api.client.Create(t.Context(), early))
	w.until("the flow says what it lacks", func(ctx context.Context) error {
		if err := api.client.Get(ctx, client.ObjectKeyFromObject(early), early); err != nil {
			return err
		}
		ready := apimeta.FindStatusCondition(early.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionFalse || !strings.Contains(ready.Message, `there is no Connector "not-there-yet"`) {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	w.until("an event says so too", func(ctx context.Context) error {
		var events eventsv1.EventList
		if err := api.client.List(ctx, &events, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Regarding.Kind == "Flow" && e.Regarding.Name == "early" && e.Type == "Warning" && strings.Contains(e.Note, "not-there-yet") {
				return nil
			}
		}
		return fmt.Errorf("of %d events none does", len(events.Items))
	})
	names, err := w.names(t.Context())
	w.must(err)
	if !slices.Equal(names, demoNames) {
		t.Errorf("the catalog holds %v: one flow that waits must change nothing for the others", names)
	}
}

// enqueue puts an order's delivery into a Connector's lane.
func (w *world) enqueue(connector, key string) {
	w.t.Helper()
	_, err := w.bus.Publish(w.t.Context(), bus.Message{Subject: bus.DispatchSubject(connector, "standard", key, "d1"), Data: []byte("x")})
	w.must(err)
}

// deliver takes so many out again.
func (w *world) deliver(n int) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	w.must(w.bus.Consume(ctx, bus.ConsumerOptions{Stream: bus.StreamDispatch, Durable: "drain", Filters: []string{"dispatch.v1.>"}},
		func(ctx context.Context, m *bus.Incoming) {
			if err := m.Ack(ctx); err != nil {
				return
			}
			if n--; n == 0 {
				cancel()
			}
		}))
}

func TestDeletionOfAConnectorWithUndeliveredOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.admitted()
	for _, object := range w.read("netsuite.yaml") {
		w.must(api.client.Create(t.Context(), object))
	}
	w.enqueue("netsuite", "shopify_5001")
	erp := &v1alpha1.Connector{ObjectMeta: meta(w.namespace, "netsuite")}
	err := api.client.Delete(t.Context(), erp)
	if want := "Connector netsuite cannot be deleted: 1 order waits to be delivered there"; err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want it refused: %s", err, want)
	}
	w.until("the status counts it", func(ctx context.Context) error {
		c, err := w.connector(ctx, "netsuite")
		if err == nil && (c.Status.Queue != 1 || c.Status.Undelivered != 1) {
			err = fmt.Errorf("queue %d, undelivered %d", c.Status.Queue, c.Status.Undelivered)
		}
		return err
	})
	// Without an operator the policy holds it.
	r.stop()
	err = api.client.Delete(t.Context(), erp)
	if err == nil || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") || !strings.Contains(err.Error(), "1 undelivered orders") {
		t.Fatalf("got %v, want it refused by the policy", err)
	}
	w.deliver(1)
	w.pointAdmission(w.start().admission)
	w.until("it can be deleted", func(ctx context.Context) error { return client.IgnoreNotFound(api.client.Delete(ctx, erp)) })
	w.until("it is gone", func(ctx context.Context) error { return gone(w.connector(ctx, "netsuite")) })
}

func gone(_ *v1alpha1.Connector, err error) error {
	if err == nil {
		return errors.New("it is still there")
	}
	return client.IgnoreNotFound(err)
}

// Where admission was not asked, the finalizer keeps the Connector in the catalog until
// what is queued for it has arrived, and nobody speaks of it.
func TestDeletionPastAdmission(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admission("127.0.0.1:1") // nobody there; deletion is not stopped by that
	w.start()
	w.unguarded()
	for _, object := range w.read("netsuite.yaml") {
		w.until("it is created", func(ctx context.Context) error { return api.client.Create(ctx, object) })
	}
	w.until("it has the finalizer", func(ctx context.Context) error {
		c, err := w.connector(ctx, "netsuite")
		if err == nil && !slices.Contains(c.Finalizers, v1alpha1.FinalizerUndelivered) {
			err = errors.New("it has none yet")
		}
		return err
	})
	w.enqueue("netsuite", "shopify_5001")
	w.must(api.client.Delete(t.Context(), &v1alpha1.Connector{ObjectMeta: meta(w.namespace, "netsuite")}))
	w.until("it says what it waits for", func(ctx context.Context) error {
		c, err := w.connector(ctx, "netsuite")
		if err != nil {
			return err
		}
		draining := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionDraining)
		if draining == nil || draining.Status != metav1.ConditionTrue || !strings.Contains(draining.Message, "1 order waits") {
			return fmt.Errorf("Draining is %+v", draining)
		}
		return nil
	})
	names, err := w.names(t.Context())
	w.must(err)
	if !slices.Contains(names, "Connector/netsuite") {
		t.Errorf("the catalog holds %v: what is queued could never arrive", names)
	}
	w.deliver(1)
	w.until("it is gone", func(ctx context.Context) error { return gone(w.connector(ctx, "netsuite")) })
	w.until("it has left the catalog", func(ctx context.Context) error {
		names, err := w.names(ctx)
		if err == nil && len(names) > 0 {
			err = fmt.Errorf("it holds %v", names)
		}
		return err
	})
}

// Another replica goes on when the leader ends.
func TestLeaderChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.admitted()
	w.demo()
	w.demoTaken()
	second := w.start()
	w.pointAdmission(second.admission)
	first.stop()
	began := time.Now()
	w.until("the other is asked for admission, and leads", func(ctx context.Context) error {
		flow := &v1alpha1.Flow{}
		if err := api.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: "orders"}, flow); err != nil {
			return err
		}
		flow.Spec.When = `order.financial_status == "paid" && order.name != "changed"`
		if err := api.client.Update(ctx, flow); err != nil {
			return err
		}
		resources, err := catalog.Published(ctx, w.bus)
		if err != nil {
			return err
		}
		for _, r := range resources {
			if f, ok := r.Object.(*v1alpha1.Flow); ok && strings.Contains(f.Spec.When, "changed") {
				return nil
			}
		}
		return errors.New("the change is not in the catalog")
	})
	t.Logf("the other replica had it in the catalog after %v", time.Since(began))
}

// Streams that cannot be what they have to be are said in the status, and nothing is
// published meanwhile.
func TestStreamsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.topology.OrderShards = 3 // there are 2, and they can never change
	w.start()
	for _, object := range w.read("netsuite.yaml") {
		w.must(api.client.Create(t.Context(), object))
	}
	w.until("the Connector says that the bus is not as it must be", func(ctx context.Context) error {
		c, err := w.connector(ctx, "netsuite")
		if err != nil {
			return err
		}
		ready := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.ReasonBus || !strings.Contains(ready.Message, "order shards must stay as they are") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
}
