package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// StockPool says where stock is true and which channels sell it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pool,categories=peppasync
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.spec.source.connector`
// +kubebuilder:printcolumn:name="Channels",type=string,JSONPath=`.spec.channels[*].connector`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name of a StockPool is at most 63 lower-case letters, digits and '-', without dots, such as main-warehouse"
type StockPool struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec StockPoolSpec `json:"spec"`
	// +optional
	Status Status `json:"status,omitzero"`
}

// StockPoolList is a list of StockPools.
//
// +kubebuilder:object:root=true
type StockPoolList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StockPool `json:"items"`
}

// StockMode says how channels share stock.
//
// +kubebuilder:validation:Enum=Shared;Escrow
type StockMode string

// The modes.
const (
	// StockModeShared shows the same figure in every channel.
	StockModeShared StockMode = "Shared"
	// StockModeEscrow gives each channel its own part.
	StockModeEscrow StockMode = "Escrow"
)

// StockPoolSpec is what a user says about a pool of stock.
type StockPoolSpec struct {
	// +kubebuilder:default=Shared
	// +kubebuilder:validation:XValidation:rule="self != 'Escrow'",message="mode Escrow is not available in this release: write Shared"
	// +optional
	Mode StockMode `json:"mode,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +listType=set
	// +required
	SKUs []string `json:"skus"`
	// Where the figure is true.
	// +required
	Source StockSource `json:"source"`
	// Where it is shown.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=connector
	// +listMapKey=location
	// +required
	Channels []StockChannel `json:"channels"`
	// Units that no channel may show.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	// +optional
	Buffer int64 `json:"buffer,omitempty"`
	// The lane that reads and writes of stock wait in, at every connector of the
	// pool.
	// +kubebuilder:default=express
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Lane string `json:"lane,omitempty"`
}

// StockSource is the place whose figure is true.
type StockSource struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Connector string `json:"connector"`
	// The system's own id of the location.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Location string `json:"location"`
	// How often to read; each read is a call of the connector's budget.
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$') && duration(self) >= duration('500ms') && duration(self) <= duration('24h')`,message="readEvery is a time between 500ms and 24h, such as 5s"
	// +optional
	ReadEvery metav1.Duration `json:"readEvery,omitzero"`
}

// StockChannel is a place that shows the figure to buyers.
type StockChannel struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Connector string `json:"connector"`
	// The system's own id of the location.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Location string `json:"location"`
}
