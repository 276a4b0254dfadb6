package bigcommerce_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/bigcommerce"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// shelf answers lists of orders as a store does: orders by id, with the second in which
// each was changed.
type shelf struct {
	orders map[int]int
	// exclusive: the ends of a span are not part of it, nor is min_id.
	exclusive bool
	// large are orders of which an answer holds one.
	large map[int]bool
}

// largeMessage is more than half of an answer, and less than all of it.
var largeMessage = strings.Repeat("x", listing.MaxValueBytes*3/5)

func (s shelf) list(t rapid.TB, path string) connectors.Reply {
	target, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	query := target.Query()
	number := func(name string, otherwise int) int {
		text := query.Get(name)
		if text == "" {
			return otherwise
		}
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			return int(at.Sub(since) / time.Second)
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first, last, minID := number("min_date_modified", -1<<30), number("max_date_modified", 1<<30), number("min_id", -1)
	if s.exclusive {
		first, last, minID = first+1, last-1, minID+1
	}
	var ids []int
	for id, modified := range s.orders {
		if modified >= first && modified <= last && id >= minID {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b int) int {
		if query.Get("sort") == "date_modified:asc" && s.orders[a] != s.orders[b] {
			return s.orders[a] - s.orders[b]
		}
		return a - b
	})
	ids = ids[:min(len(ids), number("limit", 50))]
	if len(ids) == 0 {
		return connectors.Reply{Status: http.StatusNoContent, Written: true}
	}
	var body []string
	for _, id := range ids {
		at := since.Add(time.Duration(s.orders[id]) * time.Second)
		message := ""
		if s.large[id] {
			message = largeMessage
		}
		body = append(body, fmt.Sprintf(`{"id":%d,"status_id":11,"date_modified":%q,"customer_message":%q}`, id, at.Format(time.RFC1123Z), message))
	}
	return connectors.Reply{Status: http.StatusOK, Written: true, Body: []byte("[" + strings.Join(body, ",") + "]")}
}

// page asks for one, and fails the test where its reply cannot be read.
func (s shelf) page(t rapid.TB, page string) listing.OrderPage {
	call := connectors.Call{Operation: connectors.OperationListOrders, Arguments: listing.Orders{Since: since, Page: page}.Arguments()}
	request, err := bigcommerce.BigCommerce{}.Request(spec(), call)
	if err != nil {
		t.Fatal(err)
	}
	answer := bigcommerce.BigCommerce{}.Read(spec(), call, s.list(t, request.Path))
	if answer.Class != fault.OK {
		t.Fatalf("page %q: %s %+v", page, answer.Class, answer.Cause)
	}
	found, err := listing.ParseOrderPage(answer.Value)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPagesShowEveryOrderThoughOrdersAreChangedMeanwhile turns pages while orders leave
// their place for the end, as they do in a store that sells.
func TestPagesShowEveryOrderThoughOrdersAreChangedMeanwhile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := shelf{orders: make(map[int]int), exclusive: rapid.Bool().Draw(t, "exclusive")}
		for id := range rapid.IntRange(0, 200).Draw(t, "orders") {
			// Few seconds, so that some have more than a page.
			store.orders[id+1] = rapid.IntRange(0, 3).Draw(t, "second")
		}
		seen, now := make(map[string]bool), 4
		var page string
		for turned := 0; ; turned++ {
			if turned > 400 {
				t.Fatalf("no end after %d pages, at %q", turned, page)
			}
			found := store.page(t, page)
			for _, order := range found.Orders {
				seen[order.GetId()] = true
			}
			if page = found.Next; page == "" {
				break
			}
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				if now++; now < 12 && len(store.orders) > 0 {
					store.orders[rapid.IntRange(1, len(store.orders)).Draw(t, "changed")] = now
				}
			}
		}
		for id, modified := range store.orders {
			if !seen[strconv.Itoa(id)] {
				t.Fatalf("order %d, changed at %d, was on no page", id, modified)
			}
		}
	})
}

// TestLargeOrdersStopNoList: an answer holds one of them, and the second that they share is
// turned to its end.
func TestLargeOrdersStopNoList(t *testing.T) {
	for name, store := range map[string]shelf{
		"of one second":              {orders: map[int]int{1: 0, 2: 0, 3: 0, 4: 0}, large: map[int]bool{1: true, 2: true, 4: true}},
		"of two":                     {orders: map[int]int{1: 1, 2: 0, 3: 1, 4: 0}, large: map[int]bool{1: true, 2: true, 3: true, 4: true}},
		"where ends are no part":     {orders: map[int]int{1: 0, 2: 0, 3: 1, 4: 0}, large: map[int]bool{1: true, 2: true, 4: true}, exclusive: true},
		"of a second that is a page": {orders: bulk(60), large: map[int]bool{50: true, 51: true, 52: true, 60: true}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(map[string]bool)
			for page, turned := "", 0; turned == 0 || page != ""; turned++ {
				if turned > 20 {
					t.Fatalf("no end after %d pages, at %q", turned, page)
				}
				found := store.page(t, page)
				for _, order := range found.Orders {
					seen[order.GetId()] = true
				}
				for _, order := range found.Partial {
					seen[order.ID] = true
				}
				page = found.Next
			}
			if len(seen) != len(store.orders) {
				t.Errorf("%d of %d orders were on a page: %v", len(seen), len(store.orders), seen)
			}
		})
	}
}

// bulk are orders that were changed in one second.
func bulk(n int) map[int]int {
	orders := make(map[int]int, n)
	for id := range n {
		orders[id+1] = 2
	}
	return orders
}

func TestOneOddOrderDoesNotHideTheOthers(t *testing.T) {
	body := `[{"id":1,"status_id":11,"date_modified":"Mon, 23 Nov 2026 14:30:00 +0000"},
		{"id":2,"status_id":11,"items_total":3,"date_modified":"Mon, 23 Nov 2026 14:31:00 +0000"},
		{"id":3,"status_id":0,"date_modified":"Mon, 23 Nov 2026 14:32:00 +0000"}]`
	answer := system().Check(t, listCall, connectors.Reply{Status: 200, Body: []byte(body), Written: true})
	found, err := listing.ParseOrderPage(answer.Value)
	if err != nil || len(found.Orders) != 1 || len(found.Partial) != 1 || found.Partial[0].ID != "2" || found.Next != "" {
		t.Errorf("%+v, error %v: want order 1, order 2 in part, and nothing of what nobody ordered", found, err)
	}
}

func TestWhatIsMoreThanAnAnswerHoldsIsLeftToTheNextPage(t *testing.T) {
	var orders []string
	for id := range 50 {
		at := since.Add(time.Duration(id) * time.Second)
		orders = append(orders, fmt.Sprintf(`{"id":%d,"status_id":11,"date_modified":%q,"customer_message":%q}`, id+1, at.Format(time.RFC1123Z), strings.Repeat("x", 10_000)))
	}
	answer := system().Check(t, listCall, connectors.Reply{Status: 200, Body: []byte("[" + strings.Join(orders, ",") + "]"), Written: true})
	found, err := listing.ParseOrderPage(answer.Value)
	if err != nil || len(found.Orders) < 20 || len(found.Orders) > 40 {
		t.Fatalf("%d orders of 10 kB each, error %v", len(found.Orders), err)
	}
	if last := found.Orders[len(found.Orders)-1].GetUpdatedAt().AsTime().Format("2006-01-02T15:04:05"); found.Next != last {
		t.Errorf("next %q after the order of %s", found.Next, last)
	}
}

// TestTwoLargeOrdersOfOneSecond are one too many for an answer, whose next page would begin
// with the first of them again.
func TestTwoLargeOrdersOfOneSecond(t *testing.T) {
	var orders []string
	for id := range 2 {
		orders = append(orders, fmt.Sprintf(`{"id":%d,"status_id":11,"date_modified":%q,"customer_message":%q}`, id+7, since.Format(time.RFC1123Z), strings.Repeat("x", 200<<10)))
	}
	body := []byte("[" + strings.Join(orders, ",") + "]")
	for _, page := range []string{since.UTC().Format("2006-01-02T15:04:05") + "/0", since.UTC().Format("2006-01-02T15:04:05") + "/7"} {
		call := connectors.Call{Operation: connectors.OperationListOrders, Arguments: listing.Orders{Since: since, Page: page}.Arguments()}
		answer := system().Check(t, call, connectors.Reply{Status: 200, Body: body, Written: true})
		found, err := listing.ParseOrderPage(answer.Value)
		if err != nil || len(found.Orders) != 1 || len(found.Partial) != 1 || found.Partial[0].ID != "8" {
			t.Errorf("page %s: %s %v, %d orders, in part %v, error %v: want one of each", page, answer.Class, answer.Cause, len(found.Orders), found.Partial, err)
		}
	}
}

// TestAPageWithoutTimesOfChange: an order that was never changed may have none, and counts
// from when it was made. Where none has any, each page would be one second further.
func TestAPageWithoutTimesOfChange(t *testing.T) {
	page := func(made string) listing.OrderPage {
		var orders []string
		for id := range 50 {
			orders = append(orders, fmt.Sprintf(`{"id":%d,"status_id":11,"date_modified":"","date_created":%q}`, id+1, made))
		}
		answer := system().Check(t, listCall, connectors.Reply{Status: 200, Body: []byte("[" + strings.Join(orders, ",") + "]"), Written: true})
		if answer.Class != fault.OK {
			return listing.OrderPage{Next: answer.Cause.Code}
		}
		found, err := listing.ParseOrderPage(answer.Value)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := page("Mon, 23 Nov 2026 14:30:00 +0000"); found.Next != "2026-11-23T14:30:00" || len(found.Orders) != 50 {
		t.Errorf("%d orders, next %q", len(found.Orders), found.Next)
	}
	if found := page(""); found.Next != "unreadable-reply" {
		t.Errorf("%d orders and %d in part, next %q", len(found.Orders), len(found.Partial), found.Next)
	}
}
