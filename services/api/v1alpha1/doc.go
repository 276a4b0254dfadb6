// Package v1alpha1 holds the custom resources of peppasync.io/v1alpha1: what a
// user writes, in a file or in a cluster. It holds values only; what they mean
// together is checked by the catalog.
//
// +kubebuilder:object:generate=true
// +groupName=peppasync.io
package v1alpha1
