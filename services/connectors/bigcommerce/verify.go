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

// The keys of a webhook's secret. The client secret is the app's, by which the store
// signs; what is shown is chosen by whoever makes the webhook, and can be read with it.
const (
	keyShown             = "secret"
	keyShownBefore       = "previousSecret"
	keyClientSecret      = "clientSecret"
	keyClientSecretOfOld = "previousClientSecret"
)

// Verify takes what shows the webhook's secret in X-Peppasync-Token, and what is signed
// as Standard Webhooks are with the client secret of the app that made the webhook; of
// both their predecessors too. One that somebody made without the header is taken so,
// and one of an app whose client secret nobody wrote.
//
// Each delivery is an event of its own. A body says what changed by the second: two
// changes of an order within one are the same to the byte, like a repetition. Were the
// second taken for one, and the order read between the two, the later change would be
// missed; a repetition that is read costs a call. What webhook-id stands for is not
// documented, so it names nothing here.
func (BigCommerce) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	if err := check(delivery); err != nil {
		return nil, err
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

func check(delivery connectors.Delivery) error {
	shown, signing := valid(delivery.Secret, keyShown, keyShownBefore), valid(delivery.Secret, keyClientSecret, keyClientSecretOfOld)
	if len(shown)+len(signing) == 0 {
		return fmt.Errorf("%w: key %q is missing or empty, and so is %q", connectors.ErrSecret, keyShown, keyClientSecret)
	}
	if signature.Shown(shown, delivery.Header.Get(headerToken)) {
		return nil
	}
	if len(signing) == 0 {
		return fmt.Errorf("%w: header %s is not the secret", connectors.ErrSignature, headerToken)
	}
	if _, err := keysOf(signing).Check(delivery); err != nil {
		return fmt.Errorf("header %s is not the secret, and by the client secret: %w", headerToken, err)
	}
	return nil
}

// valid returns today's key and the one before it. Without today's there is none.
func valid(secret connectors.Secret, today, before string) []string {
	if secret[today] == "" {
		return nil
	}
	keys := []string{secret[today]}
	if secret[before] != "" {
		keys = append(keys, secret[before])
	}
	return keys
}

// keysOf are the keys that client secrets stand for. The documentation has them as they
// are written; libraries of Standard Webhooks take a secret for base64, so what that
// stands for signs too, where it is as long as a key has to be.
func keysOf(secrets []string) signature.StandardKeys {
	const shortest = 24
	var keys signature.StandardKeys
	for _, secret := range secrets {
		keys.Shared = append(keys.Shared, secret)
		if decoded, err := signature.Base64(secret); err == nil && len(decoded) >= shortest {
			keys.Shared = append(keys.Shared, string(decoded))
		}
	}
	return keys
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

// OrderTopics are those of orders themselves; what happens to a part of one has others.
func (BigCommerce) OrderTopics() []string {
	return []string{topicCreated, topicStatusUpdated, topicUpdated}
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
