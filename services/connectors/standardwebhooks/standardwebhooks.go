// Package standardwebhooks reads webhooks that follow Standard Webhooks 1.0.0
// (https://www.standardwebhooks.com): signed by a shared key (v1) or by the sender's own
// (v1a), with type, timestamp and data in the body. An event's order is its data.
package standardwebhooks

import (
	"crypto/ed25519"
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
	// How keys are marked.
	prefixShared  = "whsec_"
	prefixPublic  = "whpk_"
	prefixPrivate = "whsk_"

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

// Verify checks the signature. The event is named by webhook-id, which is the same on
// every retry.
func (StandardWebhooks) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	texts, err := signature.Keys(delivery.Secret)
	if err != nil {
		return nil, err
	}
	id, err := readKeys(texts).Check(delivery)
	if err != nil {
		return nil, err
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

// readKeys returns those that can be read, and what is wrong with the last of the others.
func readKeys(texts []string) signature.StandardKeys {
	var read signature.StandardKeys
	for _, text := range texts {
		text = strings.TrimSpace(text)
		public, isPublic := strings.CutPrefix(text, prefixPublic)
		decoded, err := signature.Base64(strings.TrimPrefix(public, prefixShared))
		switch {
		case strings.HasPrefix(text, prefixPrivate):
			read.Unreadable = fmt.Errorf("%w: it holds the sender's private key (whsk_), expected the public one (whpk_)", connectors.ErrSecret)
		case err != nil:
			read.Unreadable = fmt.Errorf("%w: expected whsec_ or whpk_ and base64", connectors.ErrSecret)
		case isPublic && len(decoded) == ed25519.PublicKeySize:
			read.Public = append(read.Public, ed25519.PublicKey(decoded))
		case !isPublic && len(decoded) >= minKey && len(decoded) <= maxKey:
			read.Shared = append(read.Shared, string(decoded))
		default:
			read.Unreadable = fmt.Errorf("%w: the key has %d bytes, expected %d to %d for whsec_ and %d for whpk_",
				connectors.ErrSecret, len(decoded), minKey, maxKey, ed25519.PublicKeySize)
		}
	}
	return read
}
