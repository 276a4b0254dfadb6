package account

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/faults"
)

// bodyLimit is far above any real order; it keeps a mistake from filling the memory of the judge.
const bodyLimit = 16 << 20

type connectionKey struct{}

// ConnContext is for http.Server: it lets a front tell the first request of a connection from those on a kept-alive one.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, new(atomic.Int64))
}

func firstOnConnection(r *http.Request) bool {
	served, ok := r.Context().Value(connectionKey{}).(*atomic.Int64)
	return !ok || served.Add(1) == 1
}

// ServeHTTP logs the arrival first of all, then judges it, then lets it be served or fail.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ticket := f.log.Arrive()
	reason, refused := f.admit(ticket)
	first := firstOnConnection(r)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		f.leave()
		f.log.Settle(ticket, arrivals.Cut)
		panic(http.ErrAbortHandler)
	}
	operation, key := f.system.Classify(r, body)
	f.countOperation(operation)
	if refused {
		f.answer(w, ticket, f.system.Refuse(reason))
		return
	}
	call := Call{Operation: operation, Key: key, Arrived: ticket.At}
	decision := f.plan.Next(faults.Call{Operation: operation, Key: key, FirstOnConnection: first})
	if decision.Fault == nil {
		f.wait(decision.Latency)
		f.answer(w, ticket, f.system.Serve(call, r, body))
		return
	}
	f.fail(w, ticket, r, decision, func() Reply { return f.system.Serve(call, r, body) })
}

// fail carries out a fault. serve makes the call take effect.
func (f *Front) fail(w http.ResponseWriter, t arrivals.Ticket, r *http.Request, d faults.Decision, serve func() Reply) {
	fault := d.Fault
	if fault.Kind != faults.CloseMidRequest {
		f.wait(d.Latency)
	}
	switch fault.Kind {
	case faults.CutBeforeCommit:
		f.cut(w, t, fault)
	case faults.CutAfterCommit:
		serve()
		f.cut(w, t, fault)
	case faults.CutCommitLater:
		f.commitLater(fault.Delay.Std(), serve)
		f.cut(w, t, fault)
	case faults.CloseMidRequest:
		f.leave()
		f.log.Settle(t, arrivals.Cut)
		closeConnection(w, false)
	case faults.CloseAfterReply:
		f.answerAndClose(w, t, r, serve())
	case faults.Slow:
		f.wait(fault.Delay.Std())
		f.answer(w, t, serve())
	case faults.SlowReply:
		reply := serve()
		f.wait(fault.Delay.Std())
		f.answer(w, t, reply)
	case faults.Throttle:
		f.answer(w, t, withRetryAfter(f.system.Refuse(InjectedThrottle), fault))
	case faults.ThrottleHTML:
		f.answer(w, t, withRetryAfter(htmlReply(http.StatusTooManyRequests), fault))
	case faults.ThrottleInBody:
		f.answer(w, t, withRetryAfter(f.system.Refuse(InjectedThrottleInBody), fault))
	case faults.PageForReply:
		page := htmlReply(http.StatusOK)
		page.Outcome = arrivals.Unavailable
		f.answer(w, t, page)
	case faults.Unavailable:
		f.answer(w, t, withRetryAfter(f.system.Refuse(InjectedUnavailable), fault))
	case faults.UnavailableHTML:
		f.answer(w, t, withRetryAfter(htmlReply(http.StatusServiceUnavailable), fault))
	case faults.ServerError:
		f.answer(w, t, f.system.Refuse(InjectedServerError))
	case faults.ServerErrorAfterCommit:
		serve()
		f.answer(w, t, f.system.Refuse(InjectedServerError))
	}
}

// wait lasts for d or until the front closes. It does not end with the request: a real system goes on with a call after
// its client has given up.
func (f *Front) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.stop:
	}
}

func (f *Front) commitLater(delay time.Duration, serve func() Reply) {
	f.late.Go(func() {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			serve()
			f.mu.Lock()
			f.lateCommits++
			f.mu.Unlock()
		case <-f.stop:
		}
	})
}

func (f *Front) answer(w http.ResponseWriter, t arrivals.Ticket, reply Reply) {
	f.leave()
	f.settle(t, reply)
	maps.Copy(w.Header(), reply.Header)
	if len(reply.Body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(reply.Body)))
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body) //nolint:errcheck // a client that has gone is the client's affair; the outcome is recorded
}

// answerAndClose writes a reply that promises to keep the connection and then closes it: the client's next request on it
// dies before or while it is written.
func (f *Front) answerAndClose(w http.ResponseWriter, t arrivals.Ticket, r *http.Request, reply Reply) {
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		f.answer(w, t, reply)
		return
	}
	defer conn.Close()
	f.leave()
	f.settle(t, reply)
	response := http.Response{
		StatusCode: reply.Status, ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: reply.Header, ContentLength: int64(len(reply.Body)), Body: io.NopCloser(bytesReader(reply.Body)),
	}
	if response.Write(buffer) == nil {
		buffer.Flush() //nolint:errcheck // the connection is closed next, whatever became of the reply
	}
}

func (f *Front) settle(t arrivals.Ticket, r Reply) {
	if asked := askedWait(r.Header.Get("Retry-After"), time.Now()); asked > 0 {
		f.log.Ask(t, asked)
	}
	if r.Write {
		f.log.SettleWrite(t, outcome(r))
		return
	}
	f.log.Settle(t, outcome(r))
}

func (f *Front) cut(w http.ResponseWriter, t arrivals.Ticket, fault *faults.Rule) {
	f.wait(fault.Hold.Std())
	f.leave()
	f.log.Settle(t, arrivals.Cut)
	closeConnection(w, true)
}

// closeConnection ends the connection without a reply: by reset, as a crash or a firewall does, or by an orderly close.
func closeConnection(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // no connection to take over, as in HTTP/2 and in recorders: abort is the next best
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		tcp.SetLinger(0) //nolint:errcheck // at worst the close is orderly
	}
	conn.Close()
}

func outcome(r Reply) arrivals.Outcome {
	switch {
	case r.Outcome != arrivals.Pending:
		return r.Outcome
	case r.Status < 300:
		return arrivals.Accepted
	case r.Status == http.StatusTooManyRequests:
		return arrivals.Throttled
	case r.Status >= 500:
		return arrivals.Unavailable
	default:
		return arrivals.Refused
	}
}
