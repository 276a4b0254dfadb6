package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/operator/internal/backlog"
	"github.com/peppasync/peppasync/services/operator/internal/fleet"
	"github.com/peppasync/peppasync/services/operator/internal/selection"
	"github.com/peppasync/peppasync/services/operator/internal/status"
)

const (
	// askTimeout is how long replicas of the throttle-dispatcher may take to answer: what
	// the others tell does not wait for one that is gone.
	askTimeout = time.Second
	// countTimeout bounds a count over a large backlog.
	countTimeout = 10 * time.Second
	// figuresPerSecond bounds the writes of mere figures, of all Connectors together; those
	// that have to wait are newer when their turn comes. Conditions do not wait.
	figuresPerSecond = 20
	// stepsAtOnce is how many orders' states are read in one look at a Connector that is
	// being deleted.
	stepsAtOnce = 2000
)

// observer looks at all Connectors again and again.
type observer struct {
	*operator
	fleet   *fleet.Fleet
	counter *backlog.Counter
	figures *rate.Limiter
	memory  map[string]status.Memory
	// steps are what is known of the orders that have something to deliver only after
	// another step, of each Connector that would be gone but for them.
	steps map[string]*backlog.Steps
	said  string
}

// observe keeps the status of the Connectors. It is the leader's.
func (o *operator) observe(ctx context.Context) error {
	return o.supervised(ctx, "writing what became of the Connectors", func(ctx context.Context) error {
		w := &observer{
			operator: o, fleet: fleet.New(o.config.Dispatchers), counter: backlog.NewCounter(o.config.Bus),
			figures: rate.NewLimiter(figuresPerSecond, figuresPerSecond), memory: map[string]status.Memory{}, steps: map[string]*backlog.Steps{},
		}
		defer w.fleet.Close()
		tick := time.NewTicker(o.config.StatusEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			case <-o.look:
			}
			if err := w.once(ctx); ctx.Err() == nil {
				w.say(ctx, err)
			}
		}
	})
}

// say logs what is wrong once, and that it is over.
func (w *observer) say(ctx context.Context, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == w.said {
		return
	}
	if w.said = text; err != nil {
		w.log.WarnContext(ctx, "not all is known of the Connectors; it is asked again", "error", err)
	}
}

func (w *observer) once(ctx context.Context) error {
	all, err := w.resources(ctx, w.client)
	if err != nil {
		return err
	}
	if len(all.connectors) == 0 {
		w.onHold.Store(nil)
		return nil
	}
	told, askErr := w.ask(ctx)
	counts, countErr := w.count(ctx)
	refusals := w.counter.Refusals()
	held := onHoldAt(&all, counts, refusals, countErr)
	w.onHold.Store(&held)
	failed := errors.Join(askErr, countErr)
	memory := make(map[string]status.Memory, len(all.connectors))
	for i := range all.connectors {
		c := &all.connectors[i]
		in := status.Input{Connector: c, Told: told[c.Name], Refusals: refusals[c.Name], Now: time.Now()}
		if countErr == nil {
			entry := counts[c.Name]
			in.Counts = &entry
		}
		var known bool
		if in.Ready, known = w.verdicts.of(resource(v1alpha1.KindConnector, c).File, c, in.Now); !known {
			memory[c.Name] = w.memory[c.Name] // it was written a moment ago
			continue
		}
		if !c.DeletionTimestamp.IsZero() {
			if in.Obstacles, err = w.leaving(ctx, c, &all); err != nil {
				failed = errors.Join(failed, err)
			}
			if err == nil && len(in.Obstacles) == 0 {
				continue // it is gone
			}
		}
		next, after := status.Next(&c.Status, in, w.memory[c.Name])
		memory[c.Name] = after
		failed = errors.Join(failed, w.write(ctx, c, next))
	}
	w.memory = memory
	return failed
}

func (w *observer) ask(ctx context.Context) (map[string]*dispatcherv1.Connector, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return w.fleet.Ask(ctx)
}

func (w *observer) count(ctx context.Context) (map[string]status.Counts, error) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	return w.counter.Count(ctx, time.Now())
}

// write writes a status that has changed.
func (w *observer) write(ctx context.Context, c *v1alpha1.Connector, next v1alpha1.ConnectorStatus) error {
	if equality.Semantic.DeepEqual(c.Status, next) {
		return nil
	}
	if equality.Semantic.DeepEqual(c.Status.Conditions, next.Conditions) && !w.figures.Allow() {
		return nil
	}
	base := c.DeepCopy()
	before := c.Status.Conditions
	c.Status = next
	// Only over what it was made of: the cache may be behind the status that was written
	// last, and what nobody could count stays as it was there, which is not what it is now.
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	switch err := w.client.Status().Patch(ctx, c, patch); {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil // the next look sees what it is now
	case err != nil:
		return fmt.Errorf("write the status of Connector %s: %w", c.Name, err)
	}
	w.happened(c, before, next.Conditions)
	return nil
}

// leaving lets a Connector that is being deleted go once nothing speaks against it, and
// returns what does.
func (w *observer) leaving(ctx context.Context, c *v1alpha1.Connector, all *resources) ([]string, error) {
	if !controllerutil.ContainsFinalizer(c, v1alpha1.FinalizerUndelivered) {
		return []string{"it has another's finalizer"}, nil
	}
	obstacles, err := w.obstacles(ctx, c.Name, all)
	if err != nil || len(obstacles) > 0 {
		delete(w.steps, c.Name) // what was found may not be all any more
		return obstacles, err
	}
	if obstacles, err = w.laterSteps(ctx, c.Name); err != nil || len(obstacles) > 0 {
		return obstacles, err
	}
	delete(w.steps, c.Name)
	base := c.DeepCopy()
	controllerutil.RemoveFinalizer(c, v1alpha1.FinalizerUndelivered)
	patch := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	if err := client.IgnoreNotFound(w.client.Patch(ctx, c, patch)); err != nil {
		return nil, fmt.Errorf("take the finalizer from Connector %s: %w", c.Name, err)
	}
	w.log.InfoContext(ctx, "a Connector is gone, and nothing was queued for it", "connector", c.Name)
	return nil, nil
}

// laterSteps are why a Connector cannot go that nothing is queued for: orders that have
// something to deliver there after another step. They are looked at in turns, so that a long
// backlog elsewhere does not keep the others' status from being written.
func (w *observer) laterSteps(ctx context.Context, connector string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	steps := w.steps[connector]
	if steps == nil {
		steps = backlog.NewSteps(w.config.Bus, connector)
		w.steps[connector] = steps
	}
	if err := steps.Look(ctx, stepsAtOnce); err != nil {
		return nil, fmt.Errorf("look which orders have a step at Connector %s that waits for another: %w", connector, err)
	}
	var obstacles []string
	if text := steps.Obstacle(); text != "" {
		obstacles = append(obstacles, text)
	}
	if steps.Left() > 0 {
		obstacles = append(obstacles, "whether orders that wait elsewhere have a step there later is still looked at")
	}
	return obstacles, nil
}

// obstacles are why a Connector cannot go, as of now.
func (o *operator) obstacles(ctx context.Context, connector string, all *resources) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout/2)
	defer cancel()
	counts, err := backlog.Of(ctx, o.config.Bus, connector)
	if err != nil {
		return nil, fmt.Errorf("ask NATS what is queued for Connector %s: %w", connector, err)
	}
	var names []string
	for _, object := range all.others() {
		if object.GetDeletionTimestamp().IsZero() && slices.Contains(selection.References(object), connector) {
			names = append(names, resource(kindOf(object), object).File)
		}
	}
	return backlog.Obstacles(connector, counts, names), nil
}
