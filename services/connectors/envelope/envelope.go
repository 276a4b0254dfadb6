// Package envelope reads what stands around the data of an event: the members of a JSON
// object, and the names of events and topics in a form that can be kept.
package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/peppasync/peppasync/services/connectors"
)

const (
	// maxTopic and maxID bound what ends up in records and memory; the real ones are
	// far shorter.
	maxTopic = 255
	maxID    = 128
	// separator stands between the parts of an event's name.
	separator = "|"
)

// Members are the members of a JSON object, by their exact names.
type Members map[string]json.RawMessage

// Read reads a JSON object; ErrMalformed where the body is none.
func Read(body []byte) (Members, error) {
	// encoding/json would take null for an empty object.
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, fmt.Errorf("%w: the body is not a JSON object", connectors.ErrMalformed)
	}
	var members Members
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, fmt.Errorf("%w: the body: %w", connectors.ErrMalformed, err)
	}
	return members, nil
}

// Text returns a member that is a text, and "" where it is not there or none.
func (m Members) Text(name string) string {
	var text string
	if raw := m[name]; len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// Time returns a member that is a time as RFC 3339 writes it, and the zero time where
// it is not there or none: nothing decides by it.
func (m Members) Time(name string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, m.Text(name))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// At returns the text or number at a path such as meta.event, and "" where there is
// none.
func (m Members) At(path string) string {
	name, rest, deeper := strings.Cut(path, ".")
	if deeper {
		below, err := Read(m[name])
		if err != nil {
			return ""
		}
		return below.At(rest)
	}
	if raw := m[name]; len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return string(raw)
	}
	return m.Text(name)
}

// Set writes a member that is a text.
func (m Members) Set(name, text string) {
	m[name], _ = json.Marshal(text) //nolint:errchkjson // a text always encodes
}

// Topic returns ErrMalformed for what cannot be kept as a topic.
func Topic(topic, where string) error {
	switch {
	case topic == "":
		return fmt.Errorf("%w: %s is missing or empty, expected a topic such as order.created", connectors.ErrMalformed, where)
	case len(topic) > maxTopic || !utf8.ValidString(topic) || strings.ContainsFunc(topic, unicode.IsControl):
		return fmt.Errorf("%w: %s is no topic, expected a text of at most %d bytes such as order.created", connectors.ErrMalformed, where, maxTopic)
	}
	return nil
}

// IsPlain reports whether a topic is one word of printable ASCII that can be kept, as
// those of shops are.
func IsPlain(topic string) bool { return topic != "" && len(topic) <= maxTopic && printable(topic) }

// ID makes one name of the parts that name an event together: as they are, where they
// can be kept and told apart, and else their digest.
func ID(parts ...string) string {
	plain := true
	for _, part := range parts {
		plain = plain && part != "" && printable(part) && (len(parts) == 1 || !strings.Contains(part, separator))
	}
	if id := strings.Join(parts, separator); plain && len(id) <= maxID {
		return id
	}
	return Digest(parts...)
}

// Digest names an event by all that it says. A retry carries the body of the first try.
func Digest(parts ...string) string {
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
