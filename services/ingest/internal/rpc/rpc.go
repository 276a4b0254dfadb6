// Package rpc is the door for programs: IngestService. It checks who hands something in
// and what, has it kept as a webhook is, and only then answers OK.
package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
	"github.com/peppasync/peppasync/services/ingest/internal/submission"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Config is what a Server needs. All fields are required.
type Config struct {
	Keeper *keep.Keeper
	// Sources by the name that a Connector's spec.system gives.
	Sources map[string]connectors.Source
	Secrets secrets.Resolver
	// Topics returns those that flows take of a connector.
	Topics func(connector string) []string
	Tracer trace.Tracer
	// Patience is how long a submission waits to be stored.
	Patience time.Duration
	// Window is how many submissions of a stream are worked on at the same time.
	Window int
	// Idle is how long a stream waits for the next one.
	Idle time.Duration
}

// Server is IngestService. It is safe for concurrent use.
type Server struct {
	ingestv1.UnimplementedIngestServiceServer

	config             Config
	refused, postponed atomic.Uint64
	stop               sync.Once
	stopping           chan struct{}
	known              keys
}

// New returns a server.
func New(config Config) *Server { return &Server{config: config, stopping: make(chan struct{})} }

// Counts returns how many submissions were refused for good and how many were postponed
// since the start.
func (s *Server) Counts() (refused, postponed uint64) {
	return s.refused.Load(), s.postponed.Load()
}

// Stop ends streams, also those that wait for their callers.
func (s *Server) Stop() { s.stop.Do(func() { close(s.stopping) }) }

// Submit is part of IngestService.
func (s *Server) Submit(ctx context.Context, r *ingestv1.SubmitRequest) (*ingestv1.SubmitResponse, error) {
	ctx, span := s.start(ctx, "Submit")
	defer span.End()
	response, no := s.submit(ctx, r.GetSubmission())
	s.tell(span, no)
	if no != nil {
		return nil, no.status("submission.", nil)
	}
	return response, nil
}

func (s *Server) submit(ctx context.Context, sub *ingestv1.Submission) (*ingestv1.SubmitResponse, *refusal) {
	a, no := s.admit(ctx, sub)
	if no != nil {
		return nil, no
	}
	held := s.config.Keeper.Memory().Share()
	defer held.Release()
	if !reserve(held, sub) {
		return nil, of(keep.OutOfMemory(), "")
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Patience)
	defer cancel()
	repetition, no := s.keep(ctx, a, held)
	if no != nil {
		return nil, no
	}
	return &ingestv1.SubmitResponse{EventId: a.event.GetId(), Repetition: repetition}, nil
}

// reserve takes memory for a submission as it came and as it is stored, which needs a
// little more: who, when, in which trace.
func reserve(held *keep.Share, sub *ingestv1.Submission) bool {
	const frame = 1 << 10
	size := int64(proto.Size(sub))
	return held.Reserve(2*size+frame) && held.Take(size)
}

// start begins the span of a call, in the trace that the caller's metadata names.
func (s *Server) start(ctx context.Context, method string) (context.Context, trace.Span) {
	incoming, _ := metadata.FromIncomingContext(ctx)
	first := func(key string) string {
		if values := incoming.Get(key); len(values) > 0 {
			return values[0]
		}
		return ""
	}
	ctx = telemetry.Extract(ctx, first(telemetry.HeaderTraceparent), first(telemetry.HeaderTracestate))
	return s.config.Tracer.Start(ctx, ingestv1.IngestService_ServiceDesc.ServiceName+"/"+method, //nolint:spancheck // callers end it
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", ingestv1.IngestService_ServiceDesc.ServiceName),
			attribute.String("rpc.method", method),
		))
}

// tell counts how a submission ended, and says it in its span.
func (s *Server) tell(span trace.Span, no *refusal) {
	switch {
	case no == nil:
		return
	case no.passes():
		s.postponed.Add(1)
		span.SetStatus(otelcodes.Error, "")
	default:
		s.refused.Add(1)
	}
	span.SetAttributes(attribute.String("error.type", no.Kind))
}

// admitted is a submission that may be kept.
type admitted struct {
	event *eventv1.Event
	// order names the order that it is about.
	order string
}

// admit checks who hands a submission in, and then what.
func (s *Server) admit(ctx context.Context, sub *ingestv1.Submission) (admitted, *refusal) {
	name := sub.GetConnector()
	connector, p := s.config.Keeper.Connector(name)
	if p != nil {
		return admitted{}, of(p, "")
	}
	if connector == nil {
		s.config.Keeper.Notices().Post(slog.LevelWarn, "unknown-submitted",
			"a submission for a connector that does not exist or takes no events", slog.String("connector", keep.Abridged(name)))
		return admitted{}, s.unknown(ctx, name)
	}
	// What it refuses is told already, for what it is.
	if no := s.authenticate(ctx, connector); no != nil {
		return admitted{}, no
	}
	var no *refusal
	if violations := submission.Check(sub); len(violations) > 0 {
		no = violated(violations...)
	}
	if no == nil {
		no = s.checkTopic(connector, sub.GetTopic())
	}
	id := sub.GetOrder().GetId()
	if no == nil && sub.GetOrder() == nil {
		id, no = s.read(connector, sub)
	}
	if no != nil {
		s.config.Keeper.Complain(name, no.Problem, nil)
		return admitted{}, no
	}
	event := &eventv1.Event{Connector: name, Topic: sub.GetTopic(), Id: sub.GetEventId(), Body: sub.GetBody(), Order: sub.GetOrder(), Bulk: sub.GetBulk()}
	if event.GetId() == "" {
		event.Id = idOf(event)
	}
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("peppasync.connector", name),
		attribute.String("peppasync.topic", event.GetTopic()), attribute.String("peppasync.event_id", event.GetId()))
	return admitted{event: event, order: name + "\x00" + id}, nil
}

// idOf makes an id of what an event says. 16 bytes of the hash keep apart as many events
// as there will ever be.
func idOf(event *eventv1.Event) string {
	sum := sha256.Sum256(keep.Content(event))
	return "sha256-" + hex.EncodeToString(sum[:16])
}

// authenticate compares the caller's credentials with the connector's secret.
func (s *Server) authenticate(ctx context.Context, connector *v1alpha1.Connector) *refusal {
	given, ok := bearer(ctx)
	if !ok {
		return refused(http.StatusUnauthorized, "credentials", `the metadata has no "authorization: Bearer <secret>"`)
	}
	secret, err := s.config.Secrets.Secret(ctx, connector.Spec.Webhook.SecretRef.Name)
	if err == nil && secret["secret"] == "" && secret["previousSecret"] == "" {
		err = connectors.ErrSecret
	}
	if err != nil {
		// Not the caller's fault.
		s.config.Keeper.Complain(connector.Name, keep.Unavailable("secret", "", 0), err)
		return of(keep.Unavailable("secret", "the connector's secret cannot be read at the moment", keep.Later), "")
	}
	// All are compared, so that the time tells nothing.
	if same(given, secret["secret"])|same(given, secret["previousSecret"]) == 1 {
		return nil
	}
	s.config.Keeper.Complain(connector.Name, refused(http.StatusUnauthorized, "credentials",
		"a submission's credentials are not those of the connector (keys secret and previousSecret of what spec.webhook.secretRef names)").Problem, nil)
	return s.unknown(ctx, connector.Name)
}

// unknown is told of a connector that is not there and of one that is not the caller's: who
// has the credentials of one must not find out by them which others there are, and who has
// those of none that there is any.
func (s *Server) unknown(ctx context.Context, name string) *refusal {
	if s.Standing(ctx) != Known {
		return refused(http.StatusUnauthorized, "credentials",
			"the credentials are of no connector (keys secret and previousSecret of what spec.webhook.secretRef names)")
	}
	return refused(http.StatusNotFound, "unknown-connector", fmt.Sprintf(
		"there is no connector %q that takes events in (spec.webhook) and has these credentials (spec.webhook.secretRef)", keep.Abridged(name)))
}

// same compares in constant time, whatever the lengths; nothing is the same as no secret.
func same(given, secret string) int {
	if secret == "" {
		return 0
	}
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:])
}

// bearer returns the caller's credentials.
func bearer(ctx context.Context) (string, bool) {
	incoming, _ := metadata.FromIncomingContext(ctx)
	values := incoming.Get("authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(token) != ""
}

// read has the connector's source read a body, so that a program is told at once what
// could only be held for a person later, and returns the order's id. A source that
// panics has met what it cannot read.
func (s *Server) read(connector *v1alpha1.Connector, sub *ingestv1.Submission) (id string, no *refusal) {
	wrong := func(field, format string, values ...any) (string, *refusal) {
		return "", violated(&ingestv1.Violation{Field: field, Description: fmt.Sprintf(format, values...)})
	}
	defer func() {
		if r := recover(); r != nil {
			id, no = wrong("body", "cannot be read: %v", r)
		}
	}()
	source := s.config.Sources[string(connector.Spec.System)]
	body := sub.GetBody()
	switch most := connector.Spec.Webhook.MaxBodyBytes; {
	case source == nil:
		return wrong("body", "a %s has no bodies that can be read, expected an order", connector.Spec.System)
	case most > 0 && int64(len(body)) > most:
		return wrong("body", "has %d bytes, expected at most %d (spec.webhook.maxBodyBytes of the Connector)", len(body), most)
	case !json.Valid(body):
		return wrong("body", "is not JSON")
	}
	if err := order.CheckListed(body); err != nil {
		return wrong("body", "%v", err)
	}
	read, err := source.Order(&connector.Spec, sub.GetTopic(), body)
	switch thin, ok := source.(connectors.Thin); {
	case errors.Is(err, connectors.ErrNotAnOrder):
		return wrong("body", "is about no order: %v", err)
	case errors.Is(err, connectors.ErrThin) && ok:
		id, err = thin.OrderID(&connector.Spec, sub.GetTopic(), body)
	case err == nil:
		id, err = read.GetId(), order.CheckParts(read)
	}
	if err != nil {
		return wrong("body", "%v", err)
	}
	if id == "" || len(id) > submission.MaxID {
		return wrong("body", "the order's id has %d bytes, expected 1 to %d", len(id), submission.MaxID)
	}
	return id, nil
}

// keep has a submission stored.
func (s *Server) keep(ctx context.Context, a admitted, held *keep.Share) (repetition bool, no *refusal) {
	if p := s.config.Keeper.Enter(); p != nil {
		return false, of(p, "")
	}
	defer s.config.Keeper.Leave()
	repetition, p := s.config.Keeper.Keep(ctx, a.event, held)
	field := "body"
	if a.event.GetOrder() != nil {
		field = "order"
	}
	return repetition, of(p, field)
}
