// Package wellformed tells what is JSON, as encoding/json's Valid does to the letter,
// at a multiple of its pace: it is the only thing that every byte of every webhook goes
// through beside the signature.
package wellformed

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep arrays and objects may be nested, as in encoding/json: who reads
// an event with that would refuse it.
const maxDepth = 10_000

// JSON reports whether data is one JSON value, with nothing but blanks around it.
func JSON(data []byte) bool {
	var open nesting
	i := blanks(data, 0)
	for {
		// A value begins at i.
		if i >= len(data) {
			return false
		}
		begins := data[i] == '{' || data[i] == '['
		if begins {
			inside, ok := open.enter(data, &i)
			if !ok {
				return false
			}
			if inside {
				continue
			}
		} else if i = scalar(data, i); i < 0 {
			return false
		}
		// A value has ended before i.
		if i = open.next(data, i); i < 0 {
			return false
		}
		if open.depth == 0 {
			return i == len(data)
		}
	}
}

// nesting are the arrays and objects that have begun and not ended.
type nesting struct {
	depth int
	// objects has a bit for each, set where it is an object.
	objects [(maxDepth + 63) / 64]uint64
}

// enter takes the bracket at i, and moves i to the first value inside, or behind the end
// of one that is empty; inside is false then.
func (n *nesting) enter(data []byte, i *int) (inside, ok bool) {
	object := data[*i] == '{'
	if n.depth == maxDepth {
		return false, false
	}
	mask := uint64(1) << (n.depth % 64)
	if object {
		n.objects[n.depth/64] |= mask
	} else {
		n.objects[n.depth/64] &^= mask
	}
	at := blanks(data, *i+1)
	if at < len(data) && data[at] == data[*i]+2 { // in ASCII } is { + 2, and ] is [ + 2
		*i = at + 1
		return false, true
	}
	n.depth++
	if object {
		at = member(data, at)
	}
	*i = at
	return true, at >= 0
}

// next returns where the value behind one begins that has ended before i, or, with a
// depth of 0, the end of all; or -1.
func (n *nesting) next(data []byte, i int) int {
	for {
		i = blanks(data, i)
		if n.depth == 0 {
			return i
		}
		if i >= len(data) {
			return -1
		}
		top := n.depth - 1
		object := n.objects[top/64]>>(top%64)&1 == 1
		switch c := data[i]; {
		case c == ',' && object:
			return member(data, blanks(data, i+1))
		case c == ',':
			return blanks(data, i+1)
		case c == '}' && object, c == ']' && !object:
			n.depth--
			i++
		default:
			return -1
		}
	}
}

// member returns where the value of the member begins whose name begins at i, or -1.
func member(data []byte, i int) int {
	if i >= len(data) || data[i] != '"' {
		return -1
	}
	if i = text(data, i+1); i < 0 {
		return -1
	}
	if i = blanks(data, i); i >= len(data) || data[i] != ':' {
		return -1
	}
	return blanks(data, i+1)
}

func blanks(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t') {
		i++
	}
	return i
}

// scalar returns the end of the string, number or name that begins at i, or -1.
func scalar(data []byte, i int) int {
	switch data[i] {
	case '"':
		return text(data, i+1)
	case 't':
		return name(data, i, "true")
	case 'f':
		return name(data, i, "false")
	case 'n':
		return name(data, i, "null")
	}
	return number(data, i)
}

func name(data []byte, i int, want string) int {
	if len(data)-i < len(want) || string(data[i:i+len(want)]) != want {
		return -1
	}
	return i + len(want)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special returns which of eight bytes of a string is the first that is its end, an
// escape, or a control character, of which strings may hold none; 8 where none is. For
// each of the three, a byte's high bit is set where it is one, or, by a borrow, where
// one below it is: the lowest that is set is right.
func special(word uint64) int {
	quotes := word ^ ('"' * ones)
	escapes := word ^ ('\\' * ones)
	found := (quotes-ones)&^quotes | (escapes-ones)&^escapes | (word-' '*ones)&^word
	return bits.TrailingZeros64(found&highs) / 8
}

// text returns the end of the string whose first character is at i, or -1.
func text(data []byte, i int) int {
	for {
		if len(data)-i >= 8 {
			n := special(binary.LittleEndian.Uint64(data[i:]))
			if i += n; n == 8 {
				continue
			}
		}
		if i >= len(data) {
			return -1
		}
		switch c := data[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = escape(data, i+1); i < 0 {
				return -1
			}
		case c < ' ':
			return -1
		default:
			i++
		}
	}
}

// escape returns the end of the escape whose second character is at i, or -1.
func escape(data []byte, i int) int {
	if i >= len(data) {
		return -1
	}
	switch data[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		const digits = 4
		if len(data)-i <= digits {
			return -1
		}
		for _, c := range data[i+1 : i+1+digits] {
			if !digit(c) && (c|' ' < 'a' || c|' ' > 'f') {
				return -1
			}
		}
		return i + 1 + digits
	}
	return -1
}

// number returns the end of the number that begins at i, or -1.
func number(data []byte, i int) int {
	if data[i] == '-' {
		i++
	}
	switch {
	case i >= len(data) || !digit(data[i]):
		return -1
	case data[i] == '0':
		i++
	default:
		i = digits(data, i)
	}
	if i < len(data) && data[i] == '.' {
		if i = digits(data, i+1); !digit(data[i-1]) {
			return -1
		}
	}
	if i < len(data) && data[i]|' ' == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if i = digits(data, i); !digit(data[i-1]) {
			return -1
		}
	}
	return i
}

// digits returns the end of the digits that begin at i, which may be none.
func digits(data []byte, i int) int {
	for i < len(data) && digit(data[i]) {
		i++
	}
	return i
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
