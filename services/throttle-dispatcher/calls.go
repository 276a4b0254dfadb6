package throttledispatcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/transport"
)

// operationProbe is the operation that a probe's reply is read as.
const operationProbe = "probe"

// flight is a request that has its permit.
type flight struct {
	permit  budget.Permit
	job     *job // nil for a probe
	call    connectors.Call
	request connectors.Request
	header  http.Header // signs it in
	// down: the system counted as down. patient: it is a question that waits for longer.
	down, patient bool
	// lookUp: the request asks what became of an earlier attempt.
	lookUp   bool
	standing standing
}

// outcome is what came of a flight.
type outcome struct {
	flight
	result transport.Outcome
	// alone: it met an outage, or was throttled, and others are not.
	alone bool
	// refusal is what it is where it was throttled, ownTrouble: no reason to pause.
	refusal    feedback.Refusal
	ownTrouble bool
}

// launch starts the flight; its outcome comes to the loop in any case.
func (w *worker) launch(ctx context.Context, f flight) {
	w.flying++
	w.unsent[f.permit.Number] = f.permit.SendAt
	f.standing = w.standing()
	if w.recalled == nil {
		w.recalled, w.callOff = context.WithCancel(ctx)
	}
	client, system, connector, recalled := w.client, w.system, w.spec, w.recalled
	fly := func() {
		w.outcomes <- w.unseal(ctx, system, connector, w.fly(ctx, client, connector, f, recalled.Done()))
	}
	// Connecting may take its time, so it begins at once; but where connections are
	// scarce, a call would hold one that a call before it could use.
	wait := time.Duration(0)
	if w.flying > w.connections {
		wait = time.Until(f.permit.SendAt.Add(-connectLead))
	}
	if wait <= 0 {
		go fly()
		return
	}
	afterUnless(recalled, wait, fly, func() {
		w.outcomes <- outcome{flight: f, result: transport.Outcome{Reply: connectors.Reply{Err: transport.ErrRecalled}}}
	})
}

// recall lets the calls come back that wait for their send time: there is a
// reason not to make them.
func (w *worker) recall() {
	if w.recalled != nil {
		w.callOff()
		w.recalled, w.callOff = nil, nil
	}
	w.client.Recall()
}

// connectLead is how long before its send time a call asks for a connection
// where those are scarce.
const connectLead = 100 * time.Millisecond

// afterUnless does it after a wait, or instead of it as soon as ctx is done, each in a
// goroutine of its own. There is none while it waits: of calls that wait for their send
// time hundreds of connectors with a backlog have 10,000.
func afterUnless(ctx context.Context, wait time.Duration, do, instead func()) {
	var begun atomic.Bool
	forget := context.AfterFunc(ctx, func() {
		if begun.CompareAndSwap(false, true) {
			instead()
		}
	})
	time.AfterFunc(wait, func() {
		if begun.CompareAndSwap(false, true) {
			forget()
			do()
		}
	})
}

func (w *worker) fly(ctx context.Context, client *transport.Transport, connector *v1alpha1.Connector, f flight, recalled <-chan struct{}) outcome {
	if f.job != nil && f.job.span != nil {
		ctx = trace.ContextWithSpan(ctx, f.job.span)
	}
	request, err := newRequest(ctx, connector.Spec.Endpoint, f.request, f.header)
	if err != nil {
		now := time.Now()
		return outcome{flight: f, result: transport.Outcome{Reply: connectors.Reply{Err: err, At: now}, SettledAt: now}}
	}
	// The span starts when the call may go: waiting for the pace is part of the
	// delivery's span, not of the call's.
	ctx, span := w.tracer.Start(ctx, f.request.Method+" "+connector.Name,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(f.permit.SendAt), trace.WithAttributes(
			attribute.String("http.request.method", f.request.Method),
			attribute.String("server.address", request.URL.Host),
			attribute.String("url.path", request.URL.Path),
			attribute.Int64("peppasync.permit", f.permit.Number),
		))
	defer span.End()
	result := client.DoUnless(ctx, request.WithContext(ctx), f.permit, recalled)
	span.SetAttributes(attribute.Int("http.response.status_code", result.Status))
	if result.Err != nil {
		span.SetStatus(codes.Error, result.Err.Error())
	} else if result.Status >= http.StatusBadRequest {
		span.SetStatus(codes.Error, http.StatusText(result.Status))
	}
	return outcome{flight: f, result: result}
}

func newRequest(ctx context.Context, endpoint string, r connectors.Request, signIn http.Header) (*http.Request, error) {
	target := strings.TrimSuffix(endpoint, "/") + r.Path
	request, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("building the request %s %s: %w", r.Method, r.Path, err)
	}
	for _, header := range []http.Header{r.Header, signIn} {
		for name, values := range header {
			request.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "Peppasync")
	}
	return request, nil
}

// isVoid reports whether nothing of the request can have reached anybody, so
// that its permit counts as never handed out.
func (o outcome) isVoid() bool { return !o.result.Written }

// wasUnused reports whether the permit was not used for a reason of this side,
// which says nothing about the other: a stall let its time pass, or it was
// recalled.
func (o outcome) wasUnused() bool {
	return errors.Is(o.result.Err, transport.ErrPermitExpired) || errors.Is(o.result.Err, transport.ErrRecalled)
}

// foundNoConnection reports whether there was none to write to in time.
func (o outcome) foundNoConnection() bool {
	return errors.Is(o.result.Err, transport.ErrNotConnected)
}
