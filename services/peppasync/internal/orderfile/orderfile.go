// Package orderfile reads orders out of files: CSV, and NDJSON of canonical orders or of
// what a system sends in its webhooks. It reads as a stream, so a file of any size takes
// the memory of its largest order, and what cannot be read becomes an item that says why
// and goes on behind it. The package is pure: a reader goes in, items come out.
package orderfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
)

// MaxItem is the most bytes that one order may take in a file: what ingest takes as one
// event is not much more.
const MaxItem = 1<<20 - 16<<10

// Position is a place between two items of a file.
type Position struct {
	Offset int64
	// Line is the number of lines before it.
	Line int64
}

// Item is one order of a file, or what stands in the place of one.
type Item struct {
	// Order, or Body where the file holds bodies; neither where Problem says why not.
	Order   *orderv1.Order
	Body    []byte
	Problem string
	// Line is the number of its first line; the file's first is 1.
	Line int64
	// Original is its lines as they are in the file, or the beginning of what is too long.
	Original []byte
	// End is where the next item begins.
	End Position
}

// Reader returns one item after the other, and io.EOF behind the last. Other errors are
// those of the file.
type Reader interface {
	Next() (Item, error)
}

// Options say how a CSV file is written.
type Options struct {
	// Comma separates cells.
	Comma rune
	// Columns names columns that the file calls otherwise: theirs to ours, or to "" for
	// one that is of no use.
	Columns map[string]string
	// Zone is that of times which do not say theirs.
	Zone *time.Location
}

// line is one line of a file, its line break included.
type line struct {
	text []byte
	// cut: it is longer than MaxItem, and only its beginning is here.
	cut bool
	// start is where it begins, end where the next one does.
	start, end Position
}

// lines reads a file line by line.
type lines struct {
	in *bufio.Reader
	at Position
	// again are lines that were read and are to be read once more, the next one in front.
	again []line
}

func newLines(in io.Reader, at Position) *lines {
	return &lines{in: bufio.NewReaderSize(in, 64<<10), at: at}
}

// back gives lines back, which come again.
func (l *lines) back(read []line) {
	l.again = append(append(make([]line, 0, len(read)+len(l.again)), read...), l.again...)
}

// next returns the next line, io.EOF behind the last.
func (l *lines) next() (line, error) {
	if len(l.again) > 0 {
		first := l.again[0]
		l.again = l.again[1:]
		return first, nil
	}
	read := line{start: l.at}
	for {
		part, err := l.in.ReadSlice('\n')
		l.at.Offset += int64(len(part))
		if room := MaxItem - len(read.text); len(part) > room {
			read.text, read.cut = append(read.text, part[:room]...), true
		} else {
			read.text = append(read.text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && l.at.Offset == read.start.Offset:
			return line{}, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return line{}, err
		}
		if read.start.Offset == 0 {
			read.text = bytes.TrimPrefix(read.text, []byte("\ufeff"))
		}
		l.at.Line++
		read.end = l.at
		return read, nil
	}
}

// problem says what is wrong with a line whatever it holds, "" for nothing.
func (l line) problem() string {
	switch {
	case l.cut:
		return fmt.Sprintf("is longer than the %d bytes that an order may have", MaxItem)
	case !utf8.Valid(l.text):
		return "is not UTF-8"
	}
	return ""
}

func (l line) blank() bool { return len(bytes.TrimSpace(l.text)) == 0 }
