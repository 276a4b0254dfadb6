package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/operator/internal/access"
	"github.com/peppasync/peppasync/services/operator/internal/selection"
	"github.com/peppasync/peppasync/services/operator/internal/status"
)

const (
	// settle lets several resources that are applied at once become one catalog: the first of
	// them alone would be one without the others, such as that of a Flow whose successor is next.
	settle = 50 * time.Millisecond
	// againAfter is how soon what failed is tried again.
	againAfter = time.Second
	// resync finds what was changed behind the operator's back: a Role, a stream.
	resync = 30 * time.Second
	// streamsEvery is how often the streams are looked at.
	streamsEvery = 5 * time.Minute
)

// troubleAfter is how long nothing can be written to the bus until those say so whose
// verdict still holds: a leader of a stream that moves is no news to anybody.
const troubleAfter = status.Settle

// verdicts are what became of each resource, as the leader found it last.
type verdicts struct {
	mu sync.Mutex
	by map[string]judged
	// trouble is why nothing could be written to the bus, and since when.
	trouble error
	since   time.Time
}

// judged is a verdict, and what it is about: one on what a resource was before says
// nothing of what it is now, and its name may be that of another by now.
type judged struct {
	verdict    selection.Verdict
	uid        types.UID
	generation int64
}

// set keeps the verdicts, or only that they could not be come to.
func (v *verdicts) set(by map[string]judged, trouble error, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if trouble != nil && v.trouble == nil {
		v.since = now
	}
	v.trouble = trouble
	if by != nil {
		v.by = by
	}
}

// of returns the verdict on a resource as it is now; false where it was not looked at yet.
func (v *verdicts) of(key string, about metav1.Object, now time.Time) (status.Ready, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, known := v.by[key]
	known = known && found.uid == about.GetUID() && found.generation == about.GetGeneration()
	verdict := found.verdict
	switch {
	case v.trouble != nil && (!known || now.Sub(v.since) >= troubleAfter):
		return status.Ready{Reason: v1alpha1.ReasonBus, Message: v.trouble.Error()}, true
	case !known:
		return status.Ready{}, false
	case verdict.InUse:
		return status.Ready{OK: true, Reason: v1alpha1.ReasonCompiled, Message: "the roles work by it"}, true
	case verdict.Older:
		return status.Ready{Reason: v1alpha1.ReasonStale, Message: "the roles work by what it was before: " + verdict.Message}, true
	}
	return status.Ready{Reason: v1alpha1.ReasonInvalid, Message: verdict.Message}, true
}

// configure keeps the streams, the catalog and the roles' rights as the resources say. It
// is the leader's.
func (o *operator) configure(ctx context.Context) error {
	return o.supervised(ctx, "making the resources the catalog", func(ctx context.Context) error {
		tick := time.NewTicker(resync)
		defer tick.Stop()
		var streams time.Time
		var said string
		for {
			err := o.configured(ctx, &streams)
			if ctx.Err() != nil {
				return nil
			}
			wake(o.look)
			var again <-chan time.Time
			if err != nil {
				if text := err.Error(); text != said {
					o.log.ErrorContext(ctx, "the resources are not taken; it is tried again", "error", err)
					said = text
				}
				again = time.After(againAfter)
			} else {
				said = ""
			}
			select {
			case <-ctx.Done():
				return nil
			case <-again:
			case <-tick.C:
			case <-o.changed:
				if !wait(ctx, settle) {
					return nil
				}
			}
		}
	})
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// configured does it once.
func (o *operator) configured(ctx context.Context, streams *time.Time) error {
	// What is to be kept from being deleted is so before NATS is waited for.
	cached, err := o.resources(ctx, o.client)
	if err != nil {
		return err
	}
	guarded := o.guard(ctx, cached.connectors)
	if err := o.streams(ctx, streams); err != nil {
		o.verdicts.set(nil, err, time.Now())
		return errors.Join(guarded, err, o.tellOthers(ctx, cached.others()))
	}
	all, chosen, by, err := o.published(ctx)
	o.verdicts.set(all.judged(by), err, time.Now())
	if err != nil {
		return errors.Join(guarded, err, o.tellOthers(ctx, cached.others()))
	}
	return errors.Join(guarded, o.rights(ctx, chosen), o.tellOthers(ctx, all.others()))
}

// streams makes the streams, and refuses to go on with those that could lose what they
// acknowledge.
func (o *operator) streams(ctx context.Context, last *time.Time) error {
	if time.Since(*last) < streamsEvery {
		return nil
	}
	if err := o.config.Bus.Refused(o.config.Topology); err != nil {
		return err
	}
	if err := o.config.Bus.Apply(ctx, o.config.Topology); err != nil {
		return fmt.Errorf("make the streams: %w", err)
	}
	unsafe, err := o.config.Bus.Unsafe(ctx, o.config.Topology)
	if err != nil {
		return err
	}
	if len(unsafe) > 0 {
		return fmt.Errorf("the streams are not safe, and nothing is changed until they are: %s", strings.Join(unsafe, "; "))
	}
	*last = time.Now()
	return nil
}

// replacements bounds how often it is begun anew in one go because another process
// published meanwhile: a leader that has been replaced, or a person with "peppasync apply".
const replacements = 5

// published makes what compiles the catalog, and returns the resources that it is made of.
//
// The cache of this process may be behind the API server, for as long as a lost connection
// goes unnoticed, and so may this process be behind another that leads by now. So what is
// published is read first, then the resources from the API server itself, and what they make
// replaces only what was read (catalog.Edition): an older catalog never replaces a newer.
func (o *operator) published(ctx context.Context) (resources, []catalog.Resource, map[string]selection.Verdict, error) {
	var err error
	for range replacements {
		var before catalog.Edition
		if before, err = catalog.Read(ctx, o.config.Bus); err != nil {
			return resources{}, nil, nil, err
		}
		all, listErr := o.resources(ctx, o.reader)
		if listErr != nil {
			return resources{}, nil, nil, listErr
		}
		chosen, by, chooseErr := selection.Choose(all.catalog(), before.Resources, func(r []catalog.Resource) catalog.Problems {
			_, problems := catalog.Compile(r, systems.Set())
			return problems
		})
		if chooseErr != nil {
			return resources{}, nil, nil, fmt.Errorf("compile the resources: %w", chooseErr)
		}
		if err = before.Replace(ctx, o.config.Bus, chosen...); err == nil {
			return all, chosen, by, nil
		}
		if !errors.Is(err, catalog.ErrReplaced) {
			break
		}
	}
	return resources{}, nil, nil, err
}

// guard puts the finalizer on each Connector, so that one that was deleted past admission
// stays until what is queued for it has arrived.
func (o *operator) guard(ctx context.Context, connectors []v1alpha1.Connector) error {
	if ending, err := o.ending(ctx); err != nil || ending {
		return err
	}
	var failed error
	for i := range connectors {
		c := &connectors[i]
		if !c.DeletionTimestamp.IsZero() || controllerutil.ContainsFinalizer(c, v1alpha1.FinalizerUndelivered) {
			continue
		}
		base := c.DeepCopy()
		controllerutil.AddFinalizer(c, v1alpha1.FinalizerUndelivered)
		patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
		if err := client.IgnoreNotFound(o.client.Patch(ctx, c, patch)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("put the finalizer on Connector %s: %w", c.Name, err))
		}
	}
	return failed
}

// rights keeps the two Roles.
func (o *operator) rights(ctx context.Context, chosen []catalog.Resource) error {
	var specs []*v1alpha1.ConnectorSpec
	for _, r := range chosen {
		if c, ok := r.Object.(*v1alpha1.Connector); ok {
			specs = append(specs, &c.Spec)
		}
	}
	secrets := access.Of(specs, o.config.reserved())
	return errors.Join(o.role(ctx, o.config.IngestRole, secrets.Ingest), o.role(ctx, o.config.DispatcherRole, secrets.Dispatcher))
}

func (o *operator) role(ctx context.Context, name string, secrets []string) error {
	var role rbacv1.Role
	if err := o.reader.Get(ctx, types.NamespacedName{Namespace: o.config.Namespace, Name: name}, &role); err != nil {
		return fmt.Errorf("read Role %s, which the chart makes: %w", name, err)
	}
	rules := access.Rules(secrets)
	if equality.Semantic.DeepEqual(role.Rules, rules) {
		return nil
	}
	role.Rules = rules
	if err := o.client.Update(ctx, &role); err != nil {
		return fmt.Errorf("write the rules of Role %s: %w", name, err)
	}
	o.log.InfoContext(ctx, "a role may read these Secrets and no others", "role", name, "secrets", secrets)
	return nil
}
