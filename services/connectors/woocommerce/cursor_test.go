package woocommerce_test

import (
	"encoding/json"
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
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/connectors/woocommerce"
	"github.com/peppasync/peppasync/services/internal/fault"
)

// shelf answers lists of orders as a shop does: orders by id, with the second in which
// each was changed. Those below 0 are in the trash, which is no part of a list of any.
type shelf map[int]int

// largeNote is more than half of an answer, and less than all of it.
var largeNote = strings.Repeat("x", listing.MaxValueBytes*3/5)

const zone = "2006-01-02T15:04:05"

// list answers a request; of the large orders an answer holds one.
func (s shelf) list(t rapid.TB, path string, large map[int]bool) connectors.Reply {
	target, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	query := target.Query()
	after, before := second(t, query.Get("modified_after")), 1<<60
	if text := query.Get("modified_before"); text != "" {
		before = second(t, text)
	}
	var ids []int
	for id, modified := range s {
		if (id < 0) == (query.Get("status") == "trash") && modified > after && modified < before {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b int) int {
		if query.Get("orderby") == "modified" && s[a] != s[b] {
			return s[a] - s[b]
		}
		return max(a, -a) - max(b, -b)
	})
	perPage, _ := strconv.Atoi(query.Get("per_page"))
	page, _ := strconv.Atoi(query.Get("page"))
	pages := (len(ids) + perPage - 1) / perPage
	from := min(len(ids), (max(page, 1)-1)*perPage)
	var body []string
	for _, id := range ids[from:min(len(ids), from+perPage)] {
		note := ""
		if large[id] {
			note = largeNote
		}
		modified := since.Add(time.Duration(s[id]) * time.Second).Format(zone)
		body = append(body, fmt.Sprintf(`{"id":%d,"status":%q,"date_modified_gmt":%q,"line_items":[],"customer_note":%q}`, max(id, -id), query.Get("status"), modified, note))
	}
	return connectors.Reply{
		Status: 200, Written: true, Header: http.Header{"X-Wp-Totalpages": {strconv.Itoa(pages)}}, Body: []byte("[" + strings.Join(body, ",") + "]"),
	}
}

func second(t rapid.TB, text string) int {
	at, err := time.Parse(zone, text)
	if err != nil {
		t.Fatal(err)
	}
	return int(at.Sub(since) / time.Second)
}

// page asks for one, and fails the test where its reply cannot be read.
func (s shelf) page(t rapid.TB, page string, large map[int]bool) listing.OrderPage {
	call := connectors.Call{Operation: connectors.OperationListOrders, Arguments: listing.Orders{Since: since, Page: page}.Arguments()}
	request, err := woocommerce.WooCommerce{}.Request(spec(), call)
	if err != nil {
		t.Fatal(err)
	}
	answer := woocommerce.WooCommerce{}.Read(spec(), call, s.list(t, request.Path, large))
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
// their place for the end, as they do in a shop that sells.
func TestPagesShowEveryOrderThoughOrdersAreChangedMeanwhile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		orders := make(shelf)
		for id := range rapid.IntRange(0, 200).Draw(t, "orders") {
			// Few seconds, so that some have more than a page.
			sign := 1
			if rapid.IntRange(0, 3).Draw(t, "in the trash") == 0 {
				sign = -1
			}
			orders[sign*(id+1)] = rapid.IntRange(0, 3).Draw(t, "second")
		}
		seen, now := make(map[int]int), 4
		// through is up to when all was shown.
		through := -1
		var page string
		for turned := 0; ; turned++ {
			if turned > 400 {
				t.Fatalf("no end after %d pages, at %q", turned, page)
			}
			found := orders.page(t, page, nil)
			for _, order := range found.Orders {
				id, _ := strconv.Atoi(order.GetId())
				at := int(order.GetUpdatedAt().AsTime().Sub(since) / time.Second)
				if order.GetAttributes()["woocommerce_status"] == "trash" {
					id = -id
				}
				seen[id] = max(seen[id], 1+at)
			}
			if !found.Through.IsZero() {
				through = max(through, int(found.Through.Sub(since)/time.Second))
			}
			for id, modified := range orders {
				if modified < through && seen[id] <= modified {
					t.Fatalf("order %d, changed at %d, was on no page though they are complete up to %d", id, modified, through)
				}
			}
			if page = found.Next; page == "" {
				break
			}
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				if now++; now >= 12 || len(orders) == 0 {
					continue
				}
				id := rapid.IntRange(1, len(orders)).Draw(t, "changed")
				// One that is changed in the trash is out of it again.
				delete(orders, -id)
				delete(orders, id)
				if rapid.Bool().Draw(t, "thrown away") {
					id = -id
				}
				orders[id] = now
			}
		}
		// What left the trash behind the last page is newer than all, and the next time's.
		for id, modified := range orders {
			if seen[id] == 0 && seen[-id] == 0 && modified < max(through, 4) {
				t.Fatalf("order %d, changed at %d, was on no page", id, modified)
			}
		}
	})
}

// TestLargeOrdersStopNoList: an answer holds one of them, and the second that they share is
// turned to its end. Those below 0 are in the trash.
func TestLargeOrdersStopNoList(t *testing.T) {
	bulk := make(shelf)
	for id := range 60 {
		bulk[id+1] = 2
	}
	for name, test := range map[string]struct {
		orders shelf
		large  map[int]bool
	}{
		"of one second":              {shelf{1: 0, 2: 0, 3: 0, 4: 0}, map[int]bool{1: true, 2: true, 4: true}},
		"of two":                     {shelf{1: 1, 2: 0, 3: 1, 4: 0}, map[int]bool{1: true, 2: true, 3: true, 4: true}},
		"in the trash":               {shelf{1: 1, -2: 0, -3: 0, -4: 1}, map[int]bool{-2: true, -3: true, -4: true}},
		"of a second that is a page": {bulk, map[int]bool{50: true, 51: true, 52: true, 60: true}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(map[string]bool)
			for page, turned := "", 0; turned == 0 || page != ""; turned++ {
				if turned > 20 {
					t.Fatalf("no end after %d pages, at %q", turned, page)
				}
				found := test.orders.page(t, page, test.large)
				for _, order := range found.Orders {
					seen[order.GetId()] = true
				}
				for _, order := range found.Partial {
					seen[order.ID] = true
				}
				page = found.Next
			}
			if len(seen) != len(test.orders) {
				t.Errorf("%d of %d orders were on a page: %v", len(seen), len(test.orders), seen)
			}
		})
	}
}

func TestOneOddOrderDoesNotHideTheOthers(t *testing.T) {
	body := `[{"id":1,"date_modified_gmt":"2026-11-23T14:30:00","line_items":[]},
		{"id":2,"date_modified_gmt":"2026-11-23T14:31:00"},
		{"id":3,"status":"checkout-draft","date_modified_gmt":"2026-11-23T14:32:00","line_items":[]}]`
	answer := system().Check(t, listCall, connectors.Reply{Status: 200, Body: []byte(body), Written: true, Header: http.Header{"X-Wp-Totalpages": {"2"}}})
	found, err := listing.ParseOrderPage(answer.Value)
	if err != nil || len(found.Orders) != 1 || len(found.Partial) != 1 || found.Partial[0].ID != "2" {
		t.Errorf("%+v, error %v: want order 1, order 2 in part, and nothing of the basket", found, err)
	}
	if found.Next != "trash,2026-11-23T14:00:00,2026-11-23T14:32:00,0,2026-11-23T14:32:00" || !found.Open {
		t.Errorf("next %q, want to go on after all three", found.Next)
	}
}

func TestWhatIsMoreThanAnAnswerHoldsIsLeftToTheNextPage(t *testing.T) {
	var orders []string
	for id := range 50 {
		note, _ := json.Marshal(strings.Repeat("x", 10_000))
		orders = append(orders, fmt.Sprintf(`{"id":%d,"date_modified_gmt":%q,"line_items":[],"customer_note":%s}`, id+1, since.Add(time.Duration(id)*time.Second).Format(zone), note))
	}
	answer := system().Check(t, listCall, connectors.Reply{Status: 200, Body: []byte("[" + strings.Join(orders, ",") + "]"), Written: true})
	found, err := listing.ParseOrderPage(answer.Value)
	if err != nil || len(found.Orders) < 20 || len(found.Orders) > 40 {
		t.Fatalf("%d orders of 10 kB each, error %v", len(found.Orders), err)
	}
	last := found.Orders[len(found.Orders)-1].GetUpdatedAt().AsTime().Format(zone)
	if want := "trash,2026-11-23T14:00:00," + last + ",0," + last; found.Next != want {
		t.Errorf("next %q after the order of %s", found.Next, last)
	}
	huge := fmt.Sprintf(`[{"id":1,"date_modified_gmt":"2026-11-23T14:30:00","line_items":[],"customer_note":%q}]`, strings.Repeat("x", listing.MaxValueBytes))
	answer = system().Check(t, listCall, connectors.Reply{Status: 200, Body: []byte(huge), Written: true})
	if found, err = listing.ParseOrderPage(answer.Value); err != nil || len(found.Orders) != 0 || len(found.Partial) != 1 {
		t.Errorf("an order that is larger than an answer: %d orders, %d in part, error %v", len(found.Orders), len(found.Partial), err)
	}
}
