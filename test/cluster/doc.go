// Package cluster runs a real Kubernetes for tests, from programs that are built
// from Go modules: an API server by itself, or a node with everything. A node is
// in a network namespace, a mount namespace and cgroups of its own, so that the
// machine sees nothing of it and nothing stays behind.
package cluster
