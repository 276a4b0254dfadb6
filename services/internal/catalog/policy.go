package catalog

import (
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

func (c *compiler) policy(e *entry[*v1alpha1.NotificationPolicy]) {
	if e.broken {
		return
	}
	spec := &e.object.Spec
	c.snapshot.Policies[e.object.Name] = e.object
	c.size(e.Resource, "spec.events", len(spec.Events), 8, "event, such as Held")
	on := make([]string, len(spec.Events))
	for i, event := range spec.Events {
		on[i] = string(event)
		enum(c, e.Resource, at("spec.events", i), event, enums["NotificationEvent"])
	}
	c.unique(e.Resource, "spec.events", on, "")
	enum(c, e.Resource, "spec.groupBy", spec.GroupBy, enums["NotificationGrouping"])
	c.size(e.Resource, "spec.to", len(spec.To), 32, "phone number")
	c.unique(e.Resource, "spec.to", spec.To, "")
	for i, number := range spec.To {
		c.phone(e.Resource, at("spec.to", i), number)
	}
	if connector := c.reference(e.Resource, "spec.through.connector", spec.Through.Connector); connector != nil {
		c.can(e.Resource, "spec.through.connector", connector.object, connectors.OperationSendMessage)
	}
}
