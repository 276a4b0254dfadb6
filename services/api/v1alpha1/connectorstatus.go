package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ConnectorStatus is what the engine reports about a Connector. Figures are whole
// numbers or texts: a float would be rounded by whoever reads it, and a time given as
// a number would have no unit.
type ConnectorStatus struct {
	// The generation of the resource that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The first limit as it is enforced, such as "100 per 1m".
	// +optional
	Limit string `json:"limit,omitempty"`
	// How fast calls followed each other while others waited, lately, such as
	// "99.0/min"; "-" where none waited.
	// +optional
	Pace string `json:"pace,omitempty"`
	// How many calls wait in the lanes.
	// +optional
	Queue int64 `json:"queue"`
	// How many of the orders in the Error Hold wait for a person here.
	// +optional
	Held int64 `json:"held"`
	// What is not delivered yet in all: queued, put off until later, on hold. The
	// Connector cannot be deleted before it is 0.
	// +optional
	Undelivered int64 `json:"undelivered"`
	// How long until all that waits now will have arrived, such as "9m50s"; "-" where
	// nothing waits or nobody can tell.
	// +optional
	ETA string `json:"eta,omitempty"`
	// The calls of the largest window of the first limit, such as "100 of 100 in 1m".
	// +optional
	Largest string `json:"largest,omitempty"`
	// Each limit, and how close to it the account came.
	// +listType=map
	// +listMapKey=name
	// +optional
	Limits []LimitStatus `json:"limits,omitempty"`
	// Which replica of the throttle-dispatcher makes the calls.
	// +optional
	Owner string `json:"owner,omitempty"`
}

// LimitStatus is what a limit allows, and how close to it the account came.
type LimitStatus struct {
	// +required
	Name string `json:"name"`
	// What is allowed, in calls, or in points for a bucket of points.
	// +required
	Calls int64 `json:"calls"`
	// The length of its window, such as "1m"; absent where it has none.
	// +optional
	Per string `json:"per,omitempty"`
	// The most calls that can have arrived in any closed window (or run at the same
	// time, or the highest level of a bucket): never more than calls.
	// +required
	LargestWindowCount int64 `json:"largestWindowCount"`
	// Calls are counted from here on.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// What others used of it at the same time, by the external system's own figures.
	// +optional
	UsedByOthers int64 `json:"usedByOthers,omitempty"`
}

// Conditions of a Connector beside Ready.
const (
	// ConditionReachable says whether the external system answers.
	ConditionReachable = "Reachable"
	// ConditionThrottled says whether the external system has asked for a pause.
	ConditionThrottled = "Throttled"
	// ConditionDraining says that the Connector is being deleted, and waits until what
	// is queued for it has arrived.
	ConditionDraining = "Draining"
	// ConditionPaused says whether nothing is sent because spec.paused says so, or a
	// maintenance window is open.
	ConditionPaused = "Paused"
	// ConditionSourceRefused says whether the external system refuses for good what it is
	// asked as a source of orders: to list them, or to have its webhooks looked after.
	ConditionSourceRefused = "SourceRefused"
)

// Reasons of these conditions.
const (
	ReasonAnswering      = "Answering"
	ReasonDown           = "Down"
	ReasonCredentials    = "CredentialsRefused"
	ReasonStarting       = "Starting"
	ReasonNotCalled      = "NotCalled"
	ReasonUnknown        = "Unknown"
	ReasonPauseAsked     = "PauseAsked"
	ReasonWithin         = "WithinLimits"
	ReasonDeleted        = "Deleted"
	ReasonInUse          = "InUse"
	ReasonAsWritten      = "AsWritten"
	ReasonMaintenance    = "Maintenance"
	ReasonFeeding        = "Feeding"
	ReasonRefused        = "Refused"
	ReasonNothingRefused = "NothingRefused"
)

// FinalizerUndelivered keeps a Connector until what is queued for it has arrived.
const FinalizerUndelivered = "peppasync.io/undelivered"
