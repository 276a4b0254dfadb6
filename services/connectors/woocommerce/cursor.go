package woocommerce

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/bychange"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

// cursor is a place in the orders. Those of one second are taken by number of page, from the
// last page to the first: what leaves makes those that are still to come move up, and shows
// some twice. Page 0 is the first one, read to learn how many there are.
//
// What is in the trash is in no list of orders of any status. So behind each page comes
// the trash of the same time, before what was changed later.
type cursor struct {
	bychange.Cursor

	trash *trash
}

// trash are the orders in the trash that were changed from one second to another, both
// included; behind the last page of the others to is the newest of them, zero where there
// was none, and the trash is listed without end. They are taken as those of one second are,
// by the time of the change: what comes into the trash meanwhile is then behind all others.
type trash struct {
	from, to time.Time
	page     int
	// then is the cursor behind them, empty for the end.
	then string
}

const (
	trashMark  = "trash"
	trashParts = 5
)

// layout is that of the times that a shop takes. They have no offset: a shop on
// another clock than UTC would move one with it to its own clock, and compare that
// with UTC.
const layout = bychange.Layout

func cursorOf(call connectors.Call) (cursor, error) {
	list, err := listing.ParseOrders(call.Arguments)
	if err != nil {
		return cursor{}, err
	}
	if strings.HasPrefix(list.Page, trashMark+",") {
		t, err := trashOf(list.Page)
		return cursor{trash: t}, err
	}
	at, err := bychange.At(list)
	return cursor{Cursor: at}, err
}

func trashOf(text string) (*trash, error) {
	parts := strings.SplitN(text, ",", trashParts)
	if len(parts) < trashParts {
		return nil, listing.NotAPage(text)
	}
	t := &trash{then: parts[4]}
	var err, toErr, pageErr error
	t.from, err = time.Parse(layout, parts[1])
	if parts[2] != "" {
		t.to, toErr = time.Parse(layout, parts[2])
	}
	t.page, pageErr = strconv.Atoi(parts[3])
	if err != nil || toErr != nil || pageErr != nil || t.page < 0 {
		return nil, listing.NotAPage(text)
	}
	return t, nil
}

func (t *trash) String() string {
	to := ""
	if !t.to.IsZero() {
		to = t.to.Format(layout)
	}
	return strings.Join([]string{trashMark, t.from.Format(layout), to, strconv.Itoa(t.page), t.then}, ",")
}

func (t *trash) query() url.Values {
	query := url.Values{
		"modified_after": {t.from.Add(-time.Second).Format(layout)}, "dates_are_gmt": {"true"}, "status": {statusTrash}, "order": {"asc"},
		"orderby": {"modified"}, "per_page": {strconv.Itoa(tiedPerPage)}, "page": {strconv.Itoa(max(t.page, 1))},
	}
	if t.then != "" {
		query.Set("modified_before", t.to.Add(time.Second).Format(layout))
	}
	return query
}

// after is the cursor behind a page of the trash that has so many.
func (t *trash) after(pages int) string {
	if page := pageBefore(t.page, pages); page > 0 {
		return (&trash{from: t.from, to: t.to, page: page, then: t.then}).String()
	}
	return t.then
}

// pageBefore is the page that comes after one where they are taken from the last to the
// first, 0 for none. Page 0 is the first one, read to learn how many there are.
func pageBefore(page, pages int) int {
	if page == 0 && pages > 1 {
		return pages
	}
	return max(page-1, 0)
}

func (c cursor) query() url.Values {
	if c.trash != nil {
		return c.trash.query()
	}
	// Neither end is part of what a shop returns, and its times are whole seconds.
	query := url.Values{
		"modified_after": {c.Second.Add(-time.Second).Format(layout)}, "dates_are_gmt": {"true"}, "status": {"any"}, "order": {"asc"},
		"orderby": {"modified"}, "per_page": {strconv.Itoa(ordersPerPage)},
	}
	if c.Tied {
		query.Set("modified_before", c.Second.Add(time.Second).Format(layout))
		query.Set("orderby", "id")
		query.Set("per_page", strconv.Itoa(tiedPerPage))
		query.Set("page", strconv.Itoa(max(int(c.Within), 1)))
	}
	return query
}

// afterTied is the cursor behind a page of a second that has so many.
func (c cursor) afterTied(pages int) bychange.Cursor {
	if page := pageBefore(int(c.Within), pages); page > 0 {
		return c.From(int64(page))
	}
	return c.Later()
}

// behind returns the page behind one that next would come after, nil for the last one: the
// trash of the same time, unless there is more of its second first.
func (c cursor) behind(next *bychange.Cursor, last time.Time) string {
	switch {
	case next == nil:
		return (&trash{from: c.Second, to: last.Truncate(time.Second)}).String()
	case next.Tied:
		return next.String()
	case c.Tied:
		last = c.Second
	}
	return (&trash{from: c.Second, to: last.Truncate(time.Second), then: next.String()}).String()
}
