// Package hmac reads the webhooks of systems that have no folder of their own (system
// HTTP): the Connector says how they are signed, where they name themselves, and how a
// body becomes an order.
package hmac

import (
	"fmt"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/canonical"
	"github.com/peppasync/peppasync/services/connectors/envelope"
	"github.com/peppasync/peppasync/services/connectors/signature"
)

// HMAC implements connectors.Source. The zero value compiles the Connector's expression
// for each event.
type HMAC struct {
	orders canonical.Reader
}

var _ connectors.Source = HMAC{}

// New returns an HMAC that keeps what it compiles.
func New() HMAC { return HMAC{orders: canonical.New()} }

// Verify checks the signature by spec.webhook.hmac, or the secret where the sender only
// shows it.
func (HMAC) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	if err := signature.Check(delivery); err != nil {
		return nil, err
	}
	webhook := delivery.Spec.Webhook
	body, err := envelope.Read(delivery.Body)
	if err != nil {
		return nil, err
	}
	topic, where := topicOf(webhook.Topic, delivery, body)
	if err := envelope.Topic(topic, where); err != nil {
		return nil, err
	}
	event := connectors.Event{Topic: topic, Body: delivery.Body}
	if id := idOf(webhook.EventID, delivery, body); id != "" {
		event.ID = envelope.ID(id)
	} else {
		event.ID = envelope.Digest(topic, string(delivery.Body))
	}
	return []connectors.Event{event}, nil
}

// topicOf returns the topic, and the place where it is looked for.
func topicOf(declared *v1alpha1.WebhookTopic, delivery connectors.Delivery, body envelope.Members) (topic, where string) {
	switch {
	case declared == nil:
		return "", "spec.webhook.topic" // its default fills it
	case declared.Header != "":
		return delivery.Header.Get(string(declared.Header)), fmt.Sprintf("header %s (spec.webhook.topic)", declared.Header)
	case declared.Field != "":
		return body.At(declared.Field), fmt.Sprintf("field %s of the body (spec.webhook.topic)", declared.Field)
	}
	return declared.Constant, "spec.webhook.topic"
}

func idOf(declared *v1alpha1.WebhookEventID, delivery connectors.Delivery, body envelope.Members) string {
	switch {
	case declared == nil:
		return ""
	case declared.Header != "":
		return delivery.Header.Get(string(declared.Header))
	}
	return body.At(declared.Field)
}

// Order reads the body as the canonical order, or what spec.webhook.order makes of it.
func (h HMAC) Order(spec *v1alpha1.ConnectorSpec, topic string, body []byte) (*orderv1.Order, error) {
	return h.orders.Order(spec, topic, body, "")
}
