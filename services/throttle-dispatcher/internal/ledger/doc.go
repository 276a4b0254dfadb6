// Package ledger writes and reads the dispatcher's record of one connector:
// which permits were handed out and how they ended, which deliveries are claimed
// and which are closed. It is pure: blocks in, state out, and the other way
// round. The shell stores each block by compare-and-set before the first byte of
// any of its calls, which makes the same record the fence between owners.
package ledger
