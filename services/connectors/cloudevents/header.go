package cloudevents

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// mediaType returns a Content-Type without its parameters, in small letters.
func mediaType(contentType string) string {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// isJSON reports whether an event format is that of JSON.
func isJSON(kind string) bool { return strings.HasSuffix(kind, "+json") }

// holdsJSON reports whether data of that content type is JSON; so it is where none is
// said.
func holdsJSON(contentType string) bool {
	kind := mediaType(contentType)
	return kind == "" || strings.HasSuffix(kind, "/json") || isJSON(kind)
}

var errEncoding = errors.New("is not UTF-8 once it is decoded")

// decode reads the value of a ce- header (section 3.1.3.2 of the binding): a quoted text
// is unquoted first, as older senders wrote it, and then percent signs are decoded, once.
// A percent sign that no two hexadecimal digits follow stands for itself, as it did for
// those.
func decode(value string) (string, error) {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = unquoted(value[1 : len(value)-1])
	}
	var decoded strings.Builder
	decoded.Grow(len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			if octet, err := strconv.ParseUint(value[i+1:i+3], 16, 8); err == nil {
				decoded.WriteByte(byte(octet))
				i += 2
				continue
			}
		}
		decoded.WriteByte(value[i])
	}
	if !utf8.ValidString(decoded.String()) {
		return "", errEncoding
	}
	return decoded.String(), nil
}

// unquoted drops the backslashes of a quoted text (RFC 9110, section 5.6.4).
func unquoted(text string) string {
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		plain.WriteByte(text[i])
	}
	return plain.String()
}
