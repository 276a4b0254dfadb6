package rpc

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/keep"
)

// checkTopic refuses a topic that no flow takes and under which the connector's system tells
// of no order: what is handed in under it would go nowhere, and nobody would be told.
func (s *Server) checkTopic(connector *v1alpha1.Connector, topic string) *refusal {
	taken := s.config.Topics(connector.Name)
	if slices.Contains(taken, topic) {
		return nil
	}
	known, tells := s.tells(connector, topic)
	if tells {
		return nil
	}
	system := connector.Spec.System
	known = slices.Compact(slices.Sorted(slices.Values(slices.Concat(known, taken))))
	description := fmt.Sprintf("found %q, but system %s tells of no orders, and no Flow takes anything of this Connector (spec.from)",
		keep.Abridged(topic), system)
	if len(known) > 0 {
		description = fmt.Sprintf("found %q, expected one under which system %s tells of orders, or which a Flow takes of this Connector (spec.from): %s",
			keep.Abridged(topic), system, strings.Join(known, ", "))
	}
	return violated(&ingestv1.Violation{Field: "topic", Description: description})
}

// tells reports whether a connector's system tells of orders under a topic, and which it is
// known to, as far as it is known. Of a system without webhooks programs choose their own. A
// source that panics has met what it cannot read; that is the body's fault.
func (s *Server) tells(connector *v1alpha1.Connector, topic string) (known []string, tells bool) {
	source := s.config.Sources[string(connector.Spec.System)]
	if source == nil {
		return nil, true
	}
	if enumerated, ok := source.(connectors.Enumerated); ok {
		known = enumerated.OrderTopics()
		return known, slices.Contains(known, topic)
	}
	known = connector.Spec.Webhook.OrderTopics
	defer func() { tells = tells || recover() != nil }()
	_, err := source.Order(&connector.Spec, topic, nil)
	return known, !errors.Is(err, connectors.ErrNotAnOrder)
}
