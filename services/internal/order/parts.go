package order

import (
	"fmt"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// MaxParts bounds the lines of an order with their properties, its tags and the like.
// An empty line is three bytes on the way and hundreds in each process that works with
// the order: a message full of them takes a quarter of a gigabyte in the logic-gate.
const MaxParts = 20_000

// CheckParts returns an error that says so where an order has more parts than MaxParts.
func CheckParts(o *orderv1.Order) error {
	n := len(o.GetLines()) + len(o.GetShippingLines()) + len(o.GetTags()) + len(o.GetAttributes())
	for _, line := range o.GetLines() {
		n += len(line.GetProperties())
	}
	if n <= MaxParts {
		return nil
	}
	return fmt.Errorf("has %d lines, properties, tags and the like, expected at most %d in all", n, MaxParts)
}

// maxListed bounds what is in the lists of an event's body, of whatever kind: reading it
// takes hundreds of bytes for each, before anybody can count what comes of it. A line with
// four of its own taxes, discounts and the like beside each of MaxParts is a fifth of it.
const maxListed = 5 * MaxParts

// CheckListed returns an error that says so where the lists of a body, which is JSON, have
// more elements than any order. It counts without reading, and not at all in a body that
// is too short for so many.
func CheckListed(body []byte) error {
	if len(body) < 2*maxListed {
		return nil
	}
	var lists []bool // whether each bracket that is open is a list's
	n := 0
	for i := 0; i < len(body); i++ {
		switch c := body[i]; c {
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			lists = append(lists, c == '[')
			if c == '[' {
				n++
			}
		case ']', '}':
			lists = lists[:max(0, len(lists)-1)]
		case ',':
			if len(lists) > 0 && lists[len(lists)-1] {
				n++
			}
		}
	}
	if n <= maxListed {
		return nil
	}
	return fmt.Errorf("the lists of the body have %d elements, expected at most %d in all", n, maxListed)
}
