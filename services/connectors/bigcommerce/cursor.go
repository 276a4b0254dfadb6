package bigcommerce

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
// That goes no further where one second has more than a page. Its orders are then
// taken alone, by id, from the last id of the page before on.
type cursor struct {
	second time.Time
	// tied: only the orders of about that second, from the id on.
	tied bool
	id   int64
}

const (
	layout = "2006-01-02T15:04:05"
	// asked is how a store takes a time.
	asked = layout + "+00:00"
)

func cursorOf(call connectors.Call) (cursor, error) {
	list, err := listing.ParseOrders(call.Arguments)
	if err != nil {
		return cursor{}, err
	}
	if list.Page == "" {
		return cursor{second: list.Since.UTC().Truncate(time.Second)}, nil
	}
	moment, id, tied := strings.Cut(list.Page, "/")
	at := cursor{tied: tied}
	at.second, err = time.Parse(layout, moment)
	if err == nil && tied {
		at.id, err = strconv.ParseInt(id, 10, 64)
	}
	if err != nil || at.id < 0 {
		return cursor{}, fmt.Errorf("page %q: want the next of the page before", list.Page)
	}
	return at, nil
}

func (c cursor) String() string {
	text := c.second.Format(layout)
	if c.tied {
		text += "/" + strconv.FormatInt(c.id, 10)
	}
	return text
}

// query takes a second more on either side: whether an end is part of what a store
// returns, its pages do not say.
func (c cursor) query() url.Values {
	query := url.Values{
		"min_date_modified": {c.second.Add(-time.Second).Format(asked)}, "sort": {"date_modified:asc"},
		"limit": {strconv.Itoa(ordersPerPage)}, "include": {included},
	}
	if c.tied {
		query.Set("max_date_modified", c.second.Add(time.Second).Format(asked))
		query.Set("sort", "id:asc")
		query.Set("min_id", strconv.FormatInt(c.id, 10))
	}
	return query
}

// after is the cursor behind a page that is not the last one.
func (c cursor) after(last time.Time, id int64) cursor {
	if c.tied {
		return cursor{second: c.second, tied: true, id: id}
	}
	if last = last.Truncate(time.Second); last.After(c.second) {
		return cursor{second: last}
	}
	return cursor{second: c.second, tied: true}
}
