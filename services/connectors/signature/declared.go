package signature

import (
	"crypto/sha1" //nolint:gosec // some senders know nothing else, and its collisions forge no HMAC (RFC 6194, section 3.3)
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
)

// What spec.webhook.hmac.signed may hold.
const (
	bodyToken      = "{body}"
	timestampToken = "{timestamp}"
)

// declaration is a way to sign that the Connector describes.
type declaration struct{ *v1alpha1.HMAC }

func (d declaration) check(delivery connectors.Delivery, keys []string) error {
	algorithm, ok := algorithms[d.Algorithm]
	before, after, hasBody := strings.Cut(d.Signed, bodyToken)
	if !ok || !hasBody {
		// Admission refuses such a Connector. Without the body anything would be signed.
		return fmt.Errorf("%w: spec.webhook.hmac has algorithm %q and signed %q", connectors.ErrSignature, d.Algorithm, d.Signed)
	}
	var timestamp string
	if d.Timestamp != nil {
		found := Elements(delivery.Header, d.Timestamp.Header, d.Timestamp.Prefix)
		if len(found) != 1 {
			return fmt.Errorf("%w: header %s holds %d timestamps, expected one", connectors.ErrSignature, d.Timestamp.Header, len(found))
		}
		timestamp = found[0]
		before, after = strings.ReplaceAll(before, timestampToken, timestamp), strings.ReplaceAll(after, timestampToken, timestamp)
	}
	var signatures [][]byte
	for _, element := range Elements(delivery.Header, d.Header, d.Prefix) {
		if signature, err := d.decode(element); err == nil {
			signatures = append(signatures, signature)
		}
	}
	if len(signatures) == 0 {
		return fmt.Errorf("%w: header %s holds no signature in %s behind %q", connectors.ErrSignature, d.Header, d.Encoding, d.Prefix)
	}
	if !Signed(algorithm, keys, signatures, []byte(before), delivery.Body, []byte(after)) {
		return connectors.ErrSignature
	}
	if d.Timestamp == nil {
		return nil
	}
	sentAt, err := parse(d.Timestamp.Format, timestamp)
	if err != nil {
		return fmt.Errorf("%w: the timestamp in header %s is not written as %s", connectors.ErrSignature, d.Timestamp.Header, d.Timestamp.Format)
	}
	return Fresh(sentAt, delivery.ReceivedAt, delivery.Spec.Webhook.Tolerance.Duration)
}

var algorithms = map[v1alpha1.HMACAlgorithm]func() hash.Hash{
	v1alpha1.HMACAlgorithmSHA1:   sha1.New,
	v1alpha1.HMACAlgorithmSHA256: sha256.New,
	v1alpha1.HMACAlgorithmSHA512: sha512.New,
}

func (d declaration) decode(text string) ([]byte, error) {
	if d.Encoding == v1alpha1.SignatureEncodingBase64 {
		return Base64(text)
	}
	return hex.DecodeString(text)
}

// Base64 reads what senders call base64: with its padding or without.
func Base64(text string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
}

func parse(format v1alpha1.TimestampFormat, text string) (time.Time, error) {
	switch format {
	case v1alpha1.TimestampFormatRFC3339:
		return time.Parse(time.RFC3339Nano, text)
	case v1alpha1.TimestampFormatUnixMilliseconds:
		number, err := number(text)
		return time.UnixMilli(number), err
	case v1alpha1.TimestampFormatUnixSeconds:
	}
	return Seconds(text)
}

// Seconds reads a time in seconds since 1970.
func Seconds(text string) (time.Time, error) {
	number, err := number(text)
	return time.Unix(number, 0), err
}

// number reads digits alone. What is signed is a text with the time in it, and a time
// that could hold more than digits could hold a part of what stands beside it.
func number(text string) (int64, error) {
	const digits = 15 // milliseconds until the year 33658
	if text == "" || len(text) > digits || strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("%w: the timestamp is not a number of digits", connectors.ErrSignature)
	}
	return strconv.ParseInt(text, 10, 64)
}
