// Package fault names what can become of a call: a closed set of classes, each
// with one way of being handled, and causes that people and grouping can use.
// It is pure: values in, values out.
package fault

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Class decides what the dispatcher does with a reply.
type Class int

// The classes. Every reply of every external system becomes one of them, in the
// system's own folder, by table.
const (
	// Unknown: the request may or may not have had its effect.
	Unknown Class = iota
	// OK: accepted.
	OK
	// AlreadyDone: the system says that the effect exists; as good as OK.
	AlreadyDone
	// Throttled: refused for its pace; the whole connector waits.
	Throttled
	// Transient: refused without effect for a reason that passes by itself.
	Transient
	// Auth: the credentials were refused; nothing will pass until they change.
	Auth
	// Permanent: this request will never pass as it is.
	Permanent
	// Conflict: a compare-and-set found another value; the requester decides.
	Conflict
)

var classNames = [...]string{"unknown", "ok", "already-done", "throttled", "transient", "auth", "permanent", "conflict"}

// String returns the class as logs, metrics and tables spell it.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return "invalid"
	}
	return classNames[c]
}

// Cause says why, in words that stay the same from one failure to the next.
type Cause struct {
	// Code is stable and short, such as "unknown-configuration" or "http-422".
	Code string
	// Detail is what the external system said, shortened to what a person reads.
	Detail string
	// Status is the HTTP status, 0 where there was none.
	Status int
}

// Verdict is what a reply means.
type Verdict struct {
	Class Class
	// Wait is how long the system asked for, 0 where it did not say. WaitSaid tells
	// these from systems that asked for no wait.
	Wait     time.Duration
	WaitSaid bool
	// Outage says that the system as a whole does not work, not this one call.
	Outage bool
	Cause  Cause
}

// Fingerprint returns the same short text for all failures of one root: numbers
// and quoted values of the detail do not count. Hex, 16 characters.
func Fingerprint(connector, operation string, cause Cause) string {
	sum := sha256.Sum256([]byte(connector + "\x00" + operation + "\x00" + cause.Code + "\x00" + Skeleton(cause.Detail)))
	return hex.EncodeToString(sum[:8])
}

// Skeleton returns detail with every run of digits as "#", so that two messages
// which differ only in an id are one.
func Skeleton(detail string) string {
	var b strings.Builder
	digits := false
	for _, r := range detail {
		if r >= '0' && r <= '9' {
			if !digits {
				b.WriteByte('#')
			}
			digits = true
			continue
		}
		digits = false
		b.WriteRune(r)
	}
	return b.String()
}
