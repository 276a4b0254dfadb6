package throttledispatcher

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

// Causes of messages that are no deliveries that may be made.
const (
	causeRefused    = "message-refused"
	causeUnreadable = "message-unreadable"
)

const (
	// sourcesRequester is the role that asks sources, the one that the internet reaches.
	sourcesRequester = "ingest"
	// An id that was made at random has 26 letters of 32, and may get more one day.
	minRandomID, maxRandomID = 26, 64
	// maxTold bounds what a cause repeats of a message: who sent it may be anybody.
	maxTold = 160
)

// readDelivery returns the delivery that a message of DISPATCH asks for, or the cause why
// there is none.
func readDelivery(subject string, data []byte) (*dispatchv1.Delivery, *fault.Cause) {
	d := &dispatchv1.Delivery{}
	if proto.Unmarshal(data, d) != nil {
		return nil, &fault.Cause{Code: causeUnreadable, Detail: "its bytes are none of a delivery"}
	}
	if d.GetId() == "" {
		return nil, &fault.Cause{Code: causeUnreadable, Detail: "it names no delivery"}
	}
	if why := refusal(subject, d); why != "" {
		return nil, &fault.Cause{Code: causeRefused, Detail: why}
	}
	return d, nil
}

// refusal says why a delivery may not be asked for on that subject, "" where it may: it
// has to say the same as its subject, which is what NATS lets a role publish on. Under the
// key of ingest, which the internet reaches, there are only questions to sources, of which
// nothing is about an order or another role: neither the call, nor the name under which
// its result is looked for, nor what is held where it fails.
func refusal(subject string, d *dispatchv1.Delivery) string {
	if named := bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId()); subject != named {
		return "it is a delivery for " + told(named, maxTold)
	}
	if d.GetKey() != connectors.KeyOfSources {
		return ""
	}
	const under = " under the key " + connectors.KeyOfSources
	switch {
	case !connectors.AsksSource(d.GetOperation()):
		return fmt.Sprintf("nobody may ask for %q%s", told(d.GetOperation(), maxTold), under)
	case d.GetRequester() != sourcesRequester:
		return fmt.Sprintf("%q may not ask%s", told(d.GetRequester(), maxTold), under)
	case d.GetOrderStep() != nil, d.GetEvent() != nil:
		return "nobody may ask for an order's delivery" + under
	case !isRandomID(d.GetId()):
		return fmt.Sprintf("%q is no name that a question has%s", told(d.GetId(), maxTold), under)
	}
	return ""
}

// isRandomID reports whether an id is one that crypto/rand.Text makes. Ids of orders'
// deliveries and of texts are not.
func isRandomID(id string) bool {
	return len(id) >= minRandomID && len(id) <= maxRandomID && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// told is what a person reads of a text of a message, of so many bytes at most.
func told(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

// mayBeAnybodys reports whether a message came on a subject that ingest may publish on, so
// that whoever took that over may send as many as they like. All others are of roles that
// no stranger reaches.
func mayBeAnybodys(subject string) bool {
	return bus.SubjectPart(subject, subjectKey) == connectors.KeyOfSources
}

// subjectKey is which part of a subject of DISPATCH is the key:
// dispatch.v1.<connector>.<lane>.<key>.<delivery>.
const subjectKey = 5
