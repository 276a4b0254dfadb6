// Package lease decides which replica of the dispatcher runs which connector,
// from what the replicas say of themselves and from one table of owners that is
// changed by compare-and-set. It is liveness only: two replicas that both think
// they own a connector cost time, and the ledger's compare-and-set keeps them
// from doing harm. Why it is safe to judge others this way is written down in
// services/docs/adr/0008-leases.md.
//
// It is pure: observations with a monotonic time come in, decisions go out.
// Observations must come in the order of the store, which is what makes the
// silence of another replica a fact and not an opinion.
package lease
