// Package v1alpha1 breaks the conventions.
package v1alpha1

import "time"

// Broken has a field for each that is tried.
type Broken struct {
	// A share.
	// +optional
	Share float64 `json:"share,omitempty"`
	// How long.
	// +optional
	Wait *time.Duration `json:"wait,omitempty"`
	// How often.
	// +optional
	Times int `json:"times,omitempty"`
	// Who has to be there, which nothing says.
	Name string `json:"name,omitempty"`
	// Not of the YAML.
	since time.Duration `json:"-"`
}
