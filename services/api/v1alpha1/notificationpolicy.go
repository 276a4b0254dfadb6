package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NotificationPolicy says who is told of what.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=notify,categories=peppasync
// +kubebuilder:printcolumn:name="Events",type=string,JSONPath=`.spec.events[*]`
// +kubebuilder:printcolumn:name="Through",type=string,JSONPath=`.spec.through.connector`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name of a NotificationPolicy is at most 63 lower-case letters, digits and '-', without dots, such as head-of-operations"
type NotificationPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec NotificationPolicySpec `json:"spec"`
	// +optional
	Status Status `json:"status,omitzero"`
}

// NotificationPolicyList is a list of NotificationPolicies.
//
// +kubebuilder:object:root=true
type NotificationPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NotificationPolicy `json:"items"`
}

// NotificationEvent is something that people are told of.
//
// +kubebuilder:validation:Enum=Held
type NotificationEvent string

// NotificationEventHeld: an order went to the Error Hold, or a source refuses what it is
// asked.
const NotificationEventHeld NotificationEvent = "Held"

// NotificationGrouping says how many messages a run of events leads to.
//
// +kubebuilder:validation:Enum=Hold
type NotificationGrouping string

// NotificationGroupingHold sends one message for each hold.
const NotificationGroupingHold NotificationGrouping = "Hold"

// NotificationPolicySpec is what a user says about telling people.
type NotificationPolicySpec struct {
	// What they are told of.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +required
	Events []NotificationEvent `json:"events"`
	// What carries the message.
	// +required
	Through NotificationRoute `json:"through"`
	// Phone numbers in E.164 form, such as +15550100002.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=16
	// +kubebuilder:validation:items:XValidation:rule=`self.matches(r'^\+[1-9][0-9]{6,14}$')`,message="to lists phone numbers in E.164 form, in quotes, such as +15550100002"
	// +listType=set
	// +required
	To []string `json:"to"`
	// +kubebuilder:default=Hold
	// +optional
	GroupBy NotificationGrouping `json:"groupBy,omitempty"`
}

// NotificationRoute names the connector that carries messages.
type NotificationRoute struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Connector string `json:"connector"`
}
