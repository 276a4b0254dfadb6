package netsuite_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const orders = "/services/rest/record/v1/salesOrder"

type client struct {
	t *testing.T
	a *netsuite.Account
}

func newClient(t *testing.T, cfg netsuite.Config) client {
	t.Helper()
	if cfg.Items == nil {
		cfg.Items = []netsuite.Item{{SKU: "VIRAL", OnHand: 100}, {SKU: "SOFA", OnHand: 5}}
	}
	a, err := netsuite.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return client{t, a}
}

func (c client) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+netsuite.DefaultToken)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	c.a.ServeHTTP(w, r)
	return w
}

func body(number, quantity int) string {
	return fmt.Sprintf(`{"entity":{"id":"42"},"otherRefNum":"#%d","memo":"rev %d","tranDate":"2026-11-24","location":{"id":"1"},
		"item":{"items":[{"item":{"id":"1"},"quantity":%d,"rate":25.00}]}}`, number, quantity, quantity)
}

func (c client) put(externalID, body string) int {
	return c.do(http.MethodPut, orders+"/eid:"+externalID+"?replace=item", body, "X-NetSuite-PropertyNameValidation", "Error").Code
}

// errorCode returns the first o:errorCode of a reply in NetSuite's error shape.
func errorCode(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var e struct {
		Type, Title string
		Status      int
		Details     []struct {
			Detail string
			Code   string `json:"o:errorCode"`
		} `json:"o:errorDetails"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Status != w.Code || e.Type == "" || len(e.Details) != 1 || e.Details[0].Detail == "" {
		t.Errorf("not an error of NetSuite's shape: %d %s", w.Code, w.Body)
		return ""
	}
	return e.Details[0].Code
}

func stockOf(r netsuite.Report, sku string) netsuite.Stock {
	for _, s := range r.Stock {
		if s.SKU == sku {
			return s
		}
	}
	return netsuite.Stock{}
}

func TestAcceptanceLowersAvailableOnceAndNotOnHand(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	for _, id := range []string{"shop-1", "SHOP-1", "shop-1"} { // external ids know no case
		if got := c.put(id, body(1, 3)); got != http.StatusNoContent {
			t.Fatalf("put %s = %d", id, got)
		}
	}
	want := netsuite.Stock{SKU: "VIRAL", Location: "1", OnHand: 100, Available: 97, LowestAvailable: 97}
	r := c.a.Report()
	if diff := cmp.Diff(want, stockOf(r, "VIRAL")); diff != "" {
		t.Error(diff)
	}
	if r.Orders != 1 || r.Updates != 2 || r.IdenticalRewrites != 2 || r.DuplicateOrders != 0 || r.DuplicateLines != 0 {
		t.Errorf("report %+v", r)
	}
}

func TestUpdateMovesStockByTheDifference(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	c.put("o", body(1, 3))
	c.put("o", body(1, 8))
	c.put("o", body(1, 2))
	if got := stockOf(c.a.Report(), "VIRAL").Available; got != 98 {
		t.Errorf("available = %d, want 98", got)
	}
	history := c.a.History("O")
	if len(history) != 3 || history[1].Memo != "rev 8" || history[2].Quantity != 2 || history[0].PayloadHash == history[1].PayloadHash {
		t.Errorf("history %+v", history)
	}
}

func TestRewriteWithoutReplaceAddsLines(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	c.put("o", body(1, 3))
	if got := c.do(http.MethodPut, orders+"/eid:o", body(1, 3)).Code; got != http.StatusNoContent {
		t.Fatal(got)
	}
	r := c.a.Report()
	if r.DuplicateLines != 1 || stockOf(r, "VIRAL").Available != 94 || c.a.Orders()[0].Lines != 2 {
		t.Errorf("duplicate lines %d, available %d", r.DuplicateLines, stockOf(r, "VIRAL").Available)
	}
}

func TestSecondOrderForOneSaleIsADuplicate(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	c.put("shop-1", body(1, 1))
	w := c.do(http.MethodPost, orders, strings.Replace(body(1, 1), "{", `{"externalId":"other-1",`, 1))
	if w.Code != http.StatusNoContent || !strings.HasPrefix(w.Header().Get("Location"), orders+"/") {
		t.Fatalf("post = %d, location %q", w.Code, w.Header().Get("Location"))
	}
	if w := c.do(http.MethodGet, w.Header().Get("Location"), ""); w.Code != http.StatusOK {
		t.Errorf("get of the location = %d", w.Code)
	}
	again := c.do(http.MethodPost, orders, strings.Replace(body(2, 1), "{", `{"externalId":"SHOP-1",`, 1))
	if again.Code != http.StatusBadRequest || errorCode(t, again) != "USER_ERROR" {
		t.Errorf("post with a taken external id = %d", again.Code)
	}
	if r := c.a.Report(); r.DuplicateOrders != 1 || r.Orders != 2 || len(r.Refused) != 1 {
		t.Errorf("report %+v", r)
	}
	lenient := newClient(t, netsuite.Config{AllowDuplicateExternalID: true})
	for range 2 {
		lenient.do(http.MethodPost, orders, strings.Replace(body(1, 1), "{", `{"externalId":"x",`, 1))
	}
	if r := lenient.a.Report(); r.DuplicateOrders != 1 || stockOf(r, "VIRAL").Available != 98 {
		t.Errorf("report of the lenient account %+v", r)
	}
}

func TestReadByExternalID(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	if w := c.do(http.MethodGet, orders+"/eid:o", ""); w.Code != http.StatusNotFound || errorCode(t, w) != "NONEXISTENT_ID" {
		t.Errorf("get of nothing = %d", w.Code)
	}
	c.put("o", body(7, 3))
	w := c.do(http.MethodGet, orders+"/eid:O", "")
	var o struct {
		ID, ExternalID, OtherRefNum string
		Item                        struct {
			Items []struct {
				Quantity int
				Item     struct{ ID, RefName string }
			}
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	if o.ExternalID != "o" || o.OtherRefNum != "#7" || o.ID == "" || len(o.Item.Items) != 1 || o.Item.Items[0].Quantity != 3 || o.Item.Items[0].Item.RefName != "VIRAL" {
		t.Errorf("order %+v", o)
	}
}

func TestWrongOrdersAreRefusedWithoutEffect(t *testing.T) {
	good := body(1, 1)
	for name, test := range map[string]struct {
		path, body, code string
	}{
		"not JSON":           {"eid:o", `{`, "INVALID_CONTENT"},
		"not an object":      {"eid:o", `[]`, "INVALID_CONTENT"},
		"unknown property":   {"eid:o", strings.Replace(good, "{", `{"colour":"red",`, 1), "INVALID_CONTENT"},
		"unknown item":       {"eid:o", strings.Replace(good, `{"id":"1"},"quantity"`, `{"id":"99"},"quantity"`, 1), "NONEXISTENT_ID"},
		"no item":            {"eid:o", strings.Replace(good, `"item":{"id":"1"},`, ``, 1), "USER_ERROR"},
		"no customer":        {"eid:o", strings.Replace(good, `"entity":{"id":"42"},`, ``, 1), "USER_ERROR"},
		"no lines":           {"eid:o", `{"entity":{"id":"42"},"item":{"items":[]}}`, "USER_ERROR"},
		"quantity zero":      {"eid:o", strings.Replace(good, `"quantity":1`, `"quantity":0`, 1), "INVALID_CONTENT"},
		"half a unit":        {"eid:o", strings.Replace(good, `"quantity":1`, `"quantity":1.5`, 1), "INVALID_CONTENT"},
		"a date of no form":  {"eid:o", strings.Replace(good, "2026-11-24", "24.11.2026", 1), "INVALID_CONTENT"},
		"a bad external id":  {"eid:a%7Cb", good, "INVALID_CONTENT"},
		"two external ids":   {"eid:o", strings.Replace(good, "{", `{"externalId":"p",`, 1), "USER_ERROR"},
		"put to an internal": {"1001", good, "USER_ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, netsuite.Config{})
			w := c.do(http.MethodPut, orders+"/"+test.path+"?replace=item", test.body, "X-NetSuite-PropertyNameValidation", "Error")
			if w.Code != http.StatusBadRequest || errorCode(t, w) != test.code {
				t.Errorf("%d %s, want 400 %s", w.Code, w.Body, test.code)
			}
			if r := c.a.Report(); r.Orders != 0 || stockOf(r, "VIRAL").Available != 100 || len(r.Refused) != 1 {
				t.Errorf("report %+v", r)
			}
		})
	}
}

func TestItemsByNameAndUnknownPropertiesWithoutValidation(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	order := `{"entity":{"id":42},"colour":"red","custbody_x":1,"item":{"items":[{"item":{"refName":"SOFA"},"quantity":"7"}]}}`
	if got := c.do(http.MethodPut, orders+"/eid:o?replace=item", order).Code; got != http.StatusNoContent {
		t.Fatal(got)
	}
	r := c.a.Report()
	if s := stockOf(r, "SOFA"); s.Available != -2 || s.OnHand != 5 || r.OversoldUnits != 2 || r.LargestOversold != 2 {
		t.Errorf("stock %+v, oversold %d", s, r.OversoldUnits)
	}
	if _, err := c.a.BookReceipt("SOFA", 10); err != nil {
		t.Fatal(err)
	}
	r = c.a.Report()
	if s := stockOf(r, "SOFA"); s.Available != 8 || s.OnHand != 15 || s.LowestAvailable != -2 || r.OversoldUnits != 0 || r.LargestOversold != 2 {
		t.Errorf("after the receipt: stock %+v, oversold %d", s, r.OversoldUnits)
	}
	for sku, quantity := range map[string]int{"SOFA": 0, "GHOST": 5} {
		if _, err := c.a.BookReceipt(sku, quantity); err == nil {
			t.Errorf("receipt of %d %s is booked", quantity, sku)
		}
	}
}

func TestSuiteQLReplies(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	c.put("o", body(1, 3))
	ask := func(query, parameters string) *httptest.ResponseRecorder {
		q, _ := json.Marshal(map[string]string{"q": query})
		return c.do(http.MethodPost, "/services/rest/query/v1/suiteql"+parameters, string(q), "Prefer", "transient")
	}
	w := ask(`SELECT item.itemid AS sku, aggregateItemLocation.location AS location, aggregateItemLocation.quantityAvailable AS quantityavailable,
		aggregateItemLocation.quantityOnHand AS quantityonhand FROM aggregateItemLocation INNER JOIN item ON item.id = aggregateItemLocation.item
		WHERE item.itemid IN ('VIRAL','GHOST') AND aggregateItemLocation.location = 1`, "")
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := map[string]any{
		"links": []any{}, "count": 1.0, "hasMore": false, "offset": 0.0, "totalResults": 1.0,
		"items": []any{map[string]any{"links": []any{}, "sku": "VIRAL", "location": "1", "quantityavailable": "97", "quantityonhand": "100"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w = ask("SELECT id FROM item ORDER BY id", "?limit=1&offset=1")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got["count"] != 1.0 || got["hasMore"] != false || got["totalResults"] != 2.0 {
		t.Errorf("second page %s", w.Body)
	}
	if w := ask("SELECT id FROM transaction WHERE externalid = 'o'", ""); !strings.Contains(w.Body.String(), `"id":"1001"`) {
		t.Errorf("look-up %s", w.Body)
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"not supported": ask("DELETE FROM item", ""),
		"bad limit":     ask("SELECT id FROM item", "?limit=1001"),
		"no Prefer":     c.do(http.MethodPost, "/services/rest/query/v1/suiteql", `{"q":"SELECT id FROM item"}`),
		"no q":          c.do(http.MethodPost, "/services/rest/query/v1/suiteql", `{}`, "Prefer", "transient"),
	} {
		if w.Code != http.StatusBadRequest || errorCode(t, w) == "" {
			t.Errorf("%s = %d %s", name, w.Code, w.Body)
		}
	}
}

func TestRefusalsHaveNetSuitesShape(t *testing.T) {
	c := newClient(t, netsuite.Config{Config: account.Config{
		Limits: []account.Window{{Name: "m", Calls: 3, Per: jsontime.Duration(time.Minute)}},
	}})
	if w := c.do(http.MethodGet, orders+"/eid:x", "", "Authorization", "Bearer wrong"); w.Code != 401 || errorCode(t, w) != "INVALID_LOGIN" {
		t.Errorf("wrong token = %d", w.Code)
	}
	if w := c.do(http.MethodGet, "/services/rest/record/v1/customer/1", ""); w.Code != 404 || errorCode(t, w) != "NONEXISTENT_ID" {
		t.Errorf("other record = %d", w.Code)
	}
	if err := c.a.StartMaintenance(0); err != nil {
		t.Fatal(err)
	}
	if w := c.do(http.MethodGet, orders+"/eid:x", ""); w.Code != 503 || errorCode(t, w) != "SERVICE_UNAVAILABLE" {
		t.Errorf("maintenance = %d", w.Code)
	}
	// The call with a wrong token and the one in maintenance counted: this is the fourth within a minute.
	if w := c.do(http.MethodGet, orders+"/eid:x", ""); w.Code != 429 || errorCode(t, w) != "REQUEST_LIMIT_EXCEEDED" {
		t.Errorf("over the limit = %d", w.Code)
	}
	html := newClient(t, netsuite.Config{MaintenanceHTML: true})
	if err := html.a.StartMaintenance(0); err != nil {
		t.Fatal(err)
	}
	if w := html.do(http.MethodGet, orders+"/eid:x", ""); w.Code != 503 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("HTML maintenance = %d %s", w.Code, w.Header())
	}
}

func TestThrottledInBody(t *testing.T) {
	c := newClient(t, netsuite.Config{Config: account.Config{Faults: []faults.Rule{{Kind: faults.ThrottleInBody, RetryAfter: "1"}}}})
	w := c.do(http.MethodPut, orders+"/eid:o", body(1, 1))
	if w.Code != http.StatusOK || w.Header().Get("Retry-After") != "1" || errorCode(t, w) != "SSS_REQUEST_LIMIT_EXCEEDED" {
		t.Errorf("%d, headers %v", w.Code, w.Header())
	}
	if r := c.a.Report(); r.Orders != 0 || r.ByOutcome["throttled"] != 1 || r.Throttled != 0 {
		t.Errorf("%d orders, outcomes %v, %d over a limit", r.Orders, r.ByOutcome, r.Throttled)
	}
}

func TestAnItemThatIsAddedIsKnown(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	order := strings.Replace(body(1, 1), `{"id":"1"},"quantity"`, `{"refName":"NEW"},"quantity"`, 1)
	if got := c.put("o", order); got != http.StatusBadRequest {
		t.Fatalf("an order of what is not there = %d", got)
	}
	if err := c.a.AddItem(netsuite.Item{SKU: "NEW", OnHand: 7}); err != nil {
		t.Fatal(err)
	}
	if got := c.put("o", order); got != http.StatusNoContent || stockOf(c.a.Report(), "NEW").Available != 6 {
		t.Errorf("an order of the new item = %d, stock %+v", got, stockOf(c.a.Report(), "NEW"))
	}
	if err := c.a.AddItem(netsuite.Item{SKU: "NEW"}); err == nil {
		t.Error("the same item can be added twice")
	}
}

func TestConcurrencyRefusal(t *testing.T) {
	c := newClient(t, netsuite.Config{Config: account.Config{
		Concurrency: 1, Faults: []faults.Rule{{Kind: faults.Slow, Keys: []string{"slow"}, Delay: jsontime.Duration(time.Hour)}},
	}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.put("slow", body(1, 1))
	}()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.a.Report().Faults["slow"] == 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the slow call never began")
		}
	}
	if w := c.do(http.MethodGet, orders+"/eid:x", ""); w.Code != 429 || errorCode(t, w) != "CONCURRENCY_LIMIT_EXCEEDED" {
		t.Errorf("second call in progress = %d", w.Code)
	}
	c.a.Close()
	<-done
}

// Many calls for one external id at once make one order and move the stock once.
func TestConcurrentUpsertsMakeOneOrder(t *testing.T) {
	c := newClient(t, netsuite.Config{})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() { c.put([]string{"one", "ONE"}[i%2], body(1, 2)) })
	}
	wg.Wait()
	if r := c.a.Report(); r.Orders != 1 || r.Updates != 31 || stockOf(r, "VIRAL").Available != 98 {
		t.Errorf("orders %d, updates %d, available %d", r.Orders, r.Updates, stockOf(r, "VIRAL").Available)
	}
}

func TestWrongItemMastersAreRefused(t *testing.T) {
	for wanted, items := range map[string][]netsuite.Item{
		"sku is missing": {{OnHand: 1}},
		"twice":          {{SKU: "A"}, {SKU: "A"}},
		"taken":          {{SKU: "A", ID: "5"}, {SKU: "B", ID: "5"}},
		"already":        {{SKU: "A", ID: "5"}, {SKU: "A", ID: "6", Location: "2"}},
	} {
		if _, err := netsuite.New(netsuite.Config{Items: items}); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("New = %v, want an error about %q", err, wanted)
		}
	}
}

func FuzzOrderBody(f *testing.F) {
	f.Add(body(1, 1))
	f.Add(`{"entity":{"id":1},"item":{"items":[{"item":{"refName":"VIRAL"},"quantity":1e3}]}}`)
	f.Add(`{"item":null}`)
	a, err := netsuite.New(netsuite.Config{Items: []netsuite.Item{{SKU: "VIRAL", OnHand: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		c := client{t, a}
		if got := c.put("fuzz", payload); got != http.StatusNoContent && got != http.StatusBadRequest {
			t.Fatalf("%q = %d", payload, got)
		}
	})
}

// An upsert that takes effect late writes the order as it was over what it has become.
func TestLateUpsertsThatUndoNewerOnesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, netsuite.Config{Config: account.Config{Faults: []faults.Rule{
			{Kind: faults.CutCommitLater, Calls: []int{1, 4}, Delay: jsontime.Duration(10 * time.Minute)},
		}}})
		put := func(quantity int) {
			defer func() { _ = recover() }() // a recorder has no connection to cut
			time.Sleep(time.Second)
			c.put("o-1", body(1, quantity))
		}
		put(1) // late
		put(1) // the same again: nothing is undone by it
		time.Sleep(20 * time.Minute)
		if r := c.a.Report(); r.Undone != 0 || r.Orders != 1 {
			t.Errorf("report %+v, want one order and nothing undone", r)
		}
		put(2)
		put(3) // late
		put(4)
		time.Sleep(20 * time.Minute)
		if r := c.a.Report(); r.Undone != 1 || c.a.Orders()[0].Quantities["VIRAL"] != 3 {
			t.Errorf("undone %d with %v, want 1 with the order as it was before the newest edit", r.Undone, c.a.Orders()[0].Quantities)
		}
	})
}
