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
type cursor struct {
	second time.Time
	// tied: only the orders of that second, of which page is the page. Page 0 is the
	// first one, read to learn how many there are.
	tied bool
	page int
}

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

func (c cursor) String() string {
	text := c.second.Format(layout)
	if c.tied {
		text += "/" + strconv.Itoa(c.page)
	}
	return text
}

func (c cursor) query() url.Values {
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
	if c.page == 0 && pages > 1 {
		return cursor{second: c.second, tied: true, page: pages}
	}
	if c.page > 1 {
		return cursor{second: c.second, tied: true, page: c.page - 1}
	}
	return cursor{second: c.second.Add(time.Second)}
}
