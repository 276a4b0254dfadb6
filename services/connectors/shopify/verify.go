package shopify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
)

const (
	// maxTopic and maxEventID bound what ends up in records and memory; the
	// real ones are far shorter.
	maxTopic   = 255
	maxEventID = 128
)

// Verify checks X-Shopify-Hmac-Sha256, base64 of HMAC-SHA256 over the raw body,
// against the app's client secret and, for up to an hour after a change, its
// predecessor. The Events product spells its headers without "X-".
//
// The event id is the webhook id; where that is missing, the event id. Shopify's
// pages disagree about which of the two is stable over retries, so neither is
// trusted for more than saving work: order state settles doubles by version.
func (Shopify) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	header, body, secret := delivery.Header, delivery.Body, delivery.Secret
	if secret["secret"] == "" {
		return nil, fmt.Errorf("%w: key \"secret\" is missing or empty", connectors.ErrSecret)
	}
	signature, err := base64.StdEncoding.DecodeString(get(header, "Hmac-Sha256"))
	if err != nil || len(signature) != sha256.Size {
		return nil, fmt.Errorf("%w: header X-Shopify-Hmac-Sha256 is not the base64 of a SHA-256", connectors.ErrSignature)
	}
	// Where there are two, both are always computed, so that time does not tell which
	// one matched.
	matches := signed(secret["secret"], body, signature)
	if previous := secret["previousSecret"]; previous != "" {
		matches = signed(previous, body, signature) || matches
	}
	if !matches {
		return nil, connectors.ErrSignature
	}
	topic := get(header, "Topic")
	if topic == "" || len(topic) > maxTopic || !printable(topic) {
		return nil, fmt.Errorf("%w: header X-Shopify-Topic is missing, or is not a topic such as orders/create", connectors.ErrMalformed)
	}
	return []connectors.Event{{
		Topic:       topic,
		ID:          eventID(header, topic, body),
		TriggeredAt: triggeredAt(header),
		Body:        body,
	}}, nil
}

// signed says whether key signs body so; an empty key signs nothing.
func signed(key string, body, signature []byte) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return hmac.Equal(mac.Sum(nil), signature) && key != ""
}

func get(header http.Header, name string) string {
	if value := header.Get("X-Shopify-" + name); value != "" {
		return value
	}
	return header.Get("Shopify-" + name)
}

func eventID(header http.Header, topic string, body []byte) string {
	for _, name := range []string{"Webhook-Id", "Event-Id"} {
		id := get(header, name)
		if id == "" {
			continue
		}
		if len(id) <= maxEventID && printable(id) {
			return id
		}
		return digest(id)
	}
	// A retry carries the original body, so the body can name the event.
	return digest(topic, string(body))
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return "sha256-" + hex.EncodeToString(h.Sum(nil))
}

func printable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
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
