package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Flow says what happens to which events.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=peppasync
// +kubebuilder:printcolumn:name="From",type=string,JSONPath=`.spec.from[*].connector`
// +kubebuilder:printcolumn:name="To",type=string,JSONPath=`.spec.deliver[*].connector`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name of a Flow is at most 63 lower-case letters, digits and '-', without dots, such as orders-to-erp"
type Flow struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec FlowSpec `json:"spec"`
	// +optional
	Status Status `json:"status,omitzero"`
}

// FlowList is a list of Flows.
//
// +kubebuilder:object:root=true
type FlowList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Flow `json:"items"`
}

// FlowSpec is what a user says about a flow.
type FlowSpec struct {
	// Which events it takes.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=connector
	// +required
	From []EventSource `json:"from"`
	// A CEL condition over "order"; an order is taken when it is true. Not
	// written means every order; but what was asked for before an order was
	// cancelled, and its system has nothing of, is skipped, unless the condition
	// speaks of order.cancelled_at, or the flow takes nothing but cancellations.
	// +kubebuilder:validation:MaxLength=16384
	// +optional
	When string `json:"when,omitempty"`
	// The steps. One that comes after others is written below them.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	// +required
	Deliver []DeliverStep `json:"deliver"`
}

// EventSource is a connector with the topics of its events.
type EventSource struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Connector string `json:"connector"`
	// As the sender names them, such as orders/create.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +listType=set
	// +required
	Topics []string `json:"topics"`
}

// DeliverStep is one call that an order leads to.
type DeliverStep struct {
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="the name of a step is lower-case letters, digits and '-', with a letter or digit at both ends, such as erp"
	// +required
	Name string `json:"name"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Connector string `json:"connector"`
	// What to do there, such as upsertSalesOrder.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Operation string `json:"operation"`
	// A CEL expression over "order" and "externalId" whose value is the body.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	Mapping string `json:"mapping,omitempty"`
	// The lane of the connector that it waits in.
	// +kubebuilder:default=standard
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Lane string `json:"lane,omitempty"`
	// Steps that must be delivered first.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	After []string `json:"after,omitempty"`
}
