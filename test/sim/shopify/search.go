package shopify

import (
	"fmt"
	"strconv"
	"strings"
)

// parseSearch reads the part of Shopify's search syntax that finds inventory items: sku:X and id:N, joined by OR, values
// bare or in single or double quotes, terms in parentheses if wanted. An empty search finds all.
func parseSearch(query string) (func(*item) bool, error) {
	p := &search{rest: query}
	var skus, ids []string
	for expect := false; ; expect = true {
		p.space()
		if p.rest == "" && !expect {
			return func(*item) bool { return true }, nil
		}
		field, value, err := p.term(query)
		if err != nil {
			return nil, err
		}
		if field == "sku" {
			skus = append(skus, value)
		} else {
			ids = append(ids, value)
		}
		p.space()
		if p.rest == "" {
			break
		}
		if !p.or() {
			return nil, fmt.Errorf("search %q: expected OR before %q", query, p.rest)
		}
	}
	if p.depth != 0 {
		return nil, fmt.Errorf("search %q: a parenthesis is not closed", query)
	}
	wanted := make(map[string]bool, len(skus)+len(ids))
	for _, sku := range skus {
		wanted["sku "+strings.ToLower(sku)] = true
	}
	for _, id := range ids {
		wanted["id "+id] = true
	}
	return func(it *item) bool {
		return wanted["sku "+strings.ToLower(it.sku)] || wanted["id "+strconv.FormatInt(it.id, 10)]
	}, nil
}

type search struct {
	rest  string
	depth int
}

// space skips blanks and counts parentheses.
func (p *search) space() {
	for p.rest != "" {
		switch p.rest[0] {
		case ' ', '\t', '\n', '\r':
		case '(':
			p.depth++
		case ')':
			p.depth--
		default:
			return
		}
		p.rest = p.rest[1:]
	}
}

func (p *search) or() bool {
	if len(p.rest) < 3 || !strings.EqualFold(p.rest[:2], "or") || !strings.ContainsRune(" \t\n\r(", rune(p.rest[2])) {
		return false
	}
	p.rest = p.rest[2:]
	return true
}

func (p *search) term(query string) (field, value string, err error) {
	field, after, found := strings.Cut(p.rest, ":")
	if field = strings.ToLower(field); !found || field != "sku" && field != "id" {
		return "", "", fmt.Errorf("search %q: expected sku: or id: at %q", query, p.rest)
	}
	p.rest = after
	if p.rest != "" && (p.rest[0] == '"' || p.rest[0] == '\'') {
		value, err = p.quoted(query)
	} else {
		stop := strings.IndexAny(p.rest, " \t\n\r()")
		if stop < 0 {
			stop = len(p.rest)
		}
		value, p.rest = p.rest[:stop], p.rest[stop:]
	}
	if err == nil && value == "" {
		err = fmt.Errorf("search %q: %s: has no value", query, field)
	}
	return field, value, err
}

// quoted reads a value in quotes; a backslash makes the next character part of it.
func (p *search) quoted(query string) (string, error) {
	quote := p.rest[0]
	var value strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '\\' && i+1 < len(p.rest):
			i++
			value.WriteByte(p.rest[i])
		case c == quote:
			p.rest = p.rest[i+1:]
			return value.String(), nil
		default:
			value.WriteByte(c)
		}
	}
	return "", fmt.Errorf("search %q: a quote is not closed", query)
}
