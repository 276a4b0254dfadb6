// Package webhook is the door: it checks one delivery of a sender, has it
// stored, and only then answers 2xx. Whatever else it answers, nothing of the
// delivery is kept; 503 asks for it again, 4xx says that it will never be taken
// as it is.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/groupcommit"
	"github.com/peppasync/peppasync/services/ingest/internal/notice"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Path is where senders deliver, with the connector's name behind it.
const Path = "/v1/webhooks/"

// ErrFull is a Committer's error where it does not even try, because there is no
// room to store anything.
var ErrFull = errors.New("full")

// Committer stores an encoded event.
type Committer interface {
	Commit(ctx context.Context, event []byte) error
}

// Config is what a Handler needs. All fields are required.
type Config struct {
	// Connectors returns those that exist now, by name; nil while that is not
	// known yet.
	Connectors func() map[string]*v1alpha1.Connector
	// Sources by the name that a Connector's spec.system gives.
	Sources   map[string]connectors.Source
	Secrets   secrets.Resolver
	Committer Committer
	Recent    *recent.Index
	Memory    *Memory
	Notices   *notice.Board
	Tracer    trace.Tracer
	// MaxRequests bounds the requests whose bodies are in and that are worked on
	// at the same time. Those that are still on their way do not count: who sends
	// slowly must not keep others out. Memory bounds their bodies.
	MaxRequests int64
	// MaxEvents bounds the events of one delivery.
	MaxEvents int
	// MaxEventBytes bounds an event as it is stored.
	MaxEventBytes int
	// Patience is how long a request waits to be stored, from when its body is
	// in; well under the sender's own timeout (Shopify: 5 s in all).
	Patience time.Duration
}

// Handler is the http.Handler of Path. It is safe for concurrent use.
type Handler struct {
	config Config

	// working are all requests, complete those of them whose bodies are in.
	working, complete                      atomic.Int64
	stored, duplicates, refused, postponed atomic.Uint64
}

// New returns a handler.
func New(config Config) *Handler { return &Handler{config: config} }

// Counts are totals since the start.
type Counts struct {
	// Stored events, and exact Duplicates of them; both were answered 2xx.
	Stored, Duplicates uint64
	// Deliveries Refused with 4xx, and Postponed with 503.
	Refused, Postponed uint64
}

// Counts returns the totals so far.
func (h *Handler) Counts() Counts {
	return Counts{h.stored.Load(), h.duplicates.Load(), h.refused.Load(), h.postponed.Load()}
}

// Working returns the number of requests in work, bodies on their way included.
func (h *Handler) Working() int64 { return h.working.Load() }

// ServeHTTP takes one delivery.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := telemetry.Extract(r.Context(), r.Header.Get(telemetry.HeaderTraceparent), r.Header.Get(telemetry.HeaderTracestate))
	ctx, span := h.config.Tracer.Start(ctx, "POST "+Path+"{connector}", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	status := http.StatusOK
	if p := h.take(ctx, w, r); p != nil {
		if p.status < http.StatusInternalServerError {
			discardRest(r)
		}
		p.write(w)
		status = p.status
		span.SetAttributes(attribute.String("error.type", p.kind))
	} else {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case status >= 500:
		h.postponed.Add(1)
		span.SetStatus(codes.Error, "")
	case status >= 400:
		h.refused.Add(1)
	}
	span.SetAttributes(attribute.String("http.route", Path+"{connector}"), attribute.Int("http.response.status_code", status))
}

// take returns nil once the delivery is stored.
func (h *Handler) take(ctx context.Context, w http.ResponseWriter, r *http.Request) *problem {
	h.working.Add(1)
	defer h.working.Add(-1)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return &problem{status: http.StatusMethodNotAllowed, kind: "method-not-allowed", detail: "webhooks are delivered by POST"}
	}
	name, below := strings.CutPrefix(r.URL.Path, Path)
	known := h.config.Connectors()
	if known == nil {
		// A 404 would tell a sender to give up on what is only not known yet.
		h.config.Notices.Post(slog.LevelError, "no-catalog", "there is no catalog yet, senders are asked to come again")
		return unavailable("no-catalog", "the connectors are not known yet", soon)
	}
	connector := known[name]
	if !below || connector == nil || connector.Spec.Webhook == nil || h.config.Sources[string(connector.Spec.System)] == nil {
		h.config.Notices.Post(slog.LevelWarn, "unknown", "a webhook for a connector that does not exist or takes none; check its address at the sender",
			slog.String("connector", abridged(name)))
		return &problem{status: http.StatusNotFound, kind: "unknown-connector", detail: "there is no connector of that name that takes webhooks"}
	}
	now := time.Now()
	held := share{memory: h.config.Memory}
	defer held.release()
	body, p := readBody(w, r, connector.Spec.Webhook.MaxBodyBytes, &held)
	if p != nil {
		h.complain(connector, p, nil)
		return p
	}
	defer h.complete.Add(-1)
	if h.complete.Add(1) > h.config.MaxRequests {
		h.config.Notices.Post(slog.LevelWarn, "overloaded", "too many webhooks at the same time, senders are asked to come again")
		return unavailable("overloaded", "too many requests are being taken in at the moment", soon)
	}
	ctx, cancel := context.WithTimeout(ctx, h.config.Patience)
	defer cancel()
	events, p := h.verify(ctx, connector, r.Header, body, now)
	if p != nil {
		return p
	}
	return h.keepAll(ctx, connector, events, &held)
}

// keepAll has each event of a delivery stored. Where one is not, the sender is asked for
// all of them again, and those that are stored are repetitions then.
func (h *Handler) keepAll(ctx context.Context, connector *v1alpha1.Connector, events []connectors.Event, held *share) *problem {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(attribute.String("peppasync.connector", connector.Name), attribute.Int("peppasync.events", len(events)))
	if len(events) == 1 {
		span.SetAttributes(attribute.String("peppasync.topic", events[0].Topic), attribute.String("peppasync.event_id", events[0].ID))
		return h.keep(ctx, connector, events[0], held)
	}
	// Together, so that they share writes: one after the other each would wait for a
	// sync of its own.
	problems := make([]*problem, len(events))
	shares := make([]share, len(events))
	var group sync.WaitGroup
	for i, event := range events {
		shares[i].memory = held.memory
		group.Go(func() { problems[i] = h.keep(ctx, connector, event, &shares[i]) })
	}
	group.Wait()
	for i := range shares {
		held.held += shares[i].held
	}
	return worst(problems)
}

// worst returns the problem that decides the answer: while any event may be stored by
// another try, the sender has to try again.
func worst(problems []*problem) *problem {
	var chosen *problem
	for _, p := range problems {
		if p != nil && (chosen == nil || p.status > chosen.status) {
			chosen = p
		}
	}
	return chosen
}

// verify checks the signature before anything is parsed.
func (h *Handler) verify(ctx context.Context, connector *v1alpha1.Connector, header http.Header, body []byte, now time.Time) ([]connectors.Event, *problem) {
	secret, err := h.config.Secrets.Secret(ctx, connector.Spec.Webhook.SecretRef.Name)
	var events []connectors.Event
	if err == nil {
		events, err = h.config.Sources[string(connector.Spec.System)].Verify(connectors.Delivery{
			Spec: &connector.Spec, Header: header, Body: body, Secret: secret, ReceivedAt: now,
		})
	}
	var p *problem
	switch {
	case err == nil && len(events) > h.config.MaxEvents:
		p = &problem{status: http.StatusRequestEntityTooLarge, kind: "too-many",
			detail: fmt.Sprintf("the delivery holds %d events, expected at most %d: send them in smaller batches", len(events), h.config.MaxEvents)}
	case err == nil && !slices.ContainsFunc(events, notJSON):
		return events, nil
	case err == nil:
		p = &problem{status: http.StatusBadRequest, kind: "not-json", detail: "the body is not JSON"}
	case errors.Is(err, connectors.ErrSignature):
		p = &problem{status: http.StatusUnauthorized, kind: "signature", detail: "the signature does not match the body"}
	case errors.Is(err, connectors.ErrMalformed):
		p = &problem{status: http.StatusBadRequest, kind: "malformed", detail: err.Error()}
	default:
		// The secret is missing or cannot be read: not the sender's fault.
		p = unavailable("secret", "the connector's secret cannot be read at the moment", later)
	}
	h.complain(connector, p, err)
	return nil, p
}

func notJSON(e connectors.Event) bool { return !json.Valid(e.Body) }

// keep has an event stored, unless it is a repetition of one that is.
func (h *Handler) keep(ctx context.Context, connector *v1alpha1.Connector, event connectors.Event, held *share) *problem {
	key := h.config.Recent.Key(connector.Name, event.Topic, event.ID, event.Body)
	attempt, own, stored := h.config.Recent.Begin(key, time.Now())
	switch {
	case stored:
		h.duplicates.Add(1)
		return nil
	case own:
		err := errors.New("the request ended early")
		defer func() { h.config.Recent.End(key, attempt, err, time.Now()) }()
		var p *problem
		if p, err = h.store(ctx, connector, event, held); err == nil {
			h.stored.Add(1)
		}
		return p
	}
	select {
	case <-attempt.Done():
		if attempt.Err() == nil {
			h.duplicates.Add(1)
			return nil
		}
		return unavailable("not-stored", "the event that this one repeats was not stored", soon)
	case <-ctx.Done():
		return unavailable("slow", "the event that this one repeats is not stored yet", soon)
	}
}

// store returns a nil problem only with a nil error.
func (h *Handler) store(ctx context.Context, connector *v1alpha1.Connector, told connectors.Event, held *share) (*problem, error) {
	traced := telemetry.Inject(ctx)
	// Encoded here and not in the pack, so that an event that cannot be encoded
	// spoils nobody else's.
	event, err := proto.Marshal(&eventv1.Event{
		Connector:   connector.Name,
		Topic:       told.Topic,
		Id:          told.ID,
		ReceivedAt:  timestamppb.Now(),
		Body:        told.Body,
		Traceparent: traced[telemetry.HeaderTraceparent],
		Tracestate:  traced[telemetry.HeaderTracestate],
	})
	var p *problem
	switch {
	case err != nil:
		p = &problem{status: http.StatusBadRequest, kind: "malformed", detail: "the headers hold what is not text"}
	case len(event) > h.config.MaxEventBytes:
		err = fmt.Errorf("the event has %d bytes, at most %d can be stored", len(event), h.config.MaxEventBytes)
		p = &problem{status: http.StatusRequestEntityTooLarge, kind: "too-large", detail: err.Error()}
	case !held.take(int64(len(event))):
		err = errors.New("no memory is left for bodies")
		p = outOfMemory()
	default:
		// A sender that hangs up does not take back what it delivered, and
		// repetitions may be waiting for the outcome.
		deadline, _ := ctx.Deadline()
		detached, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
		defer cancel()
		if err = h.config.Committer.Commit(detached, event); err != nil {
			p = notStored(err)
		}
	}
	if p != nil {
		h.complain(connector, p, err)
	}
	return p, err
}

// notStored says what to tell the sender; the outcome may be open, and then the
// repetition that is asked for is a duplicate that order state settles.
func notStored(err error) *problem {
	switch {
	case bus.IsFull(err), errors.Is(err, ErrFull):
		return unavailable("full", "there is no room to store anything", later)
	case errors.Is(err, groupcommit.ErrOverloaded), errors.Is(err, groupcommit.ErrGaveUp):
		return unavailable("overloaded", "too many deliveries are waiting to be stored", soon)
	case errors.Is(err, groupcommit.ErrStopped):
		return unavailable("stopping", "this instance is stopping", soon)
	}
	return unavailable("not-stored", "the delivery could not be stored at the moment", soon)
}

// complain logs one line per connector and kind, however many deliveries fail.
func (h *Handler) complain(connector *v1alpha1.Connector, p *problem, err error) {
	level := slog.LevelWarn
	if p.status >= 500 {
		level = slog.LevelError
	}
	attributes := []slog.Attr{
		slog.String("connector", connector.Name), slog.String("kind", p.kind), slog.Int("status", p.status),
	}
	if err != nil {
		attributes = append(attributes, slog.String("error", err.Error()))
	} else {
		attributes = append(attributes, slog.String("error", p.detail))
	}
	h.config.Notices.Post(level, connector.Name+" "+p.kind, "a webhook was not taken", attributes...)
}

// abridged keeps what a stranger wrote from filling the log.
func abridged(name string) string {
	const most = 63
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}
