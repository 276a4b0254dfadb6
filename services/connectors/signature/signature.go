// Package signature checks who sent a delivery, for the sources whose senders sign in
// one of the common ways: an HMAC in a header, or the secret itself. Digests are
// compared in constant time, and no error holds a secret or a signature.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

// Most is how many signatures of one header are looked at. A sender that changes its
// keys sends two or three; each costs a comparison, and some a curve.
const Most = 16

// Keys returns the secrets that are valid now, today's in front; ErrSecret where there
// is none. A previous secret that is empty is none.
func Keys(secret connectors.Secret) ([]string, error) {
	if secret["secret"] == "" {
		return nil, fmt.Errorf("%w: key \"secret\" is missing or empty", connectors.ErrSecret)
	}
	if secret["previousSecret"] == "" {
		return []string{secret["secret"]}, nil
	}
	return []string{secret["secret"], secret["previousSecret"]}, nil
}

// Elements returns what the elements of a header hold behind the prefix, at most Most
// of them; "," and ";" stand between elements.
func Elements(header http.Header, name v1alpha1.HeaderName, prefix string) []string {
	var found []string
	for _, line := range header.Values(string(name)) {
		for element := range strings.FieldsFuncSeq(line, func(letter rune) bool { return letter == ',' || letter == ';' }) {
			value, ok := strings.CutPrefix(strings.TrimSpace(element), prefix)
			if ok && value != "" && len(found) < Most {
				found = append(found, value)
			}
		}
	}
	return found
}

// Signed reports whether one of the signatures is the HMAC of the message, which comes
// in parts, by one of the keys. All are always compared, so that time does not tell
// which one matched. An empty key signs nothing.
func Signed(algorithm func() hash.Hash, keys []string, signatures [][]byte, message ...[]byte) bool {
	matches := 0
	for _, key := range keys {
		mac := hmac.New(algorithm, []byte(key))
		for _, part := range message {
			mac.Write(part)
		}
		sum := mac.Sum(nil)
		for _, signature := range signatures {
			if key != "" {
				matches |= subtle.ConstantTimeCompare(sum, signature)
			}
		}
	}
	return matches == 1
}

// Fresh returns ErrSignature where a delivery was not sent around the time at which it
// arrived: somebody may have recorded it, and a clock may be wrong.
func Fresh(sentAt, receivedAt time.Time, tolerance time.Duration) error {
	if off := receivedAt.Sub(sentAt); off > tolerance || off < -tolerance {
		return fmt.Errorf("%w: it was sent at %s by its timestamp and arrived at %s, expected at most %s between them (spec.webhook.tolerance)",
			connectors.ErrSignature, sentAt.UTC().Format(time.RFC3339), receivedAt.UTC().Format(time.RFC3339), tolerance)
	}
	return nil
}

// Check checks a delivery by spec.webhook.hmac, and where that is not written by the
// secret that it shows (RFC 6750). The error is ErrSignature or ErrSecret.
func Check(delivery connectors.Delivery) error {
	keys, err := Keys(delivery.Secret)
	if err != nil {
		return err
	}
	if declared := delivery.Spec.Webhook.HMAC; declared != nil {
		return declaration{declared}.check(delivery, keys)
	}
	return bearer(delivery.Header, keys)
}

func bearer(header http.Header, keys []string) error {
	scheme, token, _ := strings.Cut(header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return fmt.Errorf("%w: header Authorization does not hold Bearer and the secret", connectors.ErrSignature)
	}
	if !Shown(keys, token) {
		return connectors.ErrSignature
	}
	return nil
}

// Shown reports whether token is one of the keys. All are always compared, and their
// digests, which are of one length: that of a key is nobody's business. An empty key is
// none.
func Shown(keys []string, token string) bool {
	shown, matches := sha256.Sum256([]byte(token)), 0
	for _, key := range keys {
		expected := sha256.Sum256([]byte(key))
		if key != "" {
			matches |= subtle.ConstantTimeCompare(shown[:], expected[:])
		}
	}
	return matches == 1
}
