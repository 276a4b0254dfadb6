package operator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// guarded makes the ERP's Connector, and waits until it has the finalizer.
func (w *world) guarded() {
	w.t.Helper()
	for _, object := range w.read("netsuite.yaml") {
		w.must(api.client.Create(w.t.Context(), object))
	}
	w.until("it has the finalizer", func(ctx context.Context) error {
		c, err := w.connector(ctx, "netsuite")
		if err == nil && !slices.Contains(c.Finalizers, v1alpha1.FinalizerUndelivered) {
			err = errors.New("it has none yet")
		}
		return err
	})
}

// With a namespace goes all that is in it, NATS and the operator among the first: a
// Connector that is owed something must not keep the namespace for ever. Kubernetes begins
// to delete 5 s after the namespace was; by then the finalizer is to be gone.
func TestNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admitted()
	w.guarded()
	w.enqueue("netsuite", "shopify_5001")
	w.nats.Stop()
	w.must(api.client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}))
	began := time.Now()
	w.until("the Connector has no finalizer any more", func(ctx context.Context) error {
		c, err := w.connector(ctx, "netsuite")
		if err == nil && len(c.Finalizers) > 0 {
			err = fmt.Errorf("it has %v", c.Finalizers)
		}
		return err
	})
	t.Logf("it was let go after %v", time.Since(began))
	// As the controller of namespaces does, which no API server has by itself.
	w.must(api.client.Delete(t.Context(), &v1alpha1.Connector{ObjectMeta: meta(w.namespace, "netsuite")}))
	w.until("it is gone", func(ctx context.Context) error { return gone(w.connector(ctx, "netsuite")) })
}

// Where no operator answers any more, a person can still take the finalizer away, and
// write labels; what the roles would work by can not be written.
func TestFinalizerIsTakenAwayWithoutAnOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.admitted()
	w.guarded()
	r.stop()
	patch := func(text string) error {
		return api.client.Patch(t.Context(), &v1alpha1.Connector{ObjectMeta: meta(w.namespace, "netsuite")}, client.RawPatch("application/merge-patch+json", []byte(text)))
	}
	if err := patch(`{"metadata":{"labels":{"team":"erp"}}}`); err != nil {
		t.Errorf("a label: %v", err)
	}
	if err := patch(`{"spec":{"paused":true}}`); err == nil {
		t.Error("the spec was changed, and nobody had judged it")
	}
	w.must(api.client.Delete(t.Context(), &v1alpha1.Connector{ObjectMeta: meta(w.namespace, "netsuite")}))
	if err := patch(`{"metadata":{"finalizers":null}}`); err != nil {
		t.Fatalf("the finalizer: %v", err)
	}
	w.until("it is gone", func(ctx context.Context) error { return gone(w.connector(ctx, "netsuite")) })
}

// What a condition says is about the generation that it names: one that was not judged yet
// is not Ready, however long that takes.
func TestNothingIsReadyBeforeItIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admitted()
	w.demo()
	w.demoTaken()
	w.nats.Stop()
	var c *v1alpha1.Connector
	w.until("it is changed", func(ctx context.Context) error {
		var err error
		if c, err = w.connector(ctx, "netsuite"); err == nil {
			c.Spec.Limits[0].RollingWindow.Calls = 777
			err = api.client.Update(ctx, c)
		}
		return err
	})
	generation := c.Generation
	w.until("it says that it could not be taken", func(ctx context.Context) error {
		c, err := w.connector(ctx, "netsuite")
		if err != nil {
			return err
		}
		ready := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
		if ready.ObservedGeneration < generation && c.Status.ObservedGeneration < generation {
			return fmt.Errorf("generation %d is told of, not %d", ready.ObservedGeneration, generation)
		}
		if ready.Status == metav1.ConditionTrue {
			t.Fatalf("generation %d is Ready, and nothing can be written to NATS: %+v", generation, ready)
		}
		return nil
	})
	w.nats.StartAgain(t)
	w.until("it is taken", func(ctx context.Context) error {
		c, err := w.connector(ctx, "netsuite")
		if err != nil {
			return err
		}
		ready := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
		if ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != generation {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
}
