// Package bychange turns the pages of systems that list orders by the time of their newest
// change, know that time to the second, and give no cursor to go on from.
package bychange

import (
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/connectors/listing"
)

// Layout is that of a second in a cursor: in UTC, and does not say so.
const Layout = "2006-01-02T15:04:05"

// Cursor is a place in the orders by the time of their newest change.
//
// An order that is changed while a poll turns pages leaves its place for the end, and
// whatever is behind it moves up by one: by page numbers the first of the next page
// would be missed. So the next page is what was changed since the second of the last
// order of this one, that second included; some come twice.
//
// That goes no further where one second has more than a page, such as after a bulk
// edit. Its orders are then taken alone, in an order that no change moves them in.
type Cursor struct {
	// Second is the first of which orders are listed.
	Second time.Time
	// Tied: only the orders of that second, from Within on, which is a page or an id as
	// the system has it.
	Tied   bool
	Within int64
}

// At returns where a page begins.
func At(asked listing.Orders) (Cursor, error) {
	if asked.Page == "" {
		return Cursor{Second: asked.Since.UTC().Truncate(time.Second)}, nil
	}
	moment, within, tied := strings.Cut(asked.Page, "/")
	at := Cursor{Tied: tied}
	var err error
	at.Second, err = time.Parse(Layout, moment)
	if err == nil && tied {
		at.Within, err = strconv.ParseInt(within, 10, 64)
	}
	if err != nil || at.Within < 0 {
		return Cursor{}, listing.NotAPage(asked.Page)
	}
	return at, nil
}

// String is the page, as At reads it.
func (c Cursor) String() string {
	text := c.Second.Format(Layout)
	if c.Tied {
		text += "/" + strconv.FormatInt(c.Within, 10)
	}
	return text
}

// After is the cursor behind a page of c that is not the last one, whose last order was
// changed at that time.
func (c Cursor) After(last time.Time) Cursor {
	if last = last.Truncate(time.Second); last.After(c.Second) {
		return Cursor{Second: last}
	}
	return c.From(0)
}

// From is the cursor at a place within the second.
func (c Cursor) From(within int64) Cursor {
	return Cursor{Second: c.Second, Tied: true, Within: within}
}

// Later is the cursor behind all orders of the second.
func (c Cursor) Later() Cursor { return Cursor{Second: c.Second.Add(time.Second)} }
