package woocommerce

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"

	"github.com/peppasync/peppasync/services/connectors"
)

const (
	headerSignature = "X-Wc-Webhook-Signature"
	headerTopic     = "X-Wc-Webhook-Topic"
	// maxTopic bounds what ends up in records; the real ones are far shorter.
	maxTopic = 255
)

// ping is the whole body of what a shop sends when a webhook is turned on.
var ping = regexp.MustCompile(`^webhook_id=\d{1,20}$`)

// Verify checks X-WC-Webhook-Signature, base64 of HMAC-SHA256 over the raw body,
// against the webhook's secret and its predecessor. The ping of a webhook that is
// turned on has neither signature nor topic, and needs a 200 or it stays off.
//
// The event's id is made from what it says. X-WC-Webhook-Delivery-ID is a hash of the
// webhook and the second, which two orders can share. A shop sends nothing twice by
// itself, so what is the same to the byte is a person's repetition, or two changes in
// one second of which the body shows the same end.
func (WooCommerce) Verify(delivery connectors.Delivery) ([]connectors.Event, error) {
	header, body, secret := delivery.Header, delivery.Body, delivery.Secret
	if secret["secret"] == "" {
		return nil, fmt.Errorf("%w: key \"secret\" is missing or empty", connectors.ErrSecret)
	}
	topic := header.Get(headerTopic)
	if topic == "" && header.Get(headerSignature) == "" && ping.Match(body) {
		return nil, nil
	}
	signature, err := base64.StdEncoding.DecodeString(header.Get(headerSignature))
	if err != nil || len(signature) != sha256.Size {
		return nil, fmt.Errorf("%w: header X-WC-Webhook-Signature is not the base64 of a SHA-256", connectors.ErrSignature)
	}
	// Both are always computed, so that time does not tell which one matched.
	matches := signed(secret["secret"], body, signature)
	matchesPrevious := signed(secret["previousSecret"], body, signature)
	if !matches && !matchesPrevious {
		return nil, connectors.ErrSignature
	}
	if topic == "" || len(topic) > maxTopic || !printable(topic) {
		return nil, fmt.Errorf("%w: header X-WC-Webhook-Topic is missing, or is not a topic such as order.created", connectors.ErrMalformed)
	}
	return []connectors.Event{{Topic: topic, ID: eventID(topic, body), Body: body}}, nil
}

// signed says whether key signs body so; an empty key signs nothing.
func signed(key string, body, signature []byte) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return hmac.Equal(mac.Sum(nil), signature) && key != ""
}

func eventID(topic string, body []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s%d:", len(topic), topic, len(body))
	h.Write(body)
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
