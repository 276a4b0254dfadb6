package orderfile

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"strings"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// remembered is how many orders that came before are known: of one that is torn apart in
// the file each piece would replace the one before it.
const remembered = 100_000

// Header is the first line of a CSV file.
type Header struct {
	options Options
	columns []column
	// used says which of them mean something; id is that of the order's id.
	used []bool
	id   int
	// End is where the orders begin.
	End Position
}

// ReadHeader reads the first line of a CSV file.
func ReadHeader(in io.Reader, o Options) (*Header, error) {
	h := &Header{options: o, id: -1}
	lines := newLines(in, Position{})
	first, err := lines.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty, expected a first line with the names of the columns")
	}
	if err != nil {
		return nil, err
	}
	if p := first.problem(); p != "" {
		return nil, errors.New("line 1 " + p)
	}
	titles, err := h.cells(first.text, false)
	if err != nil {
		return nil, fmt.Errorf("line 1, which is to name the columns, cannot be read: %s", reason(err))
	}
	all, seen := known(o.Zone), make(map[string]bool)
	for i, title := range titles {
		found, ignored, ok := columnOf(title, all, o)
		if other := strings.IndexAny(title, ",;\t|"); !ok && len(titles) == 1 && other >= 0 {
			return nil, fmt.Errorf("line 1 is one column for the delimiter %q; say --delimiter %q if that stands between them", o.Comma, title[other:other+1])
		}
		if !ok {
			return nil, fmt.Errorf("column %d is called %s, expected one of %s; say what it is by --column %s=NAME, or that it is of no use by --column %s=",
				i+1, quoted(title), strings.Join(Columns(), ", "), strconv.Quote(title), strconv.Quote(title))
		}
		if !ignored && seen[found.name] {
			return nil, fmt.Errorf("two columns are %s, expected one", found.name)
		}
		seen[found.name] = seen[found.name] || !ignored
		if found.name == columnID && !ignored {
			h.id = i
		}
		h.columns, h.used = append(h.columns, found), append(h.used, !ignored)
	}
	if h.id < 0 {
		return nil, fmt.Errorf("no column is called %s, which says what order a line is of; name it by --column THEIRS=%s", columnID, columnID)
	}
	h.End = first.end
	return h, nil
}

// cells splits one record. Lazy is for one that is broken: its cells are a guess.
func (h *Header) cells(text []byte, lazy bool) ([]string, error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = h.options.Comma, lazy, -1
	cells, err := r.Read()
	if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
		// Of lines it knows only those that it was given.
		err = fmt.Errorf("column %d: %w", wrong.Column, wrong.Err)
	}
	return cells, err
}

// CSV reads the orders of a file that has this header, from a position on.
func (h *Header) CSV(in io.Reader, at Position) Reader {
	return &csvReader{header: h, lines: newLines(in, at), seed: maphash.MakeSeed(), came: make(map[uint64]int64)}
}

// record is one record, mostly a line of the file.
type record struct {
	cells []string
	// id is of which order it is, or seems to be; empty where nobody can tell.
	id      string
	problem string
	line    int64
	text    []byte
	end     Position
}

type csvReader struct {
	header *Header
	lines  *lines
	// next was read to see whether it is of the same order.
	next *record
	// doubt is a line of which nobody can tell whether it belongs to what comes now.
	doubt int64
	// torn is an order of which a piece was given out as too large already.
	torn string

	seed maphash.Seed
	// came are the orders that came before with their line, order the hashes in the order
	// of their coming.
	came  map[uint64]int64
	order []uint64
}

// Next is part of Reader.
func (c *csvReader) Next() (Item, error) {
	first, err := c.take()
	if err != nil {
		return Item{}, err
	}
	if first.id == "" {
		c.doubt, c.torn = first.line, ""
		if first.problem == "" {
			first.problem = columnID + " is empty"
		}
		return first.item(), nil
	}
	if first.id == c.torn {
		first.problem = "belongs to an order that is too large"
		return first.item(), nil
	}
	c.torn = ""
	group, problem, err := c.gather(first)
	if err != nil {
		return Item{}, err
	}
	if before := c.cameBefore(first.id, first.line); before > 0 && problem == "" {
		problem = fmt.Sprintf("order %s came before, in line %d; the lines of an order must follow each other", quoted(first.id), before)
	}
	item := first.item()
	item.End, item.Problem = group[len(group)-1].end, problem
	for _, r := range group[1:] {
		item.Original = append(item.Original, r.text...)
	}
	if problem == "" {
		item.Order, item.Problem = c.header.orderOf(group)
	}
	return item, nil
}

// gather takes the records of the order that first is of, and says what is wrong with any
// of them, or with what is around them.
func (c *csvReader) gather(first *record) (group []*record, problem string, err error) {
	group, problem = []*record{first}, first.problem
	if c.doubt > 0 && problem == "" {
		problem = fmt.Sprintf("line %d before it cannot be read, and may be of this order", c.doubt)
	}
	c.doubt = 0
	for size := len(first.text); ; {
		r, err := c.take()
		if errors.Is(err, io.EOF) {
			return group, problem, nil
		}
		if err != nil {
			return nil, "", err
		}
		size += len(r.text)
		switch {
		case r.id != first.id:
			c.next = r
			if r.id == "" && problem == "" {
				problem = fmt.Sprintf("line %d behind it cannot be read, and may be of this order", r.line)
			}
			return group, problem, nil
		case size > MaxItem:
			c.next, c.torn = r, first.id
			return group, fmt.Sprintf("the order is larger than %d bytes", MaxItem), nil
		case problem == "" && r.problem != "":
			problem = fmt.Sprintf("line %d: %s", r.line, r.problem)
		}
		group = append(group, r)
	}
}

func (r *record) item() Item {
	return Item{Problem: r.problem, Line: r.line, Original: r.text, End: r.end}
}

// cameBefore returns the line in which an order came before, 0 where it is not known to.
func (c *csvReader) cameBefore(id string, line int64) int64 {
	key := maphash.String(c.seed, id)
	if before, ok := c.came[key]; ok {
		return before
	}
	if len(c.order) == remembered {
		// Half at once, so that the slice is not moved for each.
		for _, old := range c.order[:remembered/2] {
			delete(c.came, old)
		}
		c.order = append(c.order[:0], c.order[remembered/2:]...)
	}
	c.came[key] = line
	c.order = append(c.order, key)
	return 0
}

// take returns the next record.
func (c *csvReader) take() (*record, error) {
	if r := c.next; r != nil {
		c.next = nil
		return r, nil
	}
	for {
		first, err := c.lines.next()
		if err != nil {
			return nil, err
		}
		if first.blank() {
			continue
		}
		r, err := c.record(first)
		if err != nil || r.problem != "" || slices.ContainsFunc(r.cells, func(cell string) bool { return strings.TrimSpace(cell) != "" }) {
			return r, err
		}
		// Nothing but commas, as spreadsheets write behind the last line.
	}
}

// record reads the record that begins with a line. A quote that is not closed would
// swallow what follows: then only the first line is wrong, and the others come again.
func (c *csvReader) record(first line) (*record, error) {
	r := &record{line: first.end.Line, text: first.text, end: first.end, problem: first.problem()}
	if r.problem != "" {
		c.guess(r)
		return r, nil
	}
	read, text, end := []line(nil), first.text, first.end
	for open := odd(text); open; {
		l, err := c.lines.next()
		if errors.Is(err, io.EOF) || err == nil && (l.problem() != "" || len(text)+len(l.text) > MaxItem) {
			if err == nil {
				read = append(read, l)
			}
			c.lines.back(read)
			r.problem = "has a quote that is not closed"
			c.guess(r)
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		if len(read) == 0 {
			text = slices.Clip(text) // the first line's own bytes stay as they are
		}
		read, text, end = append(read, l), append(text, l.text...), l.end
		open = open != odd(l.text)
	}
	cells, err := c.header.cells(text, false)
	if err != nil {
		c.lines.back(read)
		r.problem = "cannot be read: " + reason(err)
		c.guess(r)
		return r, nil
	}
	r.cells, r.text, r.end = cells, text, end
	if want := len(c.header.columns); len(cells) != want {
		r.problem = fmt.Sprintf("has %d cells, expected %d as in the first line", len(cells), want)
	}
	r.id = c.header.idOf(cells)
	return r, nil
}

// idOf returns of which order a record is, "" where nobody can tell: where cells are too
// many or too few, those behind the first one may be another column's. Taken for another
// order's, the line would be missing in its own without a word.
func (h *Header) idOf(cells []string) string {
	if h.id >= len(cells) || h.id > 0 && len(cells) != len(h.columns) {
		return ""
	}
	return strings.TrimSpace(cells[h.id])
}

func odd(text []byte) bool { return bytes.Count(text, []byte{'"'})%2 != 0 }

// guess finds out of which order a broken line is, as well as it can be.
func (c *csvReader) guess(r *record) {
	cells, err := c.header.cells(r.text, true)
	if err != nil || bytes.HasPrefix(r.text, []byte{'"'}) && len(cells) != len(c.header.columns) {
		return // the first cell is the rest of the line, it seems
	}
	if r.id = strings.ToValidUTF8(c.header.idOf(cells), "?"); len(r.id) > 256 {
		r.id = ""
	}
}

// orderOf makes the order of all its records. What the order as a whole has may be
// repeated on each line or stand on one, and must not differ.
func (h *Header) orderOf(group []*record) (*orderv1.Order, string) {
	o := &orderv1.Order{}
	for i, column := range h.columns {
		if !h.used[i] || column.order == nil {
			continue
		}
		value, at := "", int64(0)
		for _, r := range group {
			switch cell := strings.TrimSpace(r.cells[i]); {
			case cell == "" || cell == value:
			case value == "":
				value, at = cell, r.line
			default:
				return nil, fmt.Sprintf("line %d: %s is %s, but %s in line %d of the same order", r.line, column.name, quoted(cell), quoted(value), at)
			}
		}
		if value == "" {
			continue
		}
		if err := column.order(o, value); err != nil {
			return nil, fmt.Sprintf("line %d: %s is %s, %v", at, column.name, quoted(value), err)
		}
	}
	for _, r := range group {
		l, problem := h.lineOf(r)
		if problem != "" {
			return nil, problem
		}
		if l == nil {
			continue
		}
		if l.GetId() == "" {
			l.Id = strconv.Itoa(len(o.GetLines()) + 1)
		}
		o.Lines = append(o.Lines, l)
	}
	return o, ""
}

// lineOf returns the order's line that a record holds, nil for none.
func (h *Header) lineOf(r *record) (*orderv1.Line, string) {
	var l *orderv1.Line
	counted := false
	for i, column := range h.columns {
		value := ""
		if h.used[i] && column.line != nil {
			value = strings.TrimSpace(r.cells[i])
		}
		if value == "" {
			continue
		}
		if l == nil {
			l = &orderv1.Line{}
		}
		if err := column.line(l, value); err != nil {
			return nil, fmt.Sprintf("line %d: %s is %s, %v", r.line, column.name, quoted(value), err)
		}
		counted = counted || column.name == "quantity"
	}
	if l != nil && !counted {
		return nil, fmt.Sprintf("line %d: quantity is empty, expected a whole number", r.line)
	}
	return l, ""
}
