// Package webhook is the door: it checks one delivery of a sender, has it
// stored, and only then answers 2xx. Whatever else it answers, nothing of the
// delivery is kept; 503 asks for it again, 4xx says that it will never be taken
// as it is.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
	"github.com/peppasync/peppasync/services/ingest/internal/wellformed"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Path is where senders deliver, with the connector's name behind it.
const Path = "/v1/webhooks/"

// Config is what a Handler needs. All fields are required.
type Config struct {
	Keeper *keep.Keeper
	// Sources by the name that a Connector's spec.system gives.
	Sources map[string]connectors.Source
	Secrets secrets.Resolver
	Tracer  trace.Tracer
	// Latency takes how long each delivery took, with the trace that it is part of.
	Latency metric.Float64Histogram
	// MaxEvents bounds the events of one delivery.
	MaxEvents int
	// Patience is how long a request waits to be stored, from when its body is
	// in; well under the sender's own timeout (Shopify: 5 s in all).
	Patience time.Duration
}

// Handler is the http.Handler of Path. It is safe for concurrent use.
type Handler struct {
	config   Config
	buffers  buffers
	outcomes outcomes

	// working are all requests, bodies on their way included.
	working            atomic.Int64
	refused, postponed atomic.Uint64
}

// Outcomes of a delivery, as metrics spell them; made once, since each is wanted for each
// webhook.
type outcomes struct{ taken, refused, postponed metric.MeasurementOption }

func newOutcomes() outcomes {
	of := func(outcome string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", outcome)))
	}
	return outcomes{taken: of("taken"), refused: of("refused"), postponed: of("postponed")}
}

// New returns a handler.
func New(config Config) *Handler { return &Handler{config: config, outcomes: newOutcomes()} }

// Counts returns how many deliveries were refused with 4xx and postponed with 503 since
// the start.
func (h *Handler) Counts() (refused, postponed uint64) {
	return h.refused.Load(), h.postponed.Load()
}

// Working returns the number of requests in work, bodies on their way included.
func (h *Handler) Working() int64 { return h.working.Load() }

// ServeHTTP takes one delivery.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx := telemetry.Extract(r.Context(), r.Header.Get(telemetry.HeaderTraceparent), r.Header.Get(telemetry.HeaderTracestate))
	ctx, span := h.config.Tracer.Start(ctx, "POST "+Path+"{connector}", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	status := http.StatusOK
	if p := h.take(ctx, w, r); p != nil {
		if p.Status < http.StatusInternalServerError {
			discardRest(r)
		}
		write(w, p)
		status = p.Status
		span.SetAttributes(attribute.String("error.type", p.Kind))
	} else {
		w.WriteHeader(http.StatusOK)
	}
	outcome := h.outcomes.taken
	switch {
	case status >= 500:
		h.postponed.Add(1)
		span.SetStatus(codes.Error, "")
		outcome = h.outcomes.postponed
	case status >= 400:
		h.refused.Add(1)
		outcome = h.outcomes.refused
	}
	// Not under the request's own context: one whose sender has gone would not be counted.
	h.config.Latency.Record(context.WithoutCancel(ctx), time.Since(began).Seconds(), outcome)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("http.route", Path+"{connector}"), attribute.Int("http.response.status_code", status))
	}
}

// take returns nil once the delivery is stored.
func (h *Handler) take(ctx context.Context, w http.ResponseWriter, r *http.Request) *keep.Problem {
	h.working.Add(1)
	defer h.working.Add(-1)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		if h.invite(w.Header(), r) {
			return nil
		}
		return &keep.Problem{Status: http.StatusMethodNotAllowed, Kind: "method-not-allowed", Detail: "webhooks are delivered by POST"}
	}
	name, below := strings.CutPrefix(r.URL.Path, Path)
	connector, p := h.config.Keeper.Connector(name)
	if p != nil {
		return p
	}
	if !below || connector == nil || h.config.Sources[string(connector.Spec.System)] == nil {
		h.config.Keeper.Notices().Post(slog.LevelWarn, "unknown",
			"a webhook for a connector that does not exist or takes none; check its address at the sender", slog.String("connector", keep.Abridged(name)))
		return &keep.Problem{Status: http.StatusNotFound, Kind: "unknown-connector", Detail: "there is no connector of that name that takes webhooks"}
	}
	now := time.Now()
	held := h.config.Keeper.Memory().Share()
	defer held.Release()
	body, p := h.buffers.read(w, r, connector.Spec.Webhook.MaxBodyBytes, held)
	if p != nil {
		h.config.Keeper.Complain(connector.Name, p, nil)
		return p
	}
	// Nothing of it is left behind: what is stored is encoded, which copies it.
	defer h.buffers.put(body)
	if p := h.config.Keeper.Enter(); p != nil {
		return p
	}
	defer h.config.Keeper.Leave()
	bounded := &deadline{Context: ctx, at: time.Now().Add(h.config.Patience)}
	defer bounded.release()
	events, p := h.verify(bounded, connector, r.Header, *body, now)
	if p != nil {
		return p
	}
	return h.keepAll(bounded, connector, events, held)
}

// invite answers a sender that asks whether it may send, and reports whether it did.
// What is asked so stands in no record: nothing was delivered.
func (h *Handler) invite(answer http.Header, r *http.Request) bool {
	if r.Method != http.MethodOptions {
		return false
	}
	connector, _ := h.config.Keeper.Connector(strings.TrimPrefix(r.URL.Path, Path))
	if connector == nil {
		return false
	}
	source, ok := h.config.Sources[string(connector.Spec.System)].(connectors.Invited)
	if !ok {
		return false
	}
	invitation := source.Invitation(r.Header)
	maps.Copy(answer, invitation)
	return invitation != nil
}

// keepAll has each event of a delivery stored, in their order. Where one is not, the sender
// is asked for all of them again, and those that are stored are repetitions then.
func (h *Handler) keepAll(ctx context.Context, connector *v1alpha1.Connector, told []connectors.Event, held *keep.Share) *keep.Problem {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.String("peppasync.connector", connector.Name), attribute.Int("peppasync.events", len(told)))
		if len(told) == 1 {
			span.SetAttributes(attribute.String("peppasync.topic", told[0].Topic), attribute.String("peppasync.event_id", told[0].ID))
		}
	}
	if len(told) == 1 {
		_, p := h.config.Keeper.Keep(ctx, eventOf(connector, told[0]), held)
		return p
	}
	events := make([]*eventv1.Event, len(told))
	for i := range told {
		events[i] = eventOf(connector, told[i])
	}
	return h.config.Keeper.KeepAll(ctx, events, held)
}

// maxWhy is what a person reads of why something is no event: it may quote what is wrong.
const maxWhy = 512

func eventOf(connector *v1alpha1.Connector, told connectors.Event) *eventv1.Event {
	why := told.Malformed
	if len(why) > maxWhy {
		why = why[:maxWhy] + "…"
	}
	return &eventv1.Event{
		Connector: connector.Name, Topic: told.Topic, Id: told.ID, Body: told.Body, Malformed: strings.ToValidUTF8(why, ""),
	}
}

// verify checks the signature before anything is parsed.
func (h *Handler) verify(
	ctx context.Context, connector *v1alpha1.Connector, header http.Header, body []byte, now time.Time,
) ([]connectors.Event, *keep.Problem) {
	secret, err := h.config.Secrets.Secret(ctx, connector.Spec.Webhook.SecretRef.Name)
	var events []connectors.Event
	if err == nil {
		events, err = h.config.Sources[string(connector.Spec.System)].Verify(connectors.Delivery{
			Spec: &connector.Spec, Header: header, Body: body, Secret: secret, ReceivedAt: now,
		})
	}
	var p *keep.Problem
	switch {
	case err == nil && len(events) > h.config.MaxEvents:
		p = &keep.Problem{Status: http.StatusRequestEntityTooLarge, Kind: "too-many",
			Detail: fmt.Sprintf("the delivery holds %d events, expected at most %d: send them in smaller batches", len(events), h.config.MaxEvents)}
	case err == nil && !slices.ContainsFunc(events, notJSON):
		return events, nil
	case err == nil:
		p = &keep.Problem{Status: http.StatusBadRequest, Kind: "not-json", Detail: "the body is not JSON"}
	case errors.Is(err, connectors.ErrSignature):
		p = &keep.Problem{Status: http.StatusUnauthorized, Kind: "signature", Detail: "the signature does not match the body"}
	case errors.Is(err, connectors.ErrMalformed):
		p = &keep.Problem{Status: http.StatusBadRequest, Kind: "malformed", Detail: err.Error()}
	default:
		// The secret is missing or cannot be read: not the sender's fault.
		p = keep.Unavailable("secret", "the connector's secret cannot be read at the moment", keep.Later)
	}
	h.config.Keeper.Complain(connector.Name, p, err)
	return nil, p
}

func notJSON(e connectors.Event) bool { return !wellformed.JSON(e.Body) }
