package shopify_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

type answer struct {
	Data   map[string]any
	Errors []struct {
		Message    string
		Extensions map[string]any
	}
	Extensions struct {
		Cost struct {
			RequestedQueryCost float64
			ActualQueryCost    *float64
			ThrottleStatus     struct{ MaximumAvailable, CurrentlyAvailable, RestoreRate float64 }
		}
	}
}

func (a answer) code() any {
	if len(a.Errors) == 0 {
		return nil
	}
	return a.Errors[0].Extensions["code"]
}

func graph(t testing.TB, s *shopify.Shop, query string, variables map[string]any) answer {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/admin/api/"+shopify.DefaultAPIVersion+"/graphql.json", strings.NewReader(string(body)))
	r.Header.Set("X-Shopify-Access-Token", shopify.DefaultToken)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	return a
}

const readStock = `query($first: Int!, $search: String) {
  inventoryItems(first: $first, query: $search) {
    nodes { id sku inventoryLevel(locationId: "gid://shopify/Location/1") { id quantities(names: ["available", "committed", "on_hand"]) { name quantity } } }
    pageInfo { hasNextPage endCursor }
  }
}`

func TestStockIsReadBySKU(t *testing.T) {
	s := newShop(t, shopify.Config{})
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	for _, search := range []string{
		`sku:VIRAL OR sku:MADE`, `sku:"VIRAL" OR sku:'MADE'`, `(sku:viral) or (sku:made)`, `id:5000001 OR id:5000003`,
	} {
		a := graph(t, s, readStock, map[string]any{"first": 50, "search": search})
		nodes := a.Data["inventoryItems"].(map[string]any)["nodes"].([]any)
		if len(nodes) != 2 {
			t.Fatalf("%s finds %d items", search, len(nodes))
		}
		want := map[string]any{
			"id": "gid://shopify/InventoryItem/5000001", "sku": "VIRAL",
			"inventoryLevel": map[string]any{"id": "gid://shopify/InventoryLevel/5000001?inventory_item_id=5000001", "quantities": []any{
				map[string]any{"name": "available", "quantity": 1999.0}, map[string]any{"name": "committed", "quantity": 1.0},
				map[string]any{"name": "on_hand", "quantity": 2000.0},
			}},
		}
		if diff := cmp.Diff(want, nodes[0]); diff != "" {
			t.Error(diff)
		}
		c := a.Extensions.Cost
		if c.RequestedQueryCost != 152 || *c.ActualQueryCost != 8 || c.ThrottleStatus.MaximumAvailable != 2000 || c.ThrottleStatus.CurrentlyAvailable < 1960 {
			t.Errorf("cost %+v, actual %v", c, *c.ActualQueryCost)
		}
	}
}

func TestFragmentsAliasesPagesAndSingleObjects(t *testing.T) {
	s := newShop(t, shopify.Config{})
	a := graph(t, s, `query {
	  shop { id name __typename }
	  first: inventoryItems(first: 1) { edges { cursor node { ...item } } pageInfo { hasNextPage endCursor } }
	  it: inventoryItem(id: "gid://shopify/InventoryItem/5000002") { ...item inventoryLevel(locationId: "gid://shopify/Location/2") { id } }
	  none: inventoryItem(id: "gid://shopify/InventoryItem/1") { id }
	  location { id name @skip(if: true) }
	}
	fragment item on InventoryItem { sku ... on InventoryItem { tracked } }`, nil)
	want := map[string]any{
		"shop":  map[string]any{"id": "gid://shopify/Shop/1", "name": "demo", "__typename": "Shop"},
		"first": map[string]any{"edges": []any{map[string]any{"cursor": "c5000001", "node": map[string]any{"sku": "VIRAL", "tracked": true}}}, "pageInfo": map[string]any{"hasNextPage": true, "endCursor": "c5000001"}},
		"it":    map[string]any{"sku": "RARE", "tracked": true, "inventoryLevel": nil}, "none": nil,
		"location": map[string]any{"id": "gid://shopify/Location/1"},
	}
	if diff := cmp.Diff(want, a.Data); diff != "" {
		t.Error(diff)
	}
	a = graph(t, s, `{ inventoryItems(first: 5, after: "c5000001") { nodes { sku } } }`, nil)
	if got := len(a.Data["inventoryItems"].(map[string]any)["nodes"].([]any)); got != 2 {
		t.Errorf("%d items after the first page, want 2", got)
	}
}

const setStock = `mutation($input: InventorySetQuantitiesInput!, $key: String!) {
  inventorySetQuantities(input: $input) @idempotent(key: $key) {
    inventoryAdjustmentGroup { id reason referenceDocumentUri changes { name delta } }
    userErrors { code field message } } }`

func line(item int, quantity int, from any) map[string]any {
	return map[string]any{
		"inventoryItemId": fmt.Sprintf("gid://shopify/InventoryItem/%d", 5000000+item), "locationId": "gid://shopify/Location/1",
		"quantity": quantity, "changeFromQuantity": from,
	}
}

func input(name string, lines ...map[string]any) map[string]any {
	return map[string]any{"name": name, "reason": "correction", "referenceDocumentUri": "peppasync://stock/1", "quantities": lines}
}

// set runs the mutation and returns the code of its first user error, or "".
func set(t *testing.T, s *shopify.Shop, key string, in map[string]any) string {
	t.Helper()
	a := graph(t, s, setStock, map[string]any{"input": in, "key": key})
	if len(a.Errors) > 0 {
		t.Fatalf("errors %+v", a.Errors)
	}
	payload := a.Data["inventorySetQuantities"].(map[string]any)
	problems := payload["userErrors"].([]any)
	if len(problems) == 0 {
		if payload["inventoryAdjustmentGroup"] == nil {
			t.Error("no adjustment group")
		}
		return ""
	}
	return problems[0].(map[string]any)["code"].(string)
}

func available(s *shopify.Shop, i int) int { return s.Report().Stock[i].Available }

func TestSetIsACompareAndSetOfTheWholeCall(t *testing.T) {
	s := newShop(t, shopify.Config{})
	if got := set(t, s, "k1", input("available", line(1, 1500, 2000), line(2, 9, 1))); got != "" {
		t.Fatal(got)
	}
	if available(s, 0) != 1500 || available(s, 1) != 9 {
		t.Errorf("available %d and %d", available(s, 0), available(s, 1))
	}
	if got := set(t, s, "k2", input("available", line(2, 10, 9), line(1, 100, 2000))); got != "CHANGE_FROM_QUANTITY_STALE" {
		t.Errorf("stale set: %q", got)
	}
	if available(s, 0) != 1500 || available(s, 1) != 9 {
		t.Error("a stale line did not fail the whole call")
	}
	if got := set(t, s, "k3", input("available", line(1, 1400, nil))); got != "" || available(s, 0) != 1400 {
		t.Errorf("set without compare: %q, available %d", got, available(s, 0))
	}
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	if got := set(t, s, "k4", input("on_hand", line(1, 1000, 1400))); got != "" || available(s, 0) != 999 {
		t.Errorf("set of on_hand: %q, available %d, want 999", got, available(s, 0))
	}
	if r := s.Report(); r.Sets != 3 || r.StaleSets != 1 {
		t.Errorf("sets %d, stale %d", r.Sets, r.StaleSets)
	}
}

func TestIdempotencyKeys(t *testing.T) {
	s := newShop(t, shopify.Config{})
	first := input("available", line(1, 1500, 2000))
	set(t, s, "k", first)
	if got := set(t, s, "other", input("available", line(1, 1600, 1500))); got != "" {
		t.Fatal(got)
	}
	if got := set(t, s, "k", first); got != "" || available(s, 0) != 1600 {
		t.Errorf("replay: %q, available %d; want success without effect", got, available(s, 0))
	}
	if got := set(t, s, "k", input("available", line(1, 1, 1600))); got != "IDEMPOTENCY_KEY_PARAMETER_MISMATCH" {
		t.Errorf("other parameters: %q", got)
	}
	stale := input("available", line(1, 1, 7))
	set(t, s, "failed", stale)
	if got := set(t, s, "failed", stale); got != "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED" {
		t.Errorf("replay of a failed attempt: %q", got)
	}
}

func TestWrongSetsAreRefused(t *testing.T) {
	s := newShop(t, shopify.Config{})
	with := func(change func(in map[string]any)) map[string]any {
		in := input("available", line(1, 5, 2000))
		change(in)
		return in
	}
	for code, in := range map[string]map[string]any{
		"INVALID_NAME":               with(func(in map[string]any) { in["name"] = "committed" }),
		"INVALID_REASON":             with(func(in map[string]any) { in["reason"] = "because" }),
		"INVALID_REFERENCE_DOCUMENT": with(func(in map[string]any) { in["referenceDocumentUri"] = "order 5" }),
		"INVALID_QUANTITY_NEGATIVE":  input("available", line(1, -1, 2000)),
		"INVALID_QUANTITY_TOO_HIGH":  input("available", line(1, 1_000_000_001, 2000)),
		"INVALID_INVENTORY_ITEM":     input("available", line(99, 1, 0)),
		"INVALID_LOCATION": with(func(in map[string]any) {
			in["quantities"].([]map[string]any)[0]["locationId"] = "gid://shopify/Location/9"
		}),
		"NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR": input("available", line(1, 5, 2000), line(1, 6, 2000)),
	} {
		if got := set(t, s, "key "+code, in); got != code {
			t.Errorf("got %q, want %q", got, code)
		}
	}
	missing := line(1, 5, nil)
	delete(missing, "changeFromQuantity")
	many := make([]map[string]any, 251)
	for i := range many {
		many[i] = line(1, i, nil)
	}
	for name, a := range map[string]answer{
		"no changeFromQuantity": graph(t, s, setStock, map[string]any{"input": input("available", missing), "key": "k"}),
		"251 lines":             graph(t, s, setStock, map[string]any{"input": input("available", many...), "key": "k"}),
		"no @idempotent": graph(t, s, strings.Replace(strings.Replace(setStock, "@idempotent(key: $key)", "", 1), ", $key: String!", "", 1),
			map[string]any{"input": input("available", line(1, 5, 2000))}),
		"no key":       graph(t, s, setStock, map[string]any{"input": input("available", line(1, 5, 2000))}),
		"unknown":      graph(t, s, `{ orders { id } }`, nil),
		"not GraphQL":  graph(t, s, `{`, nil),
		"too many":     graph(t, s, `{ inventoryItems(first: 251) { nodes { id } } }`, nil),
		"bad search":   graph(t, s, `{ inventoryItems(first: 1, query: "title:x") { nodes { id } } }`, nil),
		"bad quantity": graph(t, s, `{ inventoryItems(first: 1) { nodes { inventoryLevel(locationId: "gid://shopify/Location/1") { quantities(names: ["x"]) { name } } } } }`, nil),
	} {
		if a.code() == nil {
			t.Errorf("%s is accepted: %v", name, a.Data)
		}
	}
	if r := s.Report(); r.Sets != 0 || r.Stock[0].Available != 2000 {
		t.Errorf("report %+v", r)
	}
}

func TestThrottledInBody(t *testing.T) {
	s := newShop(t, shopify.Config{})
	if err := s.SetFaults([]faults.Rule{{Kind: faults.ThrottleInBody, Operations: []string{shopify.OpMutation}}}); err != nil {
		t.Fatal(err)
	}
	a := graph(t, s, setStock, map[string]any{"input": input("available", line(1, 7, nil)), "key": "a"})
	cost := a.Extensions.Cost
	if a.code() != "THROTTLED" || a.Data != nil || cost.RequestedQueryCost != 100 || cost.ThrottleStatus.CurrentlyAvailable != 0 {
		t.Errorf("%v, data %v, cost %+v", a.code(), a.Data, cost)
	}
	if r := s.Report(); r.Sets != 0 || r.ByOutcome["throttled"] != 1 || r.GraphQLThrottled != 0 {
		t.Errorf("%d sets, outcomes %v, %d throttled by the bucket", r.Sets, r.ByOutcome, r.GraphQLThrottled)
	}
}

func TestCostBucketThrottlesAndRestores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, shopify.Config{Bucket: shopify.Bucket{MaximumAvailable: 300, RestoreRate: 50}})
		// Each costs 752 at most, more than the bucket holds.
		if got := graph(t, s, readStock, map[string]any{"first": 250}); got.code() != "THROTTLED" || got.Data != nil || got.Extensions.Cost.ActualQueryCost != nil {
			t.Errorf("code %v, data %v", got.code(), got.Data)
		}
		for i := range 30 {
			if got := set(t, s, fmt.Sprint(i), input("available", line(1, i, nil))); got != "" {
				t.Fatal(got)
			}
		}
		a := graph(t, s, `{ shop { id name } }`, nil)
		if a.code() != "THROTTLED" || a.Extensions.Cost.RequestedQueryCost != 1 {
			t.Errorf("after 30 mutations of 10 points each: %v, cost %v", a.code(), a.Extensions.Cost.RequestedQueryCost)
		}
		time.Sleep(2 * time.Second)
		a = graph(t, s, `{ shop { id name } }`, nil)
		if a.code() != nil || a.Extensions.Cost.ThrottleStatus.CurrentlyAvailable != 99 {
			t.Errorf("two seconds later: %v, available %v, want 99", a.code(), a.Extensions.Cost.ThrottleStatus.CurrentlyAvailable)
		}
		if got := s.Report().GraphQLThrottled; got != 2 {
			t.Errorf("throttled %d, want 2", got)
		}
		big := `{ a: inventoryItems(first: 250) { nodes { id inventoryLevel(locationId: "gid://shopify/Location/1") { id } } }
		          b: inventoryItems(first: 250) { nodes { id inventoryLevel(locationId: "gid://shopify/Location/1") { id } } } }`
		if a := graph(t, s, big, nil); a.code() != "MAX_COST_EXCEEDED" || a.Errors[0].Extensions["cost"] != 1004.0 {
			t.Errorf("a query of 1004 points: %+v", a.Errors)
		}
	})
}

func TestAdminRefusesStrangers(t *testing.T) {
	s := newShop(t, shopify.Config{})
	for _, test := range []struct {
		method, path, token, body string
		want                      int
	}{
		{"POST", "/admin/api/2026-10/graphql.json", "wrong", `{"query":"{shop{id}}"}`, 401},
		{"POST", "/admin/api/2020-01/graphql.json", shopify.DefaultToken, `{"query":"{shop{id}}"}`, 404},
		{"GET", "/admin/api/2026-10/graphql.json", shopify.DefaultToken, ``, 404},
		{"POST", "/admin/api/2026-10/graphql.json", shopify.DefaultToken, `nonsense`, 400},
	} {
		r := httptest.NewRequest(test.method, test.path, strings.NewReader(test.body))
		r.Header.Set("X-Shopify-Access-Token", test.token)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s %s = %d, want %d", test.method, test.path, w.Code, test.want)
		}
	}
	if got := s.Report().Calls; got != 4 {
		t.Errorf("%d calls counted, want 4", got)
	}
}

func FuzzSearch(f *testing.F) {
	for _, seed := range []string{"sku:A OR sku:B", `sku:"A B" OR id:5000001`, "(sku:'x\\'y')", "sku:", "OR", ")("} {
		f.Add(seed)
	}
	s, err := shopify.New(shopify.Config{Items: []shopify.Item{{SKU: "A", Available: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, search string) {
		graph(t, s, `query($q: String) { inventoryItems(first: 1, query: $q) { nodes { sku } } }`, map[string]any{"q": search})
	})
}

func FuzzGraphQL(f *testing.F) {
	for _, seed := range []string{readStock, setStock, "{shop{id}}", "query A{shop{id}} query B{shop{name}}", "{...F} fragment F on Query{shop{id}}"} {
		f.Add(seed, `{"first":1,"key":"k","input":{"name":"available","reason":"correction","quantities":[]}}`)
	}
	s, err := shopify.New(shopify.Config{Items: []shopify.Item{{SKU: "A", Available: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, query, variables string) {
		var v map[string]any
		if query == "" || json.Unmarshal([]byte(variables), &v) != nil {
			return
		}
		graph(t, s, query, v)
	})
}
