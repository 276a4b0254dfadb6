// Package certificate says how close a connector came to its limits, by the
// dispatch log alone: the blocks of the ledger, with the permits that were
// handed out and how they ended. It shares no code with the limiter (package
// budget) and never asks it, so that a mistake there shows here. It is pure:
// blocks in, figures out, time only as an argument.
//
// # What is counted
//
// Of call i the log knows s(i), before which its first byte did not leave, and
// f(i), from which on nothing of it can arrive any more: its settlement; the
// declared bound J after its first byte (ArrivesWithin) where that is earlier;
// deadline and grace for a call of an owner that is gone, or a grace after the
// start of the next process of its name. It arrived somewhere in
// [s(i), f(i)], or never. A void permit wrote no byte and is not counted.
//
// For a window of W the figure is
//
//	largest = max over k of 1 + |{ i handed out before k : f(i) + W >= s(k) }|
//
// # Why that is an upper bound
//
// Take the calls that arrived within any closed span of length W, and of them k,
// the one that was handed out last. Each other one, i, was handed out before k
// and arrived at most W before it, so f(i) + W >= a(i) + W >= a(k) >= s(k): it is
// in the set of k. So no server can have counted more in any closed window, by
// any clock, however long requests were under way. The bound is reached: send
// times count up, so all calls in the set of k can have arrived within one
// window, namely the one that ends at s(k) or later.
//
// A call of an owner before, whose clock may differ, counts for twice the clock
// tolerance longer against calls of another.
//
// Under a concurrency limit calls are counted that ran at the same time, each from
// its first byte to its end, the end left out: a call whose reply came before the
// next was begun is over. Calls of which no end is on record are left out, because
// nobody knows whether they ran.
//
// Beside it stands the count of send times in a closed window, which is what a
// server sees whose replies are quick: at most largest, and at most what it
// counted but for calls that changed places on the way.
//
// # When
//
// A call is counted when it and all before it have ended. Through says up to when
// that is so: no figure covers a call that is still under way.
package certificate
