package catalog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/expr"
)

func (c *compiler) flow(e *entry[*v1alpha1.Flow]) {
	if e.broken {
		return
	}
	spec := &e.object.Spec
	flow := &Flow{Name: e.object.Name, Spec: *spec}
	c.from(e.Resource, spec.From)
	if spec.When != "" {
		condition, err := c.expressions.Condition(spec.When)
		c.expression(e.Resource, "spec.when", err)
		flow.When = condition
	}
	c.onlyCancelled(e, flow)
	c.size(e.Resource, "spec.deliver", len(spec.Deliver), 32, "step")
	names := make([]string, len(spec.Deliver))
	for i := range spec.Deliver {
		names[i] = spec.Deliver[i].Name
	}
	c.unique(e.Resource, "spec.deliver", names, ".name")
	for i := range spec.Deliver {
		flow.Steps = append(flow.Steps, c.step(e.Resource, at("spec.deliver", i), &spec.Deliver[i]))
		c.after(e.Resource, at("spec.deliver", i), names, i, spec.Deliver[i].After)
	}
	c.snapshot.Flows = append(c.snapshot.Flows, flow)
}

func (c *compiler) from(r *Resource, sources []v1alpha1.EventSource) {
	c.size(r, "spec.from", len(sources), 16, "source of events")
	names := make([]string, len(sources))
	for i, source := range sources {
		field := at("spec.from", i)
		names[i] = source.Connector
		c.size(r, field+".topics", len(source.Topics), 64, "topic")
		c.unique(r, field+".topics", source.Topics, "")
		connector := c.reference(r, field+".connector", source.Connector)
		if connector == nil {
			continue
		}
		if connector.object.Spec.Webhook == nil {
			c.reportf(r, field+".connector", "Connector %q has no webhook, so it sends no events, expected spec.webhook in it, or another Connector",
				source.Connector)
			continue
		}
		c.topics(r, field, source.Topics, connector.object)
	}
	c.unique(r, "spec.from", names, ".connector")
}

// onlyCancelled gives a flow whose every event is that of a cancelled order the
// condition that says so. It is true of each, and says that they are what the flow is
// about: in one that does not speak of it, what waits when an order is cancelled is
// skipped.
func (c *compiler) onlyCancelled(e *entry[*v1alpha1.Flow], flow *Flow) {
	for _, from := range flow.Spec.From {
		connector := c.connectors[from.Connector]
		if connector == nil {
			return
		}
		source, ok := c.systems.Sources[string(connector.object.Spec.System)].(connectors.Canceller)
		if !ok || slices.ContainsFunc(from.Topics, func(topic string) bool { return !source.Cancels(topic) }) {
			return
		}
	}
	condition := "has(order.cancelled_at)"
	if flow.Spec.When != "" {
		if flow.When == nil || flow.When.OfCancelled() {
			return
		}
		condition += " && (" + flow.Spec.When + "\n)" // it may end with a comment
	}
	var err error
	flow.When, err = c.expressions.Condition(condition)
	c.expression(e.Resource, "spec.when", err)
}

// topics asks the system which topics can be orders; a body is not needed for
// that, and its absence is not the topic's fault. What programs hand in under is theirs
// to choose.
func (c *compiler) topics(r *Resource, field string, topics []string, connector *v1alpha1.Connector) {
	source, ok := c.systems.Sources[string(connector.Spec.System)]
	for i, topic := range topics {
		if !ok {
			if topic == "" {
				c.reportf(r, at(field+".topics", i), "is empty, expected a topic such as orders/create")
			}
			continue
		}
		if _, err := source.Order(&connector.Spec, topic, nil); topic == "" || errors.Is(err, connectors.ErrNotAnOrder) {
			c.reportf(r, at(field+".topics", i), "found %q, which carries no order, expected a topic such as orders/create", shorten(topic))
			continue
		}
		documented, ok := source.(connectors.Documented)
		if !ok || slices.Contains(documented.DocumentedTopics(), topic) {
			continue
		}
		where, names := at(field+".topics", i), documented.DocumentedTopics()
		c.advice = append(c.advice, Problem{File: r.File, Line: r.line(where), Field: where, Message: fmt.Sprintf(
			"found %q, a topic about orders that system %s is not known to have: if it has none of that name no event will ever come under it%s",
			shorten(topic), connector.Spec.System, offer("expected one of ", names, topic))})
	}
}

func (c *compiler) step(r *Resource, field string, spec *v1alpha1.DeliverStep) Step {
	step := Step{Name: spec.Name, Spec: *spec}
	c.name(r, field+".name", spec.Name)
	if spec.Mapping != "" {
		mapping, err := c.expressions.Mapping(spec.Mapping)
		c.expression(r, field+".mapping", err)
		step.Mapping = mapping
	}
	connector := c.reference(r, field+".connector", spec.Connector)
	if connector == nil {
		return step
	}
	c.lane(r, field+".lane", spec.Lane, connector)
	system := c.callable(r, field+".connector", connector.object)
	if system == nil {
		return step
	}
	// What needs no mapping asks for something other than an order; it is there
	// for other roles.
	operations := system.Operations(&connector.object.Spec)
	maps.DeleteFunc(operations, func(_ string, o connectors.Operation) bool { return !o.NeedsMapping })
	if _, ok := operations[spec.Operation]; !ok {
		names := slices.Sorted(maps.Keys(operations))
		c.reportf(r, field+".operation", "Connector %q cannot be sent an order by %q%s",
			spec.Connector, shorten(spec.Operation), offer("expected ", names, spec.Operation))
		return step
	}
	if spec.Mapping == "" {
		c.reportf(r, field+".mapping", "is missing, expected an expression whose value is the body of %s, such as {\"externalId\": externalId}", spec.Operation)
	}
	return step
}

// after allows steps above only, so that there can be no circle and a flow reads
// from top to bottom.
func (c *compiler) after(r *Resource, field string, names []string, self int, after []string) {
	c.unique(r, field+".after", after, "")
	for i, name := range after {
		place := at(field+".after", i)
		switch index := slices.Index(names, name); {
		case index < 0:
			c.reportf(r, place, "there is no step %q%s", shorten(name), offer("expected a step above: ", names[:self], name))
		case index == self:
			c.reportf(r, place, "step %q cannot come after itself, expected a step above it", name)
		case index > self:
			c.reportf(r, place, "step %q stands below, expected a step above: move %q up, so that steps stand in the order in which they go", name, name)
		}
	}
}

// expression reports what is wrong with an expression, at its line of the file
// where that can be known.
func (c *compiler) expression(r *Resource, field string, err error) {
	if err == nil {
		return
	}
	compileError, ok := errors.AsType[*expr.CompileError](err)
	if !ok {
		c.reportf(r, field, "%s", oneLine(err.Error()))
		return
	}
	written := r.place(field)
	for _, issue := range compileError.Issues {
		line := written.line
		if written.block {
			line += issue.Line
		}
		c.reportLinef(r, line, field, "%s (line %d, column %d of the expression)", oneLine(issue.Message), issue.Line, issue.Column)
	}
}

// oneLine makes a line of a text that quotes what was written.
func oneLine(text string) string {
	const longest = 500
	text = strings.Map(func(letter rune) rune {
		if unicode.IsControl(letter) {
			return ' '
		}
		return letter
	}, text)
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "..."
	}
	return text
}
