// Package budget decides when the calls to one external account may be written.
// It is pure: values in, values out, time only as an argument.
//
// # The rule
//
// A permit is the right to write one request. Of permit i, s(i) is the send
// time that it was handed out for, u(i) >= s(i) the moment at which its first
// byte left, a(i) >= u(i) its arrival at the server, and f(i) >= a(i) the moment
// from which nothing of it can arrive any more: its reply is in or its
// connection is dead (settled), or, under a window that declares how long a
// request is on its way (ArrivesWithin = J), J after a time at which its first
// byte had certainly left. Until one of these is known, f(i) is unknown.
//
// For a window of N calls per W, permit k is handed out for s(k) only if fewer
// than N of the permits handed out before it, void ones apart, are live at
// s(k): f(i) unknown, or f(i) + W >= s(k).
//
// # The proof
//
// Suppose that N+1 requests arrive within a closed span of length W. Let k be
// the one that was handed out last. Each of the other N was handed out before
// it and arrived no earlier than W before it, so
//
//	f(i) + W >= a(i) + W >= a(k) >= u(k) >= s(k),
//
// hence each was live when k was handed out, be f(i) known then or not. That
// makes N live permits, and the rule forbade k.
//
// The proof uses no bound on any delay, no order of the writes and no pacing.
// It needs only u(k) >= s(k): a permit may be used as late as one likes and
// never early. So a late use inside the tolerance is safe without a further
// check, and the transport holds a request back until s(k). A permit for a send
// time in the future is live from the moment at which it is handed out, because
// its f is unknown. NotAfter is no part of the proof for one owner; it exists so
// that the next owner, who sees only the record, knows by when the bytes of a
// permit without a settlement can have left: by NotAfter, and dead by Deadline
// = NotAfter + CallTimeout. It counts such a permit as arrived by Deadline +
// Grace + twice the clock tolerance (under J: by NotAfter + J + twice the clock
// tolerance), and the proof holds with that f.
//
// # What a bound on calls under way is worth to the next owner
//
// An owner may say on record that from a time b on it has at most P calls under way at
// a time, a call being under way from before its first byte until f. Of its permits
// let U be those without a settlement on record, L(i) the f of above of i in U, and
//
//	e = max(b, NotAfter of all in U).
//
// After e no call of U begins. So each one that is not under way at e was never
// written, or had ended: a(i) <= f(i) <= e. At most P are under way at e, and a(i) <=
// L(i) holds for each. Nobody knows which they are. The next owner therefore takes
// f(i) = L(i) for the P of U with the largest L, and f(i) = min(L(i), e) for the others.
//
// In the proof, take of the N calls those of U, which all have a(i) + W >= s(k). If
// e + W >= s(k), each of them has f(i) + W >= s(k), since a(i) <= L(i), and is counted.
// Otherwise a(i) > e: they were under way at e, so they are at most P, and no more than
// there are in U with L(i) + W >= s(k); the smaller of both is how many of U are counted.
// So no fewer permits of U are live at s(k) than the proof needs, though not the same
// ones. Where several owners left permits, this holds for each. Where the owner was
// dead by d, no call of it began after d: then e is the smaller one of e and d.
//
// It does not matter whether the owner is dead, was stopped, or goes on with what it
// holds; only that it keeps the bound. Clocks count for e as for L. A stop inside the
// system call is covered: the call is under way by then.
//
// This is not done for windows with ArrivesWithin, where each call has a bound of its
// own that is mostly earlier, nor for buckets: calls have different costs, so that the
// P with the largest L are not those with the largest costs, and a level on record has
// to mean the same to the owner after the next one.
//
// # Buckets
//
// A bucket of capacity B drains at r. The server adds a call's cost when it arrives,
// and gives back what the call did not need no later than it replies. The level kept
// here is at time t
//
//	level(t) = sum of the costs of the calls in flight at t, whole, +
//	           max over s <= t of (sum of the costs settled in [s, t] - r(t-s)), at least 0
//
// where a call is in flight from the moment it is handed out until f, which counts
// as not known yet while it is to come, and settled with its actual cost at f. The
// second line is one number that falls at r. Permit k of cost c is handed out for
// s(k) only if level(s(k)) + c <= B - headroom, with what is known then.
//
// The server's level at t is, likewise, the largest of (sum of the costs arrived in
// [s, t] - r(t-s)) over all s <= t. Suppose that it is above B, for some s. Of the
// calls that arrived in [s, t] let k be the one that was handed out last. Each other
// one, i, was handed out before, and f(i) >= a(i) >= s. Either it was in flight at
// s(k), as far as was known then, and is in level(s(k)) with its whole cost; or it
// settled in [s, s(k)], and is there with its actual cost, to which the server had
// brought it down by f(i) <= s(k) <= a(k) <= t. So
//
//	sum arrived in [s, t] - r(t-s) <= level(s(k)) + r(s(k)-s)+ + c - r(t-s) <= level(s(k)) + c <= B,
//
// a contradiction. Again no bound on a delay is used, and a late use is safe. The
// order in which settlements come to be known only makes the level higher. The level
// that is kept is that of a bucket that was empty at first; of one that was not, it
// is right as soon as it started from a level that is no lower than the server's.
//
// The record holds the second line of level with each block; what is on record
// without a settlement is in flight for the next owner, and drains from its f of
// above. Without a level on record a bucket starts full.
//
// Others may use the bucket as well. Where a server says what is in it, the level
// is raised to that; see Heed. That changes nothing in the proof, of which every line
// holds for a level that is higher.
//
// A bucket asks for no spacing: a burst goes as long as there is room, and after it
// calls go as it drains. Of calls in flight for l each, r*l is the part of B that
// does not drain: the rate is r as long as that is less than B - headroom.
//
// # Pace and rate
//
// Pacing is GCRA with burst 1: next = max(next, now) + gap, the gap being the
// largest W/(N - headroom) of all windows up to five minutes. An idle connector
// sends at once. With a backlog and replies in l the rate is the smaller of
// N - headroom per W (the pace) and N per W + l (the rule; N per W + J where J
// is declared and smaller). Longer windows, and all of them under Burst, are
// not paced; there the headroom lowers the count itself.
//
// Permits are handed out ahead of their send times, so that a stall in between
// costs no pace. For windows that changes nothing: such a permit counts from the
// moment at which it is handed out. Under a concurrency limit it would take up a
// place that nobody uses yet; see Budget.Ahead.
package budget
