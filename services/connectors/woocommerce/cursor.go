package woocommerce

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

// cursor is a place in the orders by the time of their newest change.
//
// An order that is changed while a poll turns pages leaves its place for the end, and
// whatever is behind it moves up by one: by page numbers the first of the next page
// would be missed. So the next page is what was changed since the second of the last
// order of this one, that second included; some come twice.
//
// That goes no further where one second has more than a page, such as after a bulk
// edit. Its orders are then taken alone, by number and from the last page to the
// first: what leaves makes those that are still to come move up, and shows some twice.
//
// What is in the trash is in no list of orders of any status. So behind each page comes
// the trash of the same time, before what was changed later.
type cursor struct {
	second time.Time
	// tied: only the orders of that second, of which page is the page. Page 0 is the
	// first one, read to learn how many there are.
	tied  bool
	page  int
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
const layout = "2006-01-02T15:04:05"

func cursorOf(call connectors.Call) (cursor, error) {
	list, err := listing.ParseOrders(call.Arguments)
	if err != nil {
		return cursor{}, err
	}
	if list.Page == "" {
		return cursor{second: list.Since.UTC().Truncate(time.Second)}, nil
	}
	if strings.HasPrefix(list.Page, trashMark+",") {
		t, err := trashOf(list.Page)
		return cursor{trash: t}, err
	}
	moment, page, tied := strings.Cut(list.Page, "/")
	at := cursor{tied: tied}
	at.second, err = time.Parse(layout, moment)
	if err == nil && tied {
		at.page, err = strconv.Atoi(page)
	}
	if err != nil || at.page < 0 {
		return cursor{}, fmt.Errorf("page %q: want the next of the page before", list.Page)
	}
	return at, nil
}

func trashOf(text string) (*trash, error) {
	parts := strings.SplitN(text, ",", trashParts)
	if len(parts) < trashParts {
		return nil, fmt.Errorf("page %q: want the next of the page before", text)
	}
	t := &trash{then: parts[4]}
	var err, toErr, pageErr error
	t.from, err = time.Parse(layout, parts[1])
	if parts[2] != "" {
		t.to, toErr = time.Parse(layout, parts[2])
	}
	t.page, pageErr = strconv.Atoi(parts[3])
	if err != nil || toErr != nil || pageErr != nil || t.page < 0 {
		return nil, fmt.Errorf("page %q: want the next of the page before", text)
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

func (c cursor) String() string {
	text := c.second.Format(layout)
	if c.tied {
		text += "/" + strconv.Itoa(c.page)
	}
	return text
}

func (c cursor) query() url.Values {
	if c.trash != nil {
		return c.trash.query()
	}
	// Neither end is part of what a shop returns, and its times are whole seconds.
	query := url.Values{
		"modified_after": {c.second.Add(-time.Second).Format(layout)}, "dates_are_gmt": {"true"}, "status": {"any"}, "order": {"asc"},
		"orderby": {"modified"}, "per_page": {strconv.Itoa(ordersPerPage)},
	}
	if c.tied {
		query.Set("modified_before", c.second.Add(time.Second).Format(layout))
		query.Set("orderby", "id")
		query.Set("per_page", strconv.Itoa(tiedPerPage))
		query.Set("page", strconv.Itoa(max(c.page, 1)))
	}
	return query
}

// after is the cursor behind a page that is not the last one, whose last order was
// changed at that time.
func (c cursor) after(last time.Time) cursor {
	if last = last.Truncate(time.Second); last.After(c.second) {
		return cursor{second: last}
	}
	return cursor{second: c.second, tied: true}
}

// afterTied is the cursor behind a page of a second that has so many.
func (c cursor) afterTied(pages int) cursor {
	if page := pageBefore(c.page, pages); page > 0 {
		return cursor{second: c.second, tied: true, page: page}
	}
	return cursor{second: c.second.Add(time.Second)}
}

// behind returns the page behind one that next would come after, nil for the last one: the
// trash of the same time, unless there is more of its second first.
func (c cursor) behind(next *cursor, last time.Time) string {
	switch {
	case next == nil:
		return (&trash{from: c.second, to: last.Truncate(time.Second)}).String()
	case next.tied:
		return next.String()
	case c.tied:
		last = c.second
	}
	return (&trash{from: c.second, to: last.Truncate(time.Second), then: next.String()}).String()
}
