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
