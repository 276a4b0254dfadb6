package operator

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/operator/internal/selection"
)

// watch wakes the leader when a resource changes in a way that matters: its status is
// written by the leader itself.
func (o *operator) watch(ctx context.Context, c cache.Cache) error {
	for _, kind := range []client.Object{&v1alpha1.Connector{}, &v1alpha1.Flow{}, &v1alpha1.StockPool{}, &v1alpha1.NotificationPolicy{}} {
		informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("operator: watch %T: %w", kind, err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { wake(o.changed) },
			DeleteFunc: func(any) { wake(o.changed) },
			UpdateFunc: func(before, after any) {
				x, okX := before.(client.Object)
				y, okY := after.(client.Object)
				// A finalizer more is mostly the leader's own, and asks for nothing.
				if !okX || !okY || x.GetGeneration() != y.GetGeneration() || len(x.GetFinalizers()) > len(y.GetFinalizers()) ||
					x.GetDeletionTimestamp().IsZero() != y.GetDeletionTimestamp().IsZero() {
					wake(o.changed)
				}
			},
		})
		if err != nil {
			return fmt.Errorf("operator: watch %T: %w", kind, err)
		}
	}
	return nil
}

// resources are all of the namespace, as one reader has them; they are copies.
type resources struct {
	connectors []v1alpha1.Connector
	flows      []v1alpha1.Flow
	pools      []v1alpha1.StockPool
	policies   []v1alpha1.NotificationPolicy
}

// resources reads all: o.client has them from the cache, o.reader from the API server.
func (o *operator) resources(ctx context.Context, from client.Reader) (resources, error) {
	var connectors v1alpha1.ConnectorList
	var flows v1alpha1.FlowList
	var pools v1alpha1.StockPoolList
	var policies v1alpha1.NotificationPolicyList
	group, ctx := errgroup.WithContext(ctx)
	for _, list := range []client.ObjectList{&connectors, &flows, &pools, &policies} {
		group.Go(func() error {
			if err := from.List(ctx, list, client.InNamespace(o.config.Namespace)); err != nil {
				return fmt.Errorf("list %T: %w", list, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return resources{}, err
	}
	return resources{connectors.Items, flows.Items, pools.Items, policies.Items}, nil
}

// catalog returns them as the catalog takes them. What is being deleted has gone already,
// but for a Connector, which stays until what is queued for it has arrived.
func (r *resources) catalog() []catalog.Resource {
	var all []catalog.Resource
	for i := range r.connectors {
		all = append(all, resource(v1alpha1.KindConnector, &r.connectors[i]))
	}
	for _, object := range r.others() {
		if object.GetDeletionTimestamp().IsZero() {
			all = append(all, resource(kindOf(object), object))
		}
	}
	return all
}

// judged says what each verdict is about; nil where there are none.
func (r *resources) judged(by map[string]selection.Verdict) map[string]judged {
	if by == nil {
		return nil
	}
	all := make(map[string]judged, len(by))
	add := func(kind string, o object) {
		key := resource(kind, o).File
		if verdict, ok := by[key]; ok {
			all[key] = judged{verdict: verdict, uid: o.GetUID(), generation: o.GetGeneration()}
		}
	}
	for i := range r.connectors {
		add(v1alpha1.KindConnector, &r.connectors[i])
	}
	for _, o := range r.others() {
		add(kindOf(o), o)
	}
	return all
}

// others are those that are no Connectors.
func (r *resources) others() []object {
	var all []object
	for i := range r.flows {
		all = append(all, &r.flows[i])
	}
	for i := range r.pools {
		all = append(all, &r.pools[i])
	}
	for i := range r.policies {
		all = append(all, &r.policies[i])
	}
	return all
}

// object is a resource for the client and the catalog alike.
type object interface {
	client.Object
	catalog.Object
}

func resource(kind string, o catalog.Object) catalog.Resource {
	return catalog.Resource{Object: o, File: kind + "/" + o.GetName()}
}

func kindOf(o catalog.Object) string {
	switch o.(type) {
	case *v1alpha1.Flow:
		return v1alpha1.KindFlow
	case *v1alpha1.StockPool:
		return v1alpha1.KindStockPool
	case *v1alpha1.NotificationPolicy:
		return v1alpha1.KindNotificationPolicy
	}
	return v1alpha1.KindConnector
}
