package connectors

import (
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// Lookup asks what became of a call whose outcome is unknown.
type Lookup struct {
	Call Call
	// Since is no later than the moment at which the call was first sent, by this
	// side's clock: what is older is the effect of another call.
	Since time.Time
}

// Presence is what a look-up's reply says about the effect.
type Presence int

// The presences.
const (
	// PresenceUnknown: the reply does not say.
	PresenceUnknown Presence = iota
	// Absent: the effect is not there now. It may still come, until the last
	// possible arrival of the call plus its CommitHorizon.
	Absent
	// Present: the effect is there.
	Present
)

// Finding is a look-up's reply understood.
type Finding struct {
	// Answer is fault.OK where the reply says whether the effect is there, and
	// any other class where it does not. Reference is the system's own name for
	// what was found.
	Answer
	Presence Presence
}

// Finder is a System that can look up, by its natural key, whether the effect of
// a call is there.
type Finder interface {
	// Find builds the request, which has no effect; false where the operation or
	// this call has no natural key.
	Find(spec *v1alpha1.ConnectorSpec, lookup Lookup) (Request, bool)
	// ReadFound says what a reply to that request means. It never fails. Absent
	// has to be the system's own word: a page of a gateway does not count.
	ReadFound(spec *v1alpha1.ConnectorSpec, lookup Lookup, reply Reply) Finding
}

// CommitHorizon returns the Connector's own horizon, or otherwise where it has
// none.
func CommitHorizon(spec *v1alpha1.ConnectorSpec, otherwise time.Duration) time.Duration {
	if spec != nil && spec.CommitHorizon != nil {
		return max(0, spec.CommitHorizon.Duration)
	}
	return otherwise
}
