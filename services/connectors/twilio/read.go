package twilio

import (
	"encoding/json"
	"strconv"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/reply"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// meaning is what a Twilio error code says.
type meaning struct {
	class fault.Class
	cause string
}

// meanings is the table of Twilio's codes; others go by the status.
var meanings = map[int]meaning{
	20003: {fault.Auth, "authentication-failed"},
	20403: {fault.Auth, "forbidden"},
	// Refused before anything was done: "never processed and always safe to retry".
	20429: {fault.Throttled, "too-many-requests"},
	21211: {fault.Permanent, "invalid-to"},
	21212: {fault.Permanent, "invalid-from"},
	21408: {fault.Permanent, "region-not-enabled"},
	21606: {fault.Permanent, "invalid-from"},
	21608: {fault.Permanent, "unverified-number"},
	21610: {fault.Permanent, "opted-out"},
	// The queue of the sending number is full: no message was made, and the
	// queue drains by itself.
	21611: {fault.Throttled, "queue-full"},
	21614: {fault.Permanent, "invalid-to"},
}

// errorBody is {code, message, more_info, status}; newer APIs send problem
// details with the same code.
type errorBody struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Detail  string `json:"detail"`
	Title   string `json:"title"`
}

// Read reads the reply to a message's creation. What the carrier does with it
// afterwards is not part of it.
func (t Twilio) Read(spec *v1alpha1.ConnectorSpec, call connectors.Call, r connectors.Reply) connectors.Answer {
	if verdict, missing := reply.Missing(r); missing {
		return connectors.Answer{Verdict: verdict}
	}
	effect := connectors.EffectOnce
	if operation, ok := t.Operations(spec)[call.Operation]; ok {
		effect = operation.Effect
	}
	verdict := reply.ByStatus(r, effect)
	if verdict.Class == fault.OK {
		return made(verdict, r)
	}
	return connectors.Answer{Verdict: byCode(verdict, r)}
}

// made reads the message that a status of success speaks of. Without its name nobody
// knows whether there is one: what says 200 may be a login of the network, or what is
// missing may be an error. A look-up tells.
func made(verdict fault.Verdict, r connectors.Reply) connectors.Answer {
	if len(r.Body) > 0 && reply.IsHTML(r.Header, r.Body) {
		return connectors.Answer{Verdict: fault.Verdict{Class: fault.Unknown, Outage: true, Cause: fault.Cause{
			Code: "page-for-a-reply", Detail: reply.Excerpt(r.Header, r.Body), Status: r.Status,
		}}}
	}
	var message struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal(r.Body, &message); err != nil || r.Err != nil || message.SID == "" {
		return reply.Unreadable(r, "a reply that names no message: "+reply.Excerpt(r.Header, r.Body))
	}
	return connectors.Answer{Verdict: verdict, Reference: reply.Shorten(message.SID)}
}

// byCode replaces what the status says by what Twilio's code says.
func byCode(verdict fault.Verdict, r connectors.Reply) fault.Verdict {
	var body errorBody
	if json.Unmarshal(r.Body, &body) != nil || body.Code == 0 {
		return verdict
	}
	verdict.Cause.Code = "twilio-" + strconv.Itoa(body.Code)
	for _, text := range []string{body.Message, body.Detail, body.Title} {
		if text != "" {
			verdict.Cause.Detail = reply.Shorten(text)
			break
		}
	}
	// A code is believed only under a status that refuses: a server error may
	// come after the effect, whatever it says.
	if known, ok := meanings[body.Code]; ok && r.Status >= 400 && r.Status < 500 {
		verdict.Class, verdict.Cause.Code = known.class, known.cause
		verdict.Wait, verdict.WaitSaid = reply.WaitOf(r, known.class)
	}
	return verdict
}
