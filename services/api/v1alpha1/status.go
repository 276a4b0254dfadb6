package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Status is what the engine reports about a resource.
type Status struct {
	// The generation of the resource that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

const (
	// ConditionReady is the type of the condition that says whether the resource
	// is in the catalog that the roles work by.
	ConditionReady = "Ready"
	// ReasonCompiled: the resource is in the catalog.
	ReasonCompiled = "Compiled"
	// ReasonInvalid: the resource does not compile; the message says why.
	ReasonInvalid = "Invalid"
	// ReasonStale: the resource does not compile, and the roles work by what it was
	// before; the message says why.
	ReasonStale = "OlderVersionInUse"
	// ReasonBus: the catalog cannot be written, or the streams are not safe; the
	// message says why.
	ReasonBus = "BusUnsafe"
)
