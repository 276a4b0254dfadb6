package bigcommerce

import (
	"net/url"
	"strconv"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/bychange"
	"github.com/peppasync/peppasync/services/connectors/listing"
)

// asked is how a store takes a time.
const asked = bychange.Layout + "+00:00"

// cursorOf is where a page begins. The orders of one second are taken by id, from the last
// id of the page before on.
func cursorOf(call connectors.Call) (bychange.Cursor, error) {
	list, err := listing.ParseOrders(call.Arguments)
	if err != nil {
		return bychange.Cursor{}, err
	}
	return bychange.At(list)
}

// query takes a second more on either side: whether an end is part of what a store
// returns, its pages do not say.
func query(at bychange.Cursor) url.Values {
	query := url.Values{
		"min_date_modified": {at.Second.Add(-time.Second).Format(asked)}, "sort": {"date_modified:asc"},
		"limit": {strconv.Itoa(ordersPerPage)}, "include": {included},
	}
	if at.Tied {
		query.Set("max_date_modified", at.Second.Add(time.Second).Format(asked))
		query.Set("sort", "id:asc")
		query.Set("min_id", strconv.FormatInt(at.Within, 10))
	}
	return query
}
