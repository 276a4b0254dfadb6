package bigcommerce

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
)

// page is the part of a list that is asked for.
type page struct{ number, size int }

// readPage reads page and limit, 50 by default and 250 at most.
func readPage(query url.Values) (page, *account.Reply) {
	p := page{number: 1, size: 50}
	for name, of := range map[string]*int{"page": &p.number, "limit": &p.size} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			refusal := failureV2(http.StatusBadRequest, "The field '"+name+"' is invalid.")
			return p, &refusal
		}
		*of = n
	}
	p.size = min(p.size, 250)
	return p, nil
}

func cut[T any](all []T, p page) []T {
	first := min((p.number-1)*p.size, len(all))
	return all[first:min(first+p.size, len(all))]
}

// listReply is a list of version 2: an empty one is 204 without a body.
func listReply[T any](all []T) account.Reply {
	if len(all) == 0 {
		return account.Reply{Status: http.StatusNoContent}
	}
	return reply(http.StatusOK, all)
}

// selection says which orders a list holds.
type selection struct {
	minID, maxID                                     int64
	status                                           int // -1 for any
	minCreated, maxCreated, minModified, maxModified time.Time
	archived                                         bool
}

// listOrders is GET /orders. By default it is sorted by id. Parameters that it does not know it ignores.
func (s *Store) listOrders(query url.Values) account.Reply {
	p, refusal := readPage(query)
	if refusal != nil {
		return *refusal
	}
	choice, wrong := readSelection(query)
	if wrong != "" {
		return failureV2(http.StatusBadRequest, "The field '"+wrong+"' is invalid.")
	}
	field, direction, _ := strings.Cut(cmp.Or(query.Get("sort"), "id"), ":")
	if !slices.Contains([]string{"id", "customer_id", "date_created", "date_modified", "status_id"}, field) ||
		!slices.Contains([]string{"", "asc", "desc"}, direction) {
		return failureV2(http.StatusBadRequest, "The field 'sort' is invalid.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := slices.DeleteFunc(slices.Clone(s.orders.All()), func(r *record) bool { return !choice.holds(r) })
	slices.SortFunc(found, func(a, b *record) int {
		by := 0
		switch field {
		case "date_created":
			by = a.Created.Truncate(time.Second).Compare(b.Created.Truncate(time.Second))
		case "date_modified":
			by = a.Modified.Truncate(time.Second).Compare(b.Modified.Truncate(time.Second))
		case "status_id":
			by = cmp.Compare(a.status, b.status)
		}
		by = cmp.Or(by, cmp.Compare(a.ID, b.ID)) // how the real one orders equals is not documented
		if direction == "desc" {
			return -by
		}
		return by
	})
	documents := []Order{}
	for _, r := range cut(found, p) {
		documents = append(documents, s.included(r, query))
	}
	return listReply(documents)
}

// readSelection returns the parameter that is wrong, if one is.
func readSelection(query url.Values) (choice selection, wrong string) {
	choice.status = -1
	for name, of := range map[string]*int64{"min_id": &choice.minID, "max_id": &choice.maxID} {
		if text := query.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return choice, name
			}
			*of = n
		}
	}
	if text := query.Get("status_id"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= len(statusNames) {
			return choice, "status_id"
		}
		choice.status = n
	}
	choice.archived = query.Get("is_deleted") == "true"
	for name, of := range map[string]*time.Time{
		"min_date_created": &choice.minCreated, "max_date_created": &choice.maxCreated,
		"min_date_modified": &choice.minModified, "max_date_modified": &choice.maxModified,
	} {
		if text := query.Get(name); text != "" {
			at, ok := readDate(text)
			if !ok {
				return choice, name
			}
			*of = at
		}
	}
	return choice, ""
}

// readDate takes RFC 2822 and ISO 8601. A date without a zone is taken for UTC.
func readDate(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC1123Z, time.RFC1123, time.RFC3339Nano, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// holds takes both ends of a span in: the documentation calls them minimum and maximum. Moments have whole seconds.
func (c selection) holds(r *record) bool {
	created, modified := r.Created.Truncate(time.Second), r.Modified.Truncate(time.Second)
	outside := func(at, first, last time.Time) bool {
		return !first.IsZero() && at.Before(first) || !last.IsZero() && at.After(last)
	}
	return c.archived == r.archived && r.ID >= c.minID && (c.maxID == 0 || r.ID <= c.maxID) && (c.status < 0 || c.status == r.status) &&
		!outside(created, c.minCreated, c.maxCreated) && !outside(modified, c.minModified, c.maxModified)
}
