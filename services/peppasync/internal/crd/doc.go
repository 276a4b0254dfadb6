// Package crd says offline what an API server would say: whether resources are let
// in by the definitions of this release, and how the definitions of a folder differ
// from them. It uses the API server's own code, so that a pipeline refuses what the
// cluster would, and nothing else.
package crd
