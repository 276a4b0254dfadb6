package orderfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// maxReason is what is told of why a line cannot be read.
const maxReason = 300

// Orders reads a file that has a canonical order in the JSON form of its proto on each
// line, from a position on.
func Orders(in io.Reader, at Position) Reader {
	return &ndjson{lines: newLines(in, at), read: func(text []byte, item *Item) {
		order := &orderv1.Order{}
		if err := protojson.Unmarshal(text, order); err != nil {
			item.Problem = "is no order: " + reason(err)
			return
		}
		item.Order = order
	}}
}

// Bodies reads a file that has on each line what a system sends in a webhook, from a
// position on.
func Bodies(in io.Reader, at Position) Reader {
	return &ndjson{lines: newLines(in, at), read: func(text []byte, item *Item) {
		if !json.Valid(text) {
			item.Problem = "is not JSON"
			return
		}
		item.Body = text
	}}
}

type ndjson struct {
	lines *lines
	read  func(text []byte, item *Item)
}

// Next is part of Reader.
func (n *ndjson) Next() (Item, error) {
	for {
		l, err := n.lines.next()
		if err != nil {
			return Item{}, err
		}
		if l.blank() {
			continue
		}
		item := Item{Line: l.end.Line, Original: l.text, End: l.end, Problem: l.problem()}
		if item.Problem == "" {
			n.read(bytes.TrimSpace(l.text), &item)
		}
		return item, nil
	}
}

// reason is an error in words that are the same each time: protojson puts a space of
// another kind into its own, so that nobody relies on them.
func reason(err error) string {
	text := strings.ReplaceAll(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ", "")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return strings.Join(strings.Fields(text), " ")
}

func quoted(value string) string {
	const most = 40
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "…"
	}
	return fmt.Sprintf("%q", value)
}
