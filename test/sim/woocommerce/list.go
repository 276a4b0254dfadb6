package woocommerce

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
)

// page is the part of a list that is asked for.
type page struct {
	number, size int
	descending   bool
}

// readPage reads page, per_page (10 by default, 100 at most) and order.
func readPage(query url.Values) (page, *account.Reply) {
	p := page{number: 1, size: 10, descending: query.Get("order") != "asc"}
	for _, field := range []struct {
		name    string
		of      *int
		largest int
	}{{"page", &p.number, 1 << 30}, {"per_page", &p.size, 100}} {
		text := query.Get(field.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > field.largest {
			refusal := invalid(field.name, fmt.Sprintf("%s must be between 1 (inclusive) and %d (inclusive)", field.name, field.largest))
			return p, &refusal
		}
		*field.of = n
	}
	if order := query.Get("order"); order != "" && order != "asc" && order != "desc" {
		refusal := invalid("order", "order is not one of asc and desc.")
		return p, &refusal
	}
	return p, nil
}

// pageReply cuts the page out of all that was found. A page past the end is an empty list and no error.
func pageReply[T any](s *Shop, collection string, query url.Values, p page, found []T) account.Reply {
	pages := (len(found) + p.size - 1) / p.size
	first := min((p.number-1)*p.size, len(found))
	out := reply(http.StatusOK, found[first:min(first+p.size, len(found))])
	out.Header.Set("X-WP-Total", strconv.Itoa(len(found)))
	out.Header.Set("X-WP-TotalPages", strconv.Itoa(pages))
	link := func(number int, name string) {
		q := maps.Clone(query)
		q.Set("page", strconv.Itoa(number))
		out.Header.Add("Link", fmt.Sprintf("<%swp-json/wc/v3/%s?%s>; rel=%q", s.cfg.URL, collection, q.Encode(), name))
	}
	if p.number > 1 {
		link(min(p.number-1, max(pages, 1)), "prev")
	}
	if p.number < pages {
		link(p.number+1, "next")
	}
	return out
}

// selection says which orders a list holds.
type selection struct {
	statuses []string
	gmt      bool
	include  []int64
	// bounds by parameter; they are wall clocks, held as if in UTC.
	bounds map[string]time.Time
}

// listOrders is GET /orders. What it does not know among the parameters it ignores, as WordPress does.
func (s *Shop) listOrders(query url.Values) account.Reply {
	p, refusal := readPage(query)
	if refusal != nil {
		return *refusal
	}
	choice, refusal := s.readSelection(query)
	if refusal != nil {
		return *refusal
	}
	orderBy := cmp.Or(query.Get("orderby"), "date")
	if !slices.Contains([]string{"date", "modified", "id"}, orderBy) {
		return invalid("orderby", "orderby is not one of date, id, include, title, slug, and modified.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []*record{}
	for _, r := range s.orders.All() {
		if s.chosen(choice, r) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *record) int {
		by := 0
		switch orderBy {
		case "date":
			by = a.Created.Truncate(time.Second).Compare(b.Created.Truncate(time.Second))
		case "modified":
			by = a.Modified.Truncate(time.Second).Compare(b.Modified.Truncate(time.Second))
		}
		by = cmp.Or(by, cmp.Compare(a.ID, b.ID)) // WooCommerce adds the id, so that pages are stable
		if p.descending {
			return -by
		}
		return by
	})
	// Only what is on the page is made a document: a poll of a large shop would take long else.
	first := min((p.number-1)*p.size, len(found))
	documents := make([]any, len(found))
	for i := first; i < min(first+p.size, len(found)); i++ {
		documents[i] = s.document(found[i])
	}
	return pageReply(s, "orders", query, p, documents)
}

func (s *Shop) readSelection(query url.Values) (selection, *account.Reply) {
	choice := selection{bounds: make(map[string]time.Time)}
	refuse := func(name, detail string) (selection, *account.Reply) {
		refusal := invalid(name, detail)
		return selection{}, &refusal
	}
	switch text := strings.ToLower(query.Get("dates_are_gmt")); text {
	case "true", "1":
		choice.gmt = true
	case "", "false", "0":
	default:
		return refuse("dates_are_gmt", "dates_are_gmt is not of type boolean.")
	}
	for _, text := range append(list(query, "status"), list(query, "status[]")...) {
		if text != "any" && !slices.Contains(statuses, text) {
			return refuse("status", fmt.Sprintf("status[0] is not one of any, trash, %s.", strings.Join(statuses, ", ")))
		}
		choice.statuses = append(choice.statuses, text)
	}
	for _, text := range append(list(query, "include"), list(query, "include[]")...) {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return refuse("include", "include[0] is not of type integer.")
		}
		choice.include = append(choice.include, id)
	}
	for _, name := range []string{"after", "before", "modified_after", "modified_before"} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		at, ok := s.bound(text)
		if !ok {
			return refuse(name, "Invalid date.")
		}
		choice.bounds[name] = at
	}
	return choice, nil
}

func list(query url.Values, name string) []string {
	var all []string
	for _, value := range query[name] {
		for text := range strings.SplitSeq(value, ",") {
			if text != "" {
				all = append(all, text)
			}
		}
	}
	return all
}

// bound reads a bound as WordPress does (WP_Date_Query::build_mysql_datetime): without a zone it is taken as it stands; with
// one, Z included, it is turned into the shop's own time first, even if it is compared with GMT then. So in a shop east of
// Greenwich a modified_after with a Z leaves out the newest hours.
func (s *Shop) bound(text string) (time.Time, bool) {
	text = strings.Replace(strings.ToUpper(text), " ", "T", 1)
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05.999999999"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.Truncate(time.Second), true
		}
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, false
	}
	return wallClock(at.In(s.zone)), true
}

// wallClock is what a clock shows, as if in UTC, in whole seconds.
func wallClock(at time.Time) time.Time {
	return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
}

// chosen needs the lock. Both kinds of bound are exclusive, and the moments have whole seconds. "any" leaves out the trash.
func (s *Shop) chosen(choice selection, r *record) bool {
	anyStatus := len(choice.statuses) == 0 || slices.Contains(choice.statuses, "any")
	if anyStatus && r.status == StatusTrash || !anyStatus && !slices.Contains(choice.statuses, r.status) {
		return false
	}
	if len(choice.include) > 0 && !slices.Contains(choice.include, r.ID) {
		return false
	}
	zone := s.zone
	if choice.gmt {
		zone = time.UTC
	}
	created, modified := wallClock(r.Created.In(zone)), wallClock(r.Modified.In(zone))
	for name, at := range choice.bounds {
		moment := created
		if strings.HasPrefix(name, "modified") {
			moment = modified
		}
		if strings.HasSuffix(name, "after") && !moment.After(at) || strings.HasSuffix(name, "before") && !moment.Before(at) {
			return false
		}
	}
	return true
}
