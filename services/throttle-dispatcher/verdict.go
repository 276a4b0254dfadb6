package throttledispatcher

import (
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// action is what happens to a delivery after a call.
type action int

const (
	// actionDeliver closes it as delivered.
	actionDeliver action = iota
	// actionConflict closes it; its requester handles the conflict.
	actionConflict
	// actionHold closes it into the Error Hold.
	actionHold
	// actionRetry repeats it, one attempt spent.
	actionRetry
	// actionWait repeats it with no attempt spent: what failed was the system
	// or the pace, not this call.
	actionWait
)

// retryBounds are how often and how long a call is repeated.
type retryBounds struct {
	maxAttempts int
	maxAge      time.Duration
}

// wait returns how long a call waits for its next attempt: by its backoff, and at
// least as long as the system asks. The last attempt comes when its age is over,
// not after.
func (b retryBounds) wait(backoff, asked, age time.Duration) time.Duration {
	return min(max(backoff, asked), max(0, b.maxAge-age))
}

// decide says what an answer means for the delivery. attempts counts the ones
// made, this one included; age is since the delivery was asked for.
//
// A call whose outcome is unknown is repeated only if a repetition has no
// second effect; otherwise it is parked for a person, in doubt.
func decide(answer connectors.Answer, effect connectors.Effect, attempts int, age time.Duration, bounds retryBounds) (act action, inDoubt bool) {
	switch answer.Class {
	case fault.OK, fault.AlreadyDone:
		return actionDeliver, false
	case fault.Conflict:
		return actionConflict, false
	case fault.Permanent:
		return actionHold, false
	case fault.Throttled, fault.Auth:
		return actionWait, false
	case fault.Transient:
		if answer.Outage {
			return actionWait, false
		}
	case fault.Unknown:
		if effect == connectors.EffectOnce {
			return actionHold, true
		}
		if answer.Outage {
			return actionWait, false
		}
	}
	if attempts >= bounds.maxAttempts || age >= bounds.maxAge {
		return actionHold, answer.Class == fault.Unknown
	}
	return actionRetry, false
}
