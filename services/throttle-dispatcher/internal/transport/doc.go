// Package transport writes HTTP requests to one external account, each under a
// permit. Go's own transport repeats idempotent requests on its own, so the
// permit is not taken around it but below it: a connection refuses every byte
// that no permit covers, holds the first one back until the permit's send time,
// and refuses it after the permit has run out. When a call ends without a whole
// reply, its connection is dead before the outcome is returned.
package transport
