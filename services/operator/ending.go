package operator

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// watched limits what is kept to one namespace, itself included: by its name it may be
// watched without a right to see others.
func watched(namespace string) cache.Options {
	return cache.Options{
		DefaultNamespaces: map[string]cache.Config{namespace: {}},
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Namespace{}: {Field: fields.OneTermEqualSelector("metadata.name", namespace)},
		},
	}
}

// watchEnd hears when the namespace is deleted.
func (o *operator) watchEnd(ctx context.Context, c cache.Cache) error {
	informer, err := c.GetInformer(ctx, &corev1.Namespace{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("operator: watch namespace %s: %w", o.config.Namespace, err)
	}
	hear := func(object any) {
		if n, ok := object.(*corev1.Namespace); ok && !n.DeletionTimestamp.IsZero() {
			wake(o.ended)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: hear, UpdateFunc: func(_, after any) { hear(after) },
	})
	if err != nil {
		return fmt.Errorf("operator: watch namespace %s: %w", o.config.Namespace, err)
	}
	return nil
}

// ending reports whether the namespace is being deleted, and so everything in it.
func (o *operator) ending(ctx context.Context) (bool, error) {
	var namespace corev1.Namespace
	if err := o.client.Get(ctx, types.NamespacedName{Name: o.config.Namespace}, &namespace); err != nil {
		return false, fmt.Errorf("read namespace %s: %w", o.config.Namespace, err)
	}
	return !namespace.DeletionTimestamp.IsZero(), nil
}

// letGo takes the finalizers away once the namespace is being deleted. Kubernetes begins
// to delete what is in it 5 s later, this program and its rights among the first: a
// Connector that still had its finalizer then would keep the namespace for ever, and save
// nothing, because NATS goes too. Every replica does it, and waits for nobody.
func (o *operator) letGo(ctx context.Context) error {
	return o.supervised(ctx, "letting the Connectors go with their namespace", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-o.ended:
		}
		// Again and again: one may just have been given its finalizer.
		for {
			pause := againAfter
			if err := o.unguard(ctx); err != nil && ctx.Err() == nil {
				pause = settle
				o.log.WarnContext(ctx, "the namespace is being deleted, and a Connector is still held; it is tried again", "error", err)
			}
			if !wait(ctx, pause) {
				return nil
			}
		}
	})
}

func (o *operator) unguard(ctx context.Context) error {
	all, err := o.resources(ctx, o.client)
	if err != nil {
		return err
	}
	var failed error
	for i := range all.connectors {
		c := &all.connectors[i]
		base := c.DeepCopy()
		if !controllerutil.RemoveFinalizer(c, v1alpha1.FinalizerUndelivered) {
			continue
		}
		patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
		if err := client.IgnoreNotFound(o.client.Patch(ctx, c, patch)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("take the finalizer from Connector %s: %w", c.Name, err))
		}
	}
	return failed
}
