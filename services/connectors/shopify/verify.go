package shopify

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/envelope"
	"github.com/peppasync/peppasync/services/connectors/signature"
)

// Verify checks X-Shopify-Hmac-Sha256, base64 of HMAC-SHA256 over the raw body,
// against the app's client secret and, for up to an hour after a change, its
// predecessor. The Events product spells its headers without "X-".
//
// The event id is the webhook id; where that is missing, the event id. Shopify's
// pages disagree about which of the two is stable over retries, so neither is
// trusted for more than saving work: order state settles doubles by version.
func (Shopify) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	header, body := delivery.Header, delivery.Body
	keys, err := signature.Keys(delivery.Secret)
	if err != nil {
		return nil, err
	}
	sum, err := base64.StdEncoding.DecodeString(get(header, "Hmac-Sha256"))
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("%w: header X-Shopify-Hmac-Sha256 is not the base64 of a SHA-256", connectors.ErrSignature)
	}
	if !signature.Signed(sha256.New, keys, [][]byte{sum}, body) {
		return nil, connectors.ErrSignature
	}
	topic := get(header, "Topic")
	if !envelope.IsPlain(topic) {
		return nil, fmt.Errorf("%w: header X-Shopify-Topic is missing, or is not a topic such as orders/create", connectors.ErrMalformed)
	}
	return []connectors.Event{{
		Topic:       topic,
		ID:          eventID(header, topic, body),
		TriggeredAt: triggeredAt(header),
		Body:        body,
	}}, nil
}

func get(header http.Header, name string) string {
	if value := header.Get("X-Shopify-" + name); value != "" {
		return value
	}
	return header.Get("Shopify-" + name)
}

func eventID(header http.Header, topic string, body []byte) string {
	for _, name := range []string{"Webhook-Id", "Event-Id"} {
		if id := get(header, name); id != "" {
			return envelope.ID(id)
		}
	}
	// A retry carries the original body, so the body can name the event.
	return envelope.Digest(topic, string(body))
}

// triggeredAt is zero where the header is missing or malformed: nothing decides
// by it.
func triggeredAt(header http.Header) time.Time {
	at, err := time.Parse(time.RFC3339Nano, get(header, "Triggered-At"))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}
