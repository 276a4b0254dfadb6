// Package standardwebhooks reads webhooks that follow Standard Webhooks 1.0.0
// (https://www.standardwebhooks.com): signed by a shared key (v1) or by the sender's own
// (v1a), with type, timestamp and data in the body. An event's order is its data.
package standardwebhooks

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strings"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/canonical"
	"github.com/peppasync/peppasync/services/connectors/envelope"
	"github.com/peppasync/peppasync/services/connectors/signature"
)

const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"

	// How keys are marked.
	prefixShared  = "whsec_"
	prefixPublic  = "whpk_"
	prefixPrivate = "whsk_"

	// How signatures are marked.
	versionShared = "v1"
	versionOwn    = "v1a"

	// What a shared key may have, in bytes.
	minKey, maxKey = 24, 64
)

// StandardWebhooks implements connectors.Source. The zero value compiles the Connector's
// expression for each event.
type StandardWebhooks struct {
	orders canonical.Reader
}

var _ connectors.Source = StandardWebhooks{}

// New returns a StandardWebhooks that keeps what it compiles.
func New() StandardWebhooks { return StandardWebhooks{orders: canonical.New()} }

// Verify checks webhook-signature over id, timestamp and body. The event is named by
// webhook-id, which is the same on every retry; the timestamp is that of the attempt.
func (StandardWebhooks) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	texts, err := signature.Keys(delivery.Secret)
	if err != nil {
		return nil, err
	}
	keys, unreadable := readKeys(texts)
	id, timestamp := delivery.Header.Get(headerID), delivery.Header.Get(headerTimestamp)
	sentAt, err := signature.Seconds(timestamp)
	if err != nil || id == "" {
		return nil, fmt.Errorf("%w: header webhook-id is missing, or webhook-timestamp is not a number of seconds", connectors.ErrSignature)
	}
	if !keys.signed(delivery, id+"."+timestamp+".") {
		// Where a key cannot be read, it may be that one which has signed it.
		return nil, cmp.Or(unreadable, connectors.ErrSignature)
	}
	if err := signature.Fresh(sentAt, delivery.ReceivedAt, delivery.Spec.Webhook.Tolerance.Duration); err != nil {
		return nil, err
	}
	// With a dot in it, an id could be taken for another one and a part of what follows.
	if strings.Contains(id, ".") {
		return nil, fmt.Errorf("%w: header webhook-id has a dot in it, which Standard Webhooks forbids", connectors.ErrMalformed)
	}
	body, err := envelope.Read(delivery.Body)
	if err != nil {
		return nil, err
	}
	topic := body.Text("type")
	if err := envelope.Topic(topic, "type of the body"); err != nil {
		return nil, err
	}
	return []connectors.Event{{Topic: topic, ID: envelope.ID(id), TriggeredAt: body.Time("timestamp"), Body: delivery.Body}}, nil
}

// Order reads the order in data, or what spec.webhook.order makes of the body.
func (s StandardWebhooks) Order(spec *v1alpha1.ConnectorSpec, topic string, body []byte) (*orderv1.Order, error) {
	return s.orders.Order(spec, topic, body, "data")
}

// keys are those that are valid now.
type keys struct {
	shared []string
	public []ed25519.PublicKey
}

// signed reports whether one of the signatures is that of what stands before the body,
// and the body. A public key needs no constant time: there is nothing to guess.
func (k keys) signed(delivery connectors.Delivery, before string) bool {
	var shared, own [][]byte
	for element := range strings.FieldsSeq(delivery.Header.Get(headerSignature)) {
		version, text, _ := strings.Cut(element, ",")
		decoded, err := signature.Base64(text)
		switch {
		case err != nil || len(shared)+len(own) >= signature.Most:
		case version == versionShared:
			shared = append(shared, decoded)
		case version == versionOwn:
			own = append(own, decoded)
		}
	}
	if signature.Signed(sha256.New, k.shared, shared, []byte(before), delivery.Body) {
		return true
	}
	if len(own) == 0 || len(k.public) == 0 {
		return false
	}
	message := append([]byte(before), delivery.Body...)
	for _, key := range k.public {
		for _, one := range own {
			if ed25519.Verify(key, message, one) {
				return true
			}
		}
	}
	return false
}

// readKeys returns those that can be read, and ErrSecret where there are others.
func readKeys(texts []string) (keys, error) {
	var read keys
	var unreadable error
	for _, text := range texts {
		text = strings.TrimSpace(text)
		public, isPublic := strings.CutPrefix(text, prefixPublic)
		decoded, err := signature.Base64(strings.TrimPrefix(public, prefixShared))
		switch {
		case strings.HasPrefix(text, prefixPrivate):
			unreadable = fmt.Errorf("%w: it holds the sender's private key (whsk_), expected the public one (whpk_)", connectors.ErrSecret)
		case err != nil:
			unreadable = fmt.Errorf("%w: expected whsec_ or whpk_ and base64", connectors.ErrSecret)
		case isPublic && len(decoded) == ed25519.PublicKeySize:
			read.public = append(read.public, ed25519.PublicKey(decoded))
		case !isPublic && len(decoded) >= minKey && len(decoded) <= maxKey:
			read.shared = append(read.shared, string(decoded))
		default:
			unreadable = fmt.Errorf("%w: the key has %d bytes, expected %d to %d for whsec_ and %d for whpk_",
				connectors.ErrSecret, len(decoded), minKey, maxKey, ed25519.PublicKeySize)
		}
	}
	return read, unreadable
}
