// Package operator makes the custom resources of a namespace the catalog that the roles
// work by, makes the streams, and writes back what became of each resource. What has to be
// installed around it is in README.md; what it decides and why in
// services/docs/adr/0022-operator.md.
package operator
