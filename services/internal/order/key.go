// Package order is what the engine knows about one order: the names that it
// goes by, and how an event changes its state. It is pure: values in, values
// out, no clock and no I/O, and it never changes what it was given.
package order

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

const (
	keySeparator      = "_"
	deliverySeparator = "."
	upperHex          = "0123456789ABCDEF"
)

// ErrKey is returned for a text that no order has as its key.
var ErrKey = errors.New("not an order key")

// Key returns the name of an order inside the engine, "<connector>_<id>". Bytes
// outside [A-Za-z0-9-] are written as "=XX", so that the key is one subject
// token whatever the shop's ids look like, and no two orders share one: neither
// part can hold the "_" between them.
func Key(connector, id string) string {
	var b strings.Builder
	b.Grow(len(connector) + len(keySeparator) + len(id))
	appendEscaped(&b, connector)
	b.WriteString(keySeparator)
	appendEscaped(&b, id)
	return b.String()
}

// SplitKey returns the connector and the shop's id that Key was given; ErrKey
// where key is not what Key returns.
func SplitKey(key string) (connector, id string, err error) {
	left, right, found := strings.Cut(key, keySeparator)
	if !found {
		return "", "", fmt.Errorf("%w: %q has no %q between connector and id", ErrKey, key, keySeparator)
	}
	if connector, err = unescape(left); err != nil {
		return "", "", fmt.Errorf("%w: connector of %q: %w", ErrKey, key, err)
	}
	if id, err = unescape(right); err != nil {
		return "", "", fmt.Errorf("%w: id of %q: %w", ErrKey, key, err)
	}
	// One order has one key: a needless or lower-case escape would be a second.
	if Key(connector, id) != key {
		return "", "", fmt.Errorf("%w: %q is not spelled as Key(%q, %q)", ErrKey, key, connector, id)
	}
	return connector, id, nil
}

// ExternalID returns the name of an order at the systems that it is sent to,
// "<connector>-<id>", of letters, digits, "-" and "_" only, which is what they
// accept as an external id. Inside id, "-" is written as "_-", "_" as "__" and
// every other byte outside [A-Za-z0-9] as "_XX". For connectors that are DNS
// labels no two orders share one: what is before the first "_" of the whole is
// plain, so the last "-" in there is the one between the two parts.
func ExternalID(connector, id string) string {
	var b strings.Builder
	b.Grow(len(connector) + 1 + len(id))
	b.WriteString(connector)
	b.WriteByte('-')
	for i := range len(id) {
		switch c := id[i]; {
		case isAlphanumeric(c):
			b.WriteByte(c)
		case c == '-' || c == '_':
			b.WriteByte('_')
			b.WriteByte(c)
		default:
			appendHex(&b, '_', c)
		}
	}
	return b.String()
}

// DeliveryID returns the id of a delivery inside its order's state,
// "<flow>.<step>.<revision>", each part escaped as in Key.
func DeliveryID(flow, step string, revision int64) string {
	var b strings.Builder
	appendEscaped(&b, flow)
	b.WriteString(deliverySeparator)
	appendEscaped(&b, step)
	b.WriteString(deliverySeparator)
	b.WriteString(strconv.FormatInt(revision, 10))
	return b.String()
}

// DispatchID returns the id under which a delivery of an order travels: it
// stands for key and delivery id together, is the same on every repetition, and
// is one subject token, "<key>_<flow>_<step>_<revision>".
func DispatchID(key, deliveryID string) string {
	return key + keySeparator + strings.ReplaceAll(deliveryID, deliverySeparator, keySeparator)
}

// DispatchIDOf returns the id under which a delivery of the state travels now: that
// of DispatchID, and "-r<n>" behind it once it was let out of the Error Hold n times,
// since what was closed under an id is over for good.
func DispatchIDOf(key string, d *orderv1.Delivery) string {
	id := DispatchID(key, d.GetId())
	if n := d.GetReleased(); n > 0 {
		id += releaseMark + strconv.Itoa(int(n))
	}
	return id
}

// releaseMark cannot be in a revision, which has only digits.
const releaseMark = "-r"

// SplitDispatchID returns the order's key and the delivery's id inside it, whichever
// of its releases id stands for; ErrKey where id is not what DispatchID or
// DispatchIDOf returns.
func SplitDispatchID(id string) (key, deliveryID string, err error) {
	parts := strings.Split(id, keySeparator)
	if len(parts) != 5 {
		return "", "", fmt.Errorf("%w: delivery id %q has %d parts, expected <connector>_<order>_<flow>_<step>_<revision>", ErrKey, id, len(parts))
	}
	if strings.Contains(id, deliverySeparator) {
		return "", "", fmt.Errorf("%w: delivery id %q has a %q", ErrKey, id, deliverySeparator)
	}
	if revision, release, released := strings.Cut(parts[4], releaseMark); released {
		if n, err := strconv.ParseInt(release, 10, 32); err != nil || n < 1 || strconv.FormatInt(n, 10) != release {
			return "", "", fmt.Errorf("%w: delivery id %q ends in release %q, expected a number from 1", ErrKey, id, release)
		}
		parts[4] = revision
	}
	return strings.Join(parts[:2], keySeparator), strings.Join(parts[2:], deliverySeparator), nil
}

func appendEscaped(b *strings.Builder, s string) {
	for i := range len(s) {
		if c := s[i]; isAlphanumeric(c) || c == '-' {
			b.WriteByte(c)
		} else {
			appendHex(b, '=', c)
		}
	}
}

func appendHex(b *strings.Builder, mark, c byte) {
	b.WriteByte(mark)
	b.WriteByte(upperHex[c>>4])
	b.WriteByte(upperHex[c&0xF])
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, "=") {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("escape at byte %d is cut off", i)
		}
		value, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("escape %q at byte %d: expected two hexadecimal digits", s[i:i+3], i)
		}
		b.WriteByte(byte(value))
		i += 2
	}
	return b.String(), nil
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
