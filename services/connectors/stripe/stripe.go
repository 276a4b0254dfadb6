// Package stripe reads the webhooks of Stripe. They tell of payments: none carries an
// order, and they are kept as they came.
package stripe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/envelope"
	"github.com/peppasync/peppasync/services/connectors/signature"
)

const headerSignature = "Stripe-Signature"

// Stripe implements connectors.Source.
type Stripe struct{}

var _ connectors.Source = Stripe{}

// Verify checks Stripe-Signature, t=<seconds>,v1=<hex>, of which there are several v1
// while the sender changes its key: HMAC-SHA256 over "<t>.<body>" with the whole
// "whsec_..." text as the key. Other schemes, such as v0 of its tests, count for nothing.
func (Stripe) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	keys, err := signature.Keys(delivery.Secret)
	if err != nil {
		return nil, err
	}
	times := signature.Elements(delivery.Header, headerSignature, "t=")
	var signatures [][]byte
	for _, element := range signature.Elements(delivery.Header, headerSignature, "v1=") {
		if decoded, err := hex.DecodeString(element); err == nil {
			signatures = append(signatures, decoded)
		}
	}
	if len(times) != 1 || len(signatures) == 0 {
		return nil, fmt.Errorf("%w: header Stripe-Signature does not hold one t= and at least one v1= in hex", connectors.ErrSignature)
	}
	sentAt, err := signature.Seconds(times[0])
	if err != nil {
		return nil, err
	}
	if !signature.Signed(sha256.New, keys, signatures, []byte(times[0]+"."), delivery.Body) {
		return nil, connectors.ErrSignature
	}
	if err := signature.Fresh(sentAt, delivery.ReceivedAt, delivery.Spec.Webhook.Tolerance.Duration); err != nil {
		return nil, err
	}
	return events(delivery.Body)
}

func events(body []byte) ([]connectors.Event, error) {
	event, err := envelope.Read(body)
	if err != nil {
		return nil, err
	}
	topic, id := event.Text("type"), event.Text("id")
	if err := envelope.Topic(topic, "type of the event"); err != nil {
		return nil, err
	}
	if id == "" {
		return nil, fmt.Errorf("%w: the event has no id", connectors.ErrMalformed)
	}
	var triggeredAt time.Time
	if created, err := signature.Seconds(event.At("created")); err == nil {
		triggeredAt = created.UTC()
	}
	return []connectors.Event{{Topic: topic, ID: envelope.ID(id), TriggeredAt: triggeredAt, Body: body}}, nil
}

// Order returns ErrNotAnOrder: payments are no orders, and the shop that was paid sends
// the order itself.
func (Stripe) Order(_ *v1alpha1.ConnectorSpec, topic string, _ []byte) (*orderv1.Order, error) {
	return nil, fmt.Errorf("%w: topic %q is of a payment", connectors.ErrNotAnOrder, topic)
}
