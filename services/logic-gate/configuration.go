package logicgate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/expr"
	"github.com/peppasync/peppasync/services/logic-gate/internal/plan"
)

// configuration is the catalog as this role sees it, always as it is now: a
// change takes effect on what is decided after it.
type configuration struct {
	catalog *catalog.Store
	sources map[string]connectors.Source
	systems map[string]connectors.System
	// newest reads the catalog that is published, which this process may not have
	// heard of.
	newest func(context.Context) (*catalog.Snapshot, error)
}

// errUnknown: the catalog has no such connector.
var errUnknown = errors.New("not in the catalog")

// connector returns the one of a name. Ingest may know a new connector before this
// process does; so it waits for it until a point in time.
func (c configuration) connector(ctx context.Context, name string, until time.Time) (*v1alpha1.Connector, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		changed := c.catalog.Changed()
		if found := c.catalog.Current().Connectors[name]; found != nil {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connector %q is %w: apply it again, or stop its webhooks", name, errUnknown)
		case <-changed:
		}
	}
}

// source returns how the events of a connector are read.
func (c configuration) source(connector *v1alpha1.Connector) (connectors.Source, error) {
	source := c.sources[string(connector.Spec.System)]
	if source == nil {
		return nil, fmt.Errorf("connector %q is a %s, whose events cannot be read", connector.Name, connector.Spec.System)
	}
	return source, nil
}

// flows returns the flows that take events of a topic, and their conditions.
func (c configuration) flows(connector, topic string) ([]plan.Flow, plan.Condition) {
	return c.flowsThat(func(flow *catalog.Flow) bool { return takes(flow, connector, topic) })
}

// flowsThat returns the flows that are meant, and their conditions.
func (c configuration) flowsThat(meant func(*catalog.Flow) bool) ([]plan.Flow, plan.Condition) {
	var flows []plan.Flow
	conditions := make(map[string]*expr.Condition)
	current := c.catalog.Current()
	for _, flow := range current.Flows {
		if !meant(flow) {
			continue
		}
		steps := make([]plan.Step, 0, len(flow.Steps))
		for _, step := range flow.Steps {
			bulk := ""
			if connector := current.Connectors[step.Spec.Connector]; connector != nil {
				bulk = connector.Spec.BulkLane(step.Spec.Lane)
			}
			steps = append(steps, plan.Step{
				Name: step.Name, Connector: step.Spec.Connector, Operation: step.Spec.Operation,
				Lane: step.Spec.Lane, BulkLane: bulk, After: step.Spec.After,
			})
		}
		flows = append(flows, plan.Flow{Name: flow.Name, Steps: steps})
		conditions[flow.Name] = flow.When
	}
	return flows, func(flow string, o *orderv1.Order) (bool, error) {
		if when := conditions[flow]; when != nil {
			return when.Eval(o)
		}
		return true, nil
	}
}

func takes(flow *catalog.Flow, connector, topic string) bool {
	for _, from := range flow.Spec.From {
		if from.Connector == connector && slices.Contains(from.Topics, topic) {
			return true
		}
	}
	return false
}
