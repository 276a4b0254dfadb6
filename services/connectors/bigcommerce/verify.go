package bigcommerce

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/envelope"
	"github.com/peppasync/peppasync/services/connectors/signature"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// headerToken is the header in which a webhook shows its secret. It is one of the
// headers that whoever makes a webhook may have sent along; the hash in the body is no
// signature.
const headerToken = "X-Peppasync-Token" //nolint:gosec // the name of a header

// eventBody is a webhook's body.
type eventBody struct {
	Scope     text    `json:"scope"`
	CreatedAt integer `json:"created_at"`
	Data      struct {
		Type text    `json:"type"`
		ID   integer `json:"id"`
	} `json:"data"`
}

// Verify compares X-Peppasync-Token with the webhook's secret and its predecessor.
//
// Each delivery is an event of its own. A body says what changed by the second: two
// changes of an order within one are the same to the byte, like a repetition. Were the
// second taken for one, and the order read between the two, the later change would be
// missed; a repetition that is read costs a call.
func (BigCommerce) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	keys, err := signature.Keys(delivery.Secret)
	if err != nil {
		return nil, err
	}
	if !signature.Shown(keys, delivery.Header.Get(headerToken)) {
		return nil, fmt.Errorf("%w: header %s is not the secret", connectors.ErrSignature, headerToken)
	}
	var body eventBody
	if err := json.Unmarshal(delivery.Body, &body); err != nil {
		return nil, fmt.Errorf("%w: %w", connectors.ErrMalformed, err)
	}
	topic := string(body.Scope)
	if !envelope.IsPlain(topic) {
		return nil, fmt.Errorf("%w: scope is missing, or is not one such as store/order/created", connectors.ErrMalformed)
	}
	return []connectors.Event{{
		Topic: topic, ID: eventID(delivery.Body, delivery.ReceivedAt), TriggeredAt: triggeredAt(body.CreatedAt), Body: delivery.Body,
	}}, nil
}

func eventID(body []byte, received time.Time) string {
	return envelope.Digest(strconv.FormatInt(received.UnixNano(), 10), string(body))
}

// triggeredAt is zero where the body does not say: nothing decides by it.
func triggeredAt(unix integer) time.Time {
	seconds, err := strconv.ParseInt(string(unix), 10, 64)
	const latest = 253402300799 // the last second that a protobuf timestamp has
	if err != nil || seconds <= 0 || seconds > latest {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// Order returns ErrThin for what names an order: no body has one.
func (BigCommerce) Order(_ *v1alpha1.ConnectorSpec, topic string, body []byte) (*orderv1.Order, error) {
	if _, err := named(topic, body); err != nil {
		return nil, err
	}
	return nil, connectors.ErrThin
}

// OrderID returns the order that a body names.
func (BigCommerce) OrderID(_ *v1alpha1.ConnectorSpec, topic string, body []byte) (string, error) {
	return named(topic, body)
}

func named(topic string, body []byte) (string, error) {
	if !strings.HasPrefix(topic, topicsOfOrders) || strings.HasPrefix(topic, ofMetafields) || strings.HasSuffix(topic, "*") {
		// What is asked for by a wildcard comes under the scope that it is of.
		return "", fmt.Errorf("%w: topic %q", connectors.ErrNotAnOrder, topic)
	}
	var b eventBody
	if err := json.Unmarshal(body, &b); err != nil {
		return "", fmt.Errorf("%w: the body of %s: %w", connectors.ErrMalformed, topic, err)
	}
	if b.Data.Type != "order" || b.Data.ID == "" || b.Data.ID == "0" {
		return "", fmt.Errorf("%w: the body of %s names no order in data", connectors.ErrMalformed, topic)
	}
	return string(b.Data.ID), nil
}

// Topic is store/order/updated for an order that is known.
func (BigCommerce) Topic(_ *orderv1.Order, known bool) string {
	if known {
		return topicUpdated
	}
	return topicCreated
}

// Phases is store/order/statusUpdated for an order whose status is another one; a new
// order has left Incomplete by it.
func (BigCommerce) Phases(known, found *orderv1.Order) []string {
	if known.GetAttributes()[attributeStatus] == found.GetAttributes()[attributeStatus] {
		return nil
	}
	return []string{topicStatusUpdated}
}
