// Package reply holds what all systems that speak HTTP read alike: what a
// missing reply means, what a status means where the system's own table says
// nothing, and how a body is shortened to what a person reads.
package reply

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/retryafter"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// Missing returns the verdict on a reply without a status line, and false where
// there is one. Nothing written is Transient for certain, anything else Unknown.
func Missing(r connectors.Reply) (fault.Verdict, bool) {
	if r.Status > 0 {
		return fault.Verdict{}, false
	}
	if !r.Written {
		return fault.Verdict{
			Class:  fault.Transient,
			Outage: unreachable(r.Err),
			Cause:  fault.Cause{Code: "not-sent", Detail: errorText(r.Err, "the request was not sent")},
		}, true
	}
	return fault.Verdict{
		Class: fault.Unknown,
		Cause: fault.Cause{Code: "no-reply", Detail: errorText(r.Err, "no reply came")},
	}, true
}

// unreachable tells a system that cannot be connected to from a request that
// was given up for another reason, such as a deadline of our own.
func unreachable(err error) bool {
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "dial" {
		return true
	}
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

func errorText(err error, otherwise string) string {
	if err == nil {
		return otherwise
	}
	return Shorten(err.Error())
}

// ByStatus returns what a status means by RFC 9110 alone, for a call of the
// given effect; the cause is "http-<status>" with an excerpt of the body.
//
// A server error other than 503 may come after the effect (a gateway that gave
// up waiting says nothing about what it waited for), so it is Unknown for all
// but queries. 503 says that the request was not handled.
func ByStatus(r connectors.Reply, effect connectors.Effect) fault.Verdict {
	verdict := fault.Verdict{
		Class: classOf(r.Status, effect),
		Cause: fault.Cause{Code: "http-" + strconv.Itoa(r.Status), Detail: Excerpt(r.Header, r.Body), Status: r.Status},
	}
	switch r.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		verdict.Outage = true
	case http.StatusFound, http.StatusTemporaryRedirect:
		// A detour that is not taken: most often the page of a maintenance.
		verdict.Outage = true
	}
	if verdict.Class == fault.OK {
		verdict.Cause = fault.Cause{Status: r.Status}
	}
	verdict.Wait, verdict.WaitSaid = WaitOf(r, verdict.Class)
	return verdict
}

// Told is the answer of a reply that says what it was asked.
func Told(r connectors.Reply) connectors.Answer {
	return connectors.Answer{Verdict: fault.Verdict{Class: fault.OK, Cause: fault.Cause{Status: r.Status}}}
}

// Answered is the answer of a reply that says what it was asked, with the value that was
// made of it; of one that does not, where none could be made.
func Answered(r connectors.Reply, value *structpb.Struct, err error) connectors.Answer {
	if err != nil {
		return Unreadable(r, err.Error())
	}
	answer := Told(r)
	answer.Value = value
	return answer
}

// Refused is the answer of a reply that says no, though its status may not.
func Refused(r connectors.Reply, class fault.Class, code, detail string) connectors.Answer {
	return connectors.Answer{Verdict: fault.Verdict{
		Class: class, Cause: fault.Cause{Code: code, Detail: Shorten(detail), Status: r.Status},
	}}
}

// Unreadable is the answer of a reply to a query that does not say what it was
// asked.
func Unreadable(r connectors.Reply, detail string) connectors.Answer {
	return Refused(r, fault.Unknown, "unreadable-reply", detail)
}

func classOf(status int, effect connectors.Effect) fault.Class {
	switch {
	case status >= 200 && status < 300:
		return fault.OK
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired:
		return fault.Auth
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return fault.Throttled
	case status >= 400 && status < 500, status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported,
		status == http.StatusMovedPermanently, status == http.StatusPermanentRedirect:
		return fault.Permanent
	case status == http.StatusServiceUnavailable:
		return fault.Transient
	case effect == connectors.EffectNone && status >= 300 && status < 600:
		return fault.Transient
	}
	return fault.Unknown
}

// WaitOf returns how long a reply of that class asks to wait, and whether it says so;
// it does not where its class leaves nothing to wait for.
func WaitOf(r connectors.Reply, class fault.Class) (wait time.Duration, said bool) {
	switch class {
	case fault.Throttled, fault.Transient, fault.Unknown:
		return retryafter.Wait(r.Header, r.At)
	case fault.OK, fault.AlreadyDone, fault.Auth, fault.Permanent, fault.Conflict:
	}
	return 0, false
}
