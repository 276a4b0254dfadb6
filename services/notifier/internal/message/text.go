package message

import (
	"cmp"
	"strconv"
	"strings"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
)

const (
	// Segment is how many septets one SMS carries; a longer text is sent and paid
	// for as several.
	Segment = 160
	// maxName bounds the names in a text, so that the cause keeps its room.
	maxName = 24
	// meanwhile is what does not happen while a source refuses.
	meanwhile = " What its webhooks miss stays unknown; see peppasync sources."
	// kept is where the order is.
	kept = " It waits in the Error Hold; all others go on."
)

// words says in plain words what the engine's own cause codes mean, as the end
// of "before it went to wms: ".
var words = map[string]string{
	"mapping-failed":     "its mapping failed",
	"condition-failed":   "its condition failed",
	"step-missing":       "the flow lost its step",
	"order-missing":      "its data is not there",
	"order-unreadable":   "its data cannot be read",
	"operation-unknown":  "no such operation",
	"cost-above-limit":   "it costs more than a limit of the account allows",
	"request-invalid":    "no call can be made of it",
	"payload-too-large":  "it is too large",
	"unexpected-outcome": "an unexpected outcome",
	"no-right":           "the right is missing",
	"pack-unreadable":    "cannot be read",
	"event-unreadable":   "cannot be read",
	"event-not-applied":  "could not be applied",
	"state-unreadable":   "the order's data cannot be read",
	"no-reply":           "no reply came",
	"message-refused":    "its sender may not ask for it",
	"message-unreadable": "it cannot be read",
}

// Text returns what to send about a hold: which order, who refused it, why, and
// where it is; of a source, what it refuses. name is what people call the order; empty where nobody knows.
// It is one segment of at most 160 septets, of characters that the default
// alphabet of SMS (GSM 03.38) has: one other character would more than halve
// the room. Any bytes in the hold give a text. Of a message that was refused it repeats
// nothing: its sender may be anybody, and would write to a person.
func Text(hold *dispatchv1.Hold, name string) string {
	if hold.GetRefused() != nil {
		connector, why := plain(hold.GetDelivery().GetConnector(), maxName), cmp.Or(words[hold.GetCause().GetCode()], "it was refused")
		return "A message for " + connector + " is held: " + why + ". See peppasync holds. No other text tells of more of them today."
	}
	before, after := frame(hold, plain(name, maxName))
	why := plain(cause(hold.GetCause()), Segment-septets(before)-septets(after))
	if strings.HasSuffix(why, ellipsis) {
		after = strings.TrimPrefix(after, ".")
	}
	return before + why + after
}

// frame returns what stands before and after the cause.
func frame(hold *dispatchv1.Hold, name string) (before, after string) {
	d := hold.GetDelivery()
	connector := plain(d.GetConnector(), maxName)
	if connectors.IsRefusal(hold) {
		return connector + " refuses " + plain(d.GetOperation(), maxName) + ": ", "." + meanwhile
	}
	order := "An order"
	if name != "" {
		order = "Order " + name
	}
	switch {
	case hold.GetInDoubt():
		return order + " is held: " + connector + " may have it: ", ". Look there before it is sent again. It is in the Error Hold."
	case d.GetOrderStep() == nil:
		event := plain(d.GetOperation(), maxName) + " of " + connector
		if name == "" {
			return event + " is held: ", "." + kept
		}
		return order + " is held: " + event + ": ", "." + kept
	case hold.GetAttempts() == 0:
		return order + " is held before it went to " + connector + ": ", "." + kept
	case refused(hold.GetCause().GetStatus()):
		return order + " is held: " + connector + " refused it: ", "." + kept
	default:
		attempts := strconv.Itoa(int(hold.GetAttempts()))
		return order + " is held: " + connector + " did not take it in " + attempts + " attempts: ", "." + kept
	}
}

// refused: the system looked at this one call and said no.
func refused(status int32) bool { return status >= 200 && status < 500 }

// cause says why. What the system itself said is best, unless only a program
// can read it; otherwise the code in words.
func cause(c *dispatchv1.Cause) string {
	detail := strings.TrimSpace(strings.TrimRight(plain(c.GetDetail(), 2*Segment), ".!, "))
	code := words[c.GetCode()]
	if code == "" && !strings.HasPrefix(c.GetCode(), "http-") {
		code = strings.ReplaceAll(c.GetCode(), "-", " ")
	}
	if code == "" && c.GetStatus() != 0 {
		code = "status " + strconv.Itoa(int(c.GetStatus()))
	}
	_, own := words[c.GetCode()]
	switch {
	case detail == "" || strings.ContainsAny(detail[:1], "{[<"):
		if code == "" {
			return "no reason was given"
		}
		return code
	case own && !strings.HasPrefix(detail, code):
		return code + ": " + detail
	default:
		return detail
	}
}
