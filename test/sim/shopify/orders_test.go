package shopify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

const pollOrders = `query($first: Int!, $after: String, $query: String, $reverse: Boolean) {
  orders(first: $first, after: $after, query: $query, sortKey: UPDATED_AT, reverse: $reverse) {
    nodes {
      id legacyResourceId name createdAt updatedAt cancelledAt cancelReason displayFinancialStatus displayFulfillmentStatus
      currencyCode note tags email phone sourceName test
      currentTotalPriceSet { shopMoney { amount currencyCode } }
      totalOutstandingSet { shopMoney { amount } }
      customer { legacyResourceId firstName lastName defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber } }
      shippingAddress { name address1 address2 city provinceCode zip countryCodeV2 company phone }
      customAttributes { key value }
      lineItems(first: 2) {
        nodes { id sku title quantity currentQuantity requiresShipping originalUnitPriceSet { shopMoney { amount } } variant { legacyResourceId } customAttributes { key value } }
        pageInfo { hasNextPage endCursor }
      }
      shippingLines(first: 1) { nodes { code title originalPriceSet { shopMoney { amount } } } }
    }
    pageInfo { hasNextPage hasPreviousPage endCursor }
  }
}`

type orderPage struct {
	nodes  []map[string]any
	more   bool
	cursor string
}

func (p orderPage) names() []string {
	names := []string{}
	for _, n := range p.nodes {
		names = append(names, n["name"].(string))
	}
	return names
}

func poll(t *testing.T, s *shopify.Shop, variables map[string]any) orderPage {
	t.Helper()
	a := graph(t, s, pollOrders, variables)
	if len(a.Errors) > 0 {
		t.Fatalf("%v = %+v", variables, a.Errors)
	}
	orders := a.Data["orders"].(map[string]any)
	page := orderPage{}
	for _, n := range orders["nodes"].([]any) {
		page.nodes = append(page.nodes, n.(map[string]any))
	}
	info := orders["pageInfo"].(map[string]any)
	page.more = info["hasNextPage"].(bool)
	page.cursor, _ = info["endCursor"].(string)
	return page
}

func TestOrdersAreListedWhole(t *testing.T) {
	s := newShop(t, shopify.Config{})
	o, err := s.SellOne(shopify.OrderSpec{Note: "by noon", Lines: []shopify.LineSpec{
		{SKU: "VIRAL", Quantity: 3, Configuration: "CFG-A1"}, {SKU: "MADE", Quantity: 1}, {SKU: "MADE", Quantity: 1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := poll(t, s, map[string]any{"first": 5}).nodes[0]
	line := got["lineItems"].(map[string]any)
	created, err := time.Parse(time.RFC3339, o.CreatedAt)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"id": o.AdminGraphQLID, "legacyResourceId": fmt.Sprint(o.ID), "name": "#1001", "createdAt": created.UTC().Format(time.RFC3339),
		"cancelledAt": nil, "cancelReason": nil, "displayFinancialStatus": "PAID", "displayFulfillmentStatus": "UNFULFILLED",
		"currencyCode": "USD", "note": "by noon", "tags": []any{}, "email": "buyer1001@example.com", "phone": nil, "test": false,
		"currentTotalPriceSet": map[string]any{"shopMoney": map[string]any{"amount": "109.7", "currencyCode": "USD"}},
		"customer": map[string]any{
			"legacyResourceId": "7001001", "firstName": "Ada", "lastName": "Buyer 1001", "defaultPhoneNumber": nil,
			"defaultEmailAddress": map[string]any{"emailAddress": "buyer1001@example.com"},
		},
		"customAttributes": []any{},
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if info := line["pageInfo"].(map[string]any); info["hasNextPage"] != true {
		t.Errorf("lines %v", line)
	}
	first := line["nodes"].([]any)[0].(map[string]any)
	if first["sku"] != "VIRAL" || first["currentQuantity"] != 3.0 || first["variant"].(map[string]any)["legacyResourceId"] != "6000001" ||
		!cmp.Equal(first["customAttributes"], []any{map[string]any{"key": "_configuration", "value": "CFG-A1"}}) {
		t.Errorf("line %v", first)
	}
	if _, err := s.Cancel("#1001"); err != nil {
		t.Fatal(err)
	}
	got = poll(t, s, map[string]any{"first": 5}).nodes[0]
	if got["cancelledAt"] == nil || got["cancelReason"] != "CUSTOMER" || got["displayFinancialStatus"] != "REFUNDED" {
		t.Errorf("order %v", got)
	}
	a := graph(t, s, `query($id: ID!) { order(id: $id) { name lineItems(first: 2, after: "p0") { edges { cursor node { sku } } pageInfo { hasNextPage hasPreviousPage startCursor } } } }`,
		map[string]any{"id": o.AdminGraphQLID})
	want := map[string]any{"name": "#1001", "lineItems": map[string]any{
		"edges":    []any{map[string]any{"cursor": "p1", "node": map[string]any{"sku": "MADE"}}, map[string]any{"cursor": "p2", "node": map[string]any{"sku": "MADE"}}},
		"pageInfo": map[string]any{"hasNextPage": false, "hasPreviousPage": true, "startCursor": "p1"},
	}}
	if diff := cmp.Diff(want, a.Data["order"]); diff != "" {
		t.Error(diff)
	}
	if a := graph(t, s, `{ order(id: "gid://shopify/Order/1") { name } }`, nil); a.Data["order"] != nil || len(a.Errors) > 0 {
		t.Errorf("an order that is not there: %+v", a)
	}
	if r := s.Report(); r.Polls != 2 || r.Reads != 2 {
		t.Errorf("%d polls and %d reads", r.Polls, r.Reads)
	}
}

func TestPollFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, shopify.Config{SearchDelay: jsontime.Duration(10 * time.Second)})
		sell := func(n int) {
			for range n {
				if _, err := s.SellOne(one("VIRAL")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}
		sell(5)
		since := "updated_at:>='" + time.Now().UTC().Add(-time.Hour).Format(time.RFC3339) + "'"
		if got := poll(t, s, map[string]any{"first": 10, "query": since}).names(); len(got) != 0 {
			t.Errorf("the index has %v already", got)
		}
		if got := poll(t, s, map[string]any{"first": 10}).names(); len(got) != 5 {
			t.Errorf("without a search: %v", got)
		}
		time.Sleep(10 * time.Second)
		page := poll(t, s, map[string]any{"first": 2, "query": since})
		if !slices.Equal(page.names(), []string{"#1001", "#1002"}) || !page.more {
			t.Errorf("page %v %v", page.names(), page.more)
		}
		// An order that was read moves on, and is read once more at the end; none is passed over.
		if _, err := s.Update("#1001", shopify.Edit{Note: "changed"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		var rest []string
		for page.more {
			page = poll(t, s, map[string]any{"first": 2, "query": since, "after": page.cursor})
			rest = append(rest, page.names()...)
		}
		if !slices.Equal(rest, []string{"#1003", "#1004", "#1005", "#1001"}) {
			t.Errorf("then %v", rest)
		}
		if got := poll(t, s, map[string]any{"first": 2, "query": since, "reverse": true}).names(); !slices.Equal(got, []string{"#1001", "#1005"}) {
			t.Errorf("backwards %v", got)
		}
		until := "created_at:<" + time.Now().UTC().Add(-23*time.Second).Format(time.RFC3339) + " AND updated_at:>1999-01-01"
		if got := poll(t, s, map[string]any{"first": 9, "query": until}).names(); !slices.Equal(got, []string{"#1002", "#1001"}) {
			t.Errorf("%s: %v", until, got)
		}
	})
}

func TestOrderSearches(t *testing.T) {
	s := newShop(t, shopify.Config{})
	for range 3 {
		if _, err := s.SellOne(one("MADE")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Cancel("#1002"); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]string{
		"name:#1003": {"#1003"}, "name:1003": {"#1003"}, "id:5000000001001": {"#1001"}, "status:cancelled": {"#1002"},
		"status:any": {"#1001", "#1002", "#1003"}, "status:open financial_status:paid": {"#1001", "#1003"}, "updated_at:<2020-01-01": {},
	} {
		got := poll(t, s, map[string]any{"first": 9, "query": query}).names()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	for _, query := range []string{"colour:red", "updated_at:>=soon", "name:>3", "status:", `name:"x`, "red"} {
		if a := graph(t, s, pollOrders, map[string]any{"first": 1, "query": query}); a.code() != "INVALID_FIELD_ARGUMENTS" {
			t.Errorf("%s = %+v", query, a)
		}
	}
	for _, variables := range []map[string]any{{"first": 0}, {"first": 1, "after": "x"}, {"first": 1, "after": "e30"}} {
		if a := graph(t, s, pollOrders, variables); a.code() != "INVALID_FIELD_ARGUMENTS" {
			t.Errorf("%v = %+v", variables, a)
		}
	}
}

// An order is 1 point, and so is each object in it; a connection is 2 and its page.
func TestOrderListIsCharged(t *testing.T) {
	s := newShop(t, shopify.Config{})
	for range 2 {
		if _, err := s.SellOne(one("VIRAL")); err != nil {
			t.Fatal(err)
		}
	}
	// currentTotalPriceSet 2, totalOutstandingSet 2, customer 3, shippingAddress 1, customAttributes 1, lineItems 2+2*5,
	// shippingLines 2+3, the order itself 1.
	const order = 2 + 2 + 3 + 1 + 1 + 12 + 5 + 1
	a := graph(t, s, pollOrders, map[string]any{"first": 30})
	if got, want := a.Extensions.Cost.RequestedQueryCost, float64(2+30*order); got != want {
		t.Errorf("requested %v, want %v", got, want)
	}
	// Of each order: one line of the two, no phone, no attribute of its own or of its line.
	if got, want := *a.Extensions.Cost.ActualQueryCost, float64(2+2*(order-5-1-1-1)); got != want {
		t.Errorf("actual %v, want %v", got, want)
	}
	if a := graph(t, s, pollOrders, map[string]any{"first": 40}); a.code() != "MAX_COST_EXCEEDED" || !strings.Contains(a.Errors[0].Message, "1000") {
		t.Errorf("40 orders at once: %+v", a.Errors)
	}
}

// An order of more lines than one query may cost is read page by page, each behind the cursor
// of the one before. What a page asks for is charged whole, also where fewer lines are left.
func TestAnOrderOfManyLinesIsReadInPages(t *testing.T) {
	const lines, page = 400, 150
	s := newShop(t, shopify.Config{})
	spec := shopify.OrderSpec{}
	for range lines {
		spec.Lines = append(spec.Lines, shopify.LineSpec{SKU: "MADE", Quantity: 1})
	}
	o, err := s.SellOne(spec)
	if err != nil {
		t.Fatal(err)
	}
	const query = `query($id: ID!, $first: Int!, $after: String) { order(id: $id) { updatedAt lineItems(first: $first, after: $after) {
		nodes { id sku originalUnitPriceSet { shopMoney { amount } } variant { legacyResourceId } customAttributes { key value } }
		pageInfo { hasNextPage endCursor } } } }`
	var ids []string
	for cursor := any(nil); ; {
		a := graph(t, s, query, map[string]any{"id": o.AdminGraphQLID, "first": page, "after": cursor})
		if len(a.Errors) > 0 {
			t.Fatalf("after %v: %+v", cursor, a.Errors)
		}
		if got := a.Extensions.Cost.RequestedQueryCost; got != 1+2+page*5 {
			t.Errorf("a page is %v points", got)
		}
		found := a.Data["order"].(map[string]any)["lineItems"].(map[string]any)
		for _, n := range found["nodes"].([]any) {
			ids = append(ids, n.(map[string]any)["id"].(string))
		}
		info := found["pageInfo"].(map[string]any)
		if info["hasNextPage"] != true {
			break
		}
		cursor = info["endCursor"]
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != lines || s.Report().Reads != 3 {
		t.Errorf("%d lines in %d reads, want %d in 3", n, s.Report().Reads, lines)
	}
	if a := graph(t, s, query, map[string]any{"id": o.AdminGraphQLID, "first": 200}); a.code() != "MAX_COST_EXCEEDED" {
		t.Errorf("200 lines at once: %+v", a)
	}
	if a := graph(t, s, query, map[string]any{"id": o.AdminGraphQLID, "first": 251}); a.code() == "" {
		t.Errorf("251 lines at once: %+v", a)
	}
}
