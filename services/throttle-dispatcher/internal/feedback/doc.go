// Package feedback turns what replies say about pace into a part of the declared
// pace, from Least to 1, and into pauses. Nothing that a server says raises
// anything: the declared limits hold whatever it says, and what is absurd changes
// nothing. It is pure: time comes in as an argument. Not safe for concurrent use.
//
// Pace learns from throttled replies alone, Others from the server's own figures of
// what is used of windows. Figures of buckets go to the budget's level; About says of
// which. Passing tells replies that throttle the account from those that refuse one
// delivery.
package feedback
