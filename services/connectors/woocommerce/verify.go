package woocommerce

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/envelope"
	"github.com/peppasync/peppasync/services/connectors/signature"
)

const (
	headerSignature = "X-Wc-Webhook-Signature"
	headerTopic     = "X-Wc-Webhook-Topic"
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
	header, body := delivery.Header, delivery.Body
	keys, err := signature.Keys(delivery.Secret)
	if err != nil {
		return nil, err
	}
	topic := header.Get(headerTopic)
	if topic == "" && header.Get(headerSignature) == "" && ping.Match(body) {
		return nil, nil
	}
	sum, err := base64.StdEncoding.DecodeString(header.Get(headerSignature))
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("%w: header X-WC-Webhook-Signature is not the base64 of a SHA-256", connectors.ErrSignature)
	}
	if !signature.Signed(sha256.New, keys, [][]byte{sum}, body) {
		return nil, connectors.ErrSignature
	}
	if !envelope.IsPlain(topic) {
		return nil, fmt.Errorf("%w: header X-WC-Webhook-Topic is missing, or is not a topic such as order.created", connectors.ErrMalformed)
	}
	return []connectors.Event{{Topic: topic, ID: envelope.Digest(topic, string(body)), Body: body}}, nil
}
