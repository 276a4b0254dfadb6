// Package crd holds the CustomResourceDefinitions that are generated from
// services/api/v1alpha1, byte for byte as the Helm chart installs them.
package crd

import "embed"

// Files are the definitions, one file each, named peppasync.io_<plural>.yaml.
//
//go:embed peppasync.io_*.yaml
var Files embed.FS
