package reply

import (
	"bytes"
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/peppasync/peppasync/services/connectors"
)

const (
	// maxDetail is what fits into a text message beside the rest of it.
	maxDetail = 300
	// maxExcerpt bounds how much of a body is looked at for an excerpt.
	maxExcerpt = 4096
	maxSlug    = 64
)

// WithoutByteOrderMark returns a reply without the mark that some writers put before JSON,
// such as a file of a plugin that was saved with one. It is no part of it (RFC 8259
// section 8.1).
func WithoutByteOrderMark(r connectors.Reply) connectors.Reply {
	r.Body = bytes.TrimPrefix(r.Body, []byte("\xef\xbb\xbf"))
	return r
}

// Shorten returns text on one line, without control characters, as valid UTF-8
// of at most 300 bytes.
func Shorten(text string) string {
	if len(text) > maxExcerpt {
		text = text[:maxExcerpt]
	}
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	clean = strings.Join(strings.Fields(clean), " ")
	if len(clean) <= maxDetail {
		return clean
	}
	cut := maxDetail - len("…")
	for cut > 0 && !utf8.RuneStart(clean[cut]) {
		cut--
	}
	return clean[:cut] + "…"
}

// Excerpt returns what a person needs to see of a body that no table reads: the
// words of a page without its markup, or the body itself.
func Excerpt(header http.Header, body []byte) string {
	text := string(body[:min(len(body), maxExcerpt)])
	if IsHTML(header, body) {
		text = withoutMarkup(text)
	}
	return Shorten(text)
}

// IsHTML says whether a body is a page, by its type or by how it begins: proxies
// send pages under the type of the API that they stand in for.
func IsHTML(header http.Header, body []byte) bool {
	if strings.Contains(strings.ToLower(header.Get("Content-Type")), "html") {
		return true
	}
	return strings.HasPrefix(strings.TrimSpace(string(body[:min(len(body), 64)])), "<")
}

// withoutMarkup drops everything between angle brackets. It is for reading, not
// for safety: what it returns is never put into a page unescaped.
func withoutMarkup(text string) string {
	var b strings.Builder
	inside := false
	for _, r := range text {
		switch {
		case r == '<':
			inside = true
			b.WriteByte(' ')
		case r == '>' && inside:
			inside = false
		case !inside:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Slug returns a system's own error code as a cause code: lower-case words
// joined by "-", at most 64 bytes; otherwise where nothing remains of it.
func Slug(code, otherwise string) string {
	var b strings.Builder
	gap := false
	for _, r := range code {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		default:
			gap = true
			continue
		}
		if b.Len() >= maxSlug-1 {
			break
		}
		if gap && b.Len() > 0 {
			b.WriteByte('-')
		}
		gap = false
		b.WriteRune(r)
	}
	if b.Len() == 0 {
		return otherwise
	}
	return b.String()
}

// LastOfLocation returns the last segment of a Location header, which is where
// REST systems name the record; empty where there is none.
func LastOfLocation(header http.Header) string {
	location, err := url.Parse(header.Get("Location"))
	if err != nil || location.Path == "" {
		return ""
	}
	last := path.Base(location.Path)
	if last == "/" || last == "." {
		return ""
	}
	return Shorten(last)
}
