// Package suiteql parses and runs the part of SuiteQL that an order engine needs: SELECT of named columns from one table
// and inner joins on equal columns, WHERE with comparisons and IN joined by AND, ORDER BY. All else is refused with the
// place and the reason; nothing is guessed.
package suiteql

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	end kind = iota
	word
	number
	text
	symbol
)

type token struct {
	kind kind
	// value is the token without quotes; symbols and words are as written.
	value string
	at    int
}

func (t token) String() string {
	if t.kind == end {
		return "the end of the query"
	}
	return fmt.Sprintf("%q", t.value)
}

// Error says what is wrong with a query, and where, in bytes from its start.
type Error struct {
	At     int
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("at character %d: %s", e.At+1, e.Reason) }

func errorAt(at int, format string, args ...any) *Error {
	return &Error{At: at, Reason: fmt.Sprintf(format, args...)}
}

// scan cuts a query into tokens; the last is always end.
func scan(query string) ([]token, *Error) {
	var tokens []token
	for at := 0; at < len(query); {
		r, size := utf8.DecodeRuneInString(query[at:])
		switch {
		case r == utf8.RuneError && size == 1:
			return nil, errorAt(at, "the query is not valid UTF-8")
		case unicode.IsSpace(r):
			at += size
		case r == '\'':
			value, stop, err := scanText(query, at)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, token{text, value, at})
			at = stop
		case isWordStart(r):
			stop := span(query, at, isWordPart)
			tokens = append(tokens, token{word, query[at:stop], at})
			at = stop
		case r >= '0' && r <= '9' || r == '-' && at+1 < len(query) && isDigit(rune(query[at+1])):
			stop := span(query, at+size, func(r rune) bool { return isDigit(r) || r == '.' })
			tokens = append(tokens, token{number, query[at:stop], at})
			at = stop
		default:
			s := symbolAt(query[at:])
			if s == "" {
				return nil, errorAt(at, "unexpected character %q", r)
			}
			tokens = append(tokens, token{symbol, s, at})
			at += len(s)
		}
	}
	return append(tokens, token{kind: end, at: len(query)}), nil
}

// scanText reads a text in single quotes, in which a quote is written twice. It returns the text without quotes and
// the position after it.
func scanText(query string, start int) (string, int, *Error) {
	var value strings.Builder
	for at := start + 1; at < len(query); at++ {
		if query[at] != '\'' {
			value.WriteByte(query[at])
			continue
		}
		if at+1 < len(query) && query[at+1] == '\'' {
			value.WriteByte('\'')
			at++
			continue
		}
		return value.String(), at + 1, nil
	}
	return "", 0, errorAt(start, "the text that begins here has no closing quote")
}

func symbolAt(rest string) string {
	for _, s := range []string{"<>", "<=", ">=", "!=", "=", "<", ">", "(", ")", ",", ".", "*"} {
		if strings.HasPrefix(rest, s) {
			return s
		}
	}
	return ""
}

func span(query string, at int, part func(rune) bool) int {
	for at < len(query) {
		r, size := utf8.DecodeRuneInString(query[at:])
		if !part(r) {
			break
		}
		at += size
	}
	return at
}

func isDigit(r rune) bool     { return r >= '0' && r <= '9' }
func isWordStart(r rune) bool { return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
func isWordPart(r rune) bool  { return isWordStart(r) || isDigit(r) }
