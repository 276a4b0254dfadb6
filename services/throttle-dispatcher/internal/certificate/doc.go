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
// Where an owner that is gone had said how many calls it has under way at most (P), no
// more than P of those that it left open count with that f, the ones with the latest;
// the others had arrived when the last of its permits ran out, and when the block was
// built that says P, whichever is later. That time is e. A start of the next process of
// its name is one by which no call of it begins, so e is no later.
//
// For a window of W the figure is
//
//	largest = max over k of | { i : s(i) <= s(k) <= f(i) + W } |
//
// # Why that is an upper bound
//
// Take the calls that arrived within any closed span of length W, and of them k,
// the one with the latest s. Each other one, i, has s(i) <= s(k), and arrived at
// most W before k, so f(i) + W >= a(i) + W >= a(k) >= s(k): it is in the set of k.
// Of calls that an owner left open nobody knows which are the P. But if s(k) - W <= e each
// of them in the span is in the set of k, whatever it counts as; and if it is later, those
// in the span arrived after e, so they were under way at e: at most P, and no more than
// have their f of above that late, and that many are in the set.
// So no server can have counted more in any closed window, by any clock, however
// long requests were under way. And the bound is tight: all calls in the set of k
// can have arrived within the window that ends at s(k).
//
// The limiter keeps it within the limit by another way: of the calls in the set of
// k take m, which was handed out last. Each other one is live in the sense of
// package budget when m is handed out, since f(i) + W >= s(k) >= s(m).
//
// A call of an owner before, whose clock may differ, counts for twice the clock
// tolerance longer against calls of another.
//
// Under a concurrency limit calls are counted that ran at the same time, each from
// its first byte to its end, the end left out: a call whose reply came before the
// next was begun is over. Calls of which no end is on record are left out, because
// nobody knows whether they ran.
//
// # Buckets
//
// A bucket drains at r. Of call i the log also knows what was reserved for it, and what
// it did cost by its reply's word; c(i) is the larger one, e(i) the latter. The figure is
//
//	highest = max over k of ( c(k) + sum of c(i), i in flight at s(k) +
//	          max over u <= s(k) of (sum of e(i), u <= f(i) <= s(k) - r(s(k)-u)) )
//
// i being in flight at s(k) if s(i) <= s(k) < f(i), i other than k. A server adds c(i) at
// a(i), and by f(i) has given back what is more than e(i). Of what it holds at t no call
// arrived after t, none that is in flight holds more than c(i), and none that has ended
// came later than f(i): so it holds no more than the figure of the last k with s(k) <= t.
// All calls in flight can have arrived at s(k), and the others as they ended, so that the
// bound is tight. It is reckoned in whole points and nanoseconds of a refill, and rounded
// up where it is shown. The limiter keeps it within capacity less headroom as long as no
// call costs more than was reserved: of the calls in the figure let m be the one handed
// out last; each other one in flight at s(k) was in flight when m was handed out, and of
// those that have ended each was in flight, whole, or had ended by then.
//
// What calls before the first block that was read have left in it stands in the peaks of
// each block.
//
// Beside the count of a window stands that of first bytes in a closed one, which is what a
// server sees whose requests are quick on their way.
//
// # When
//
// A call is counted when it and all that were handed out before it have ended.
// Through says up to when that is so: what was begun by then is counted, and no
// figure covers a call that is under way.
package certificate
