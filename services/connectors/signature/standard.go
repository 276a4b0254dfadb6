package signature

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/peppasync/peppasync/services/connectors"
)

// The headers of Standard Webhooks 1.0.0 (https://www.standardwebhooks.com).
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"

	// How signatures are marked: by a key that both know, and by the sender's own.
	versionShared = "v1"
	versionOwn    = "v1a"
)

// StandardKeys are keys by which a delivery may be signed as Standard Webhooks are.
type StandardKeys struct {
	// Shared sign v1. An empty one signs nothing.
	Shared []string
	// Public are of those that sign v1a.
	Public []ed25519.PublicKey
	// Unreadable says what is wrong with a further key; it may be that one which has
	// signed what none of the others has.
	Unreadable error
}

// Check checks webhook-signature over id, timestamp and body, and returns webhook-id,
// which is the same on every retry; the timestamp is that of the attempt.
func (k StandardKeys) Check(delivery connectors.Delivery) (id string, err error) {
	id, timestamp := delivery.Header.Get(headerID), delivery.Header.Get(headerTimestamp)
	sentAt, err := Seconds(timestamp)
	if err != nil || id == "" {
		return "", fmt.Errorf("%w: header webhook-id is missing, or webhook-timestamp is not a number of seconds", connectors.ErrSignature)
	}
	if !k.signed(delivery, id+"."+timestamp+".") {
		return "", cmp.Or(k.Unreadable, connectors.ErrSignature)
	}
	if err := Fresh(sentAt, delivery.ReceivedAt, delivery.Spec.Webhook.Tolerance.Duration); err != nil {
		return "", err
	}
	// With a dot in it, an id could be taken for another one and a part of what follows.
	if strings.Contains(id, ".") {
		return "", fmt.Errorf("%w: header webhook-id has a dot in it, which Standard Webhooks forbids", connectors.ErrMalformed)
	}
	return id, nil
}

// signed reports whether one of the signatures is that of what stands before the body,
// and the body. A public key needs no constant time: there is nothing to guess.
func (k StandardKeys) signed(delivery connectors.Delivery, before string) bool {
	var shared, own [][]byte
	for element := range strings.FieldsSeq(delivery.Header.Get(headerSignature)) {
		version, text, _ := strings.Cut(element, ",")
		decoded, err := Base64(text)
		switch {
		case err != nil || len(shared)+len(own) >= Most:
		case version == versionShared:
			shared = append(shared, decoded)
		case version == versionOwn:
			own = append(own, decoded)
		}
	}
	if Signed(sha256.New, k.Shared, shared, []byte(before), delivery.Body) {
		return true
	}
	if len(own) == 0 || len(k.Public) == 0 {
		return false
	}
	message := append([]byte(before), delivery.Body...)
	for _, key := range k.Public {
		for _, one := range own {
			if ed25519.Verify(key, message, one) {
				return true
			}
		}
	}
	return false
}
