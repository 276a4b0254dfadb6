package wms_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/wms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSystem(t *testing.T, cfg wms.Config) *wms.System {
	t.Helper()
	s, err := wms.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func do(s *wms.System, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+wms.DefaultToken)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func problem(t *testing.T, w *httptest.ResponseRecorder) (kind, detail string) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Title == "" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("not a problem document: %d %s", w.Code, w.Body)
	}
	return strings.TrimPrefix(p.Type, "https://wms.example/problems/"), p.Detail
}

const (
	plain   = `{"reference":"#1","lines":[{"sku":"VIRAL","quantity":2}],"shipTo":{"city":"Springfield"},"express":true}`
	special = `{"externalId":"o-500","reference":"#500","lines":[{"sku":"VIRAL","quantity":1},{"sku":"SOFA","quantity":1,"configuration":"CFG-A1"}]}`
)

func TestUpsertIsIdempotentByExternalID(t *testing.T) {
	s := newSystem(t, wms.Config{})
	for i, want := range []int{http.StatusCreated, http.StatusOK, http.StatusOK} {
		body := plain
		if i == 2 {
			body = strings.Replace(plain, `"quantity":2`, `"quantity":5`, 1)
		}
		if got := do(s, http.MethodPut, "/orders/o-1", body).Code; got != want {
			t.Errorf("write %d = %d, want %d", i, got, want)
		}
	}
	r := s.Report()
	if r.Accepted != 1 || r.Updates != 2 || r.IdenticalRewrites != 1 || r.Lines != 1 || r.DuplicateReferences != 0 || len(r.Refused) != 0 {
		t.Errorf("report %+v", r)
	}
	if got := s.Orders()["o-1"].Lines[0].Quantity; got != 5 {
		t.Errorf("quantity = %d, want 5", got)
	}
	do(s, http.MethodPut, "/orders/other", plain)
	if r := s.Report(); r.DuplicateReferences != 1 {
		t.Errorf("two orders with one reference count as %d duplicates", r.DuplicateReferences)
	}
}

func TestCreationsAreNotIdempotentAndAreFoundByExternalID(t *testing.T) {
	s := newSystem(t, wms.Config{})
	order := `{"externalId":"o-1","reference":"#1","lines":[{"sku":"VIRAL","quantity":2}]}`
	search := func() (status, n int, id string) {
		w := do(s, http.MethodGet, "/orders?externalId=o-1", "")
		var found struct {
			Orders []struct{ ID, ExternalID string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil {
			t.Fatal(err)
		}
		if len(found.Orders) == 0 {
			return w.Code, 0, ""
		}
		return w.Code, len(found.Orders), found.Orders[0].ID
	}
	if status, n, _ := search(); status != http.StatusOK || n != 0 {
		t.Errorf("an unknown order is answered %d with %d orders", status, n)
	}
	if got := do(s, http.MethodGet, "/orders/o-1", "").Code; got != http.StatusNotFound {
		t.Errorf("an unknown order = %d", got)
	}
	for range 2 {
		if w := do(s, http.MethodPost, "/orders", order); w.Code != http.StatusCreated {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if status, n, id := search(); status != http.StatusOK || n != 1 || id != "1" {
		t.Errorf("found %d orders (%d), the first %q", n, status, id)
	}
	if w := do(s, http.MethodGet, "/orders/o-1", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"id":"1"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := do(s, http.MethodPost, "/orders", strings.Replace(order, `"externalId":"o-1",`, "", 1)); w.Code != http.StatusBadRequest {
		t.Errorf("a creation without an external id = %d", w.Code)
	}
	r := s.Report()
	if r.DuplicateOrders != 1 || r.Accepted != 1 || r.ByOperation[wms.OpCreate] != 3 || r.ByOperation[wms.OpSearch] != 2 {
		t.Errorf("report %+v", r)
	}
}

// A write that takes effect late undoes what came after it.
func TestLateWritesThatUndoNewerOnesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, wms.Config{Config: account.Config{Faults: []faults.Rule{
			{Kind: faults.CutCommitLater, Calls: []int{1, 3}, Delay: jsontime.Duration(time.Minute)},
		}}})
		put := func(quantity string) {
			defer func() { _ = recover() }() // a recorder has no connection to cut
			time.Sleep(time.Second)
			do(s, http.MethodPut, "/orders/o-1", strings.Replace(plain, `"quantity":2`, `"quantity":`+quantity, 1))
		}
		put("2") // late
		put("3")
		time.Sleep(2 * time.Minute)
		if r := s.Report(); r.Undone != 1 || s.Orders()["o-1"].Lines[0].Quantity != 2 {
			t.Errorf("undone %d, want 1", r.Undone)
		}
		put("4") // late, and repeated as it was
		put("4")
		time.Sleep(2 * time.Minute)
		if r := s.Report(); r.Undone != 1 {
			t.Errorf("undone %d, want still 1", r.Undone)
		}
	})
}

func TestUnknownConfigurationIsRefusedUntilItIsKnown(t *testing.T) {
	s := newSystem(t, wms.Config{Configurations: []string{"CFG-B2"}})
	for range 2 {
		w := do(s, http.MethodPut, "/orders/o-500", special)
		kind, detail := problem(t, w)
		if w.Code != http.StatusUnprocessableEntity || kind != "unknown-configuration" || !strings.Contains(detail, "configuration 'CFG-A1' is not known") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	refused := s.Report().Refused
	if len(refused) != 1 || refused[0].ExternalID != "o-500" || refused[0].Reference != "#500" || refused[0].Times != 2 || !strings.Contains(refused[0].Cause, "CFG-A1") {
		t.Errorf("refused %+v", refused)
	}
	if w := do(s, http.MethodGet, "/orders/o-500", ""); w.Code != http.StatusNotFound {
		t.Errorf("a refused order is there: %d", w.Code)
	}
	s.AddConfiguration("CFG-A1")
	if got := do(s, http.MethodPut, "/orders/o-500", special).Code; got != http.StatusCreated {
		t.Errorf("after the configuration is known = %d", got)
	}
	if r := s.Report(); len(r.Refused) != 0 || r.Accepted != 1 || r.Lines != 2 {
		t.Errorf("report %+v", r)
	}
	var o wms.Order
	if w := do(s, http.MethodGet, "/orders/o-500", ""); w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &o) != nil || o.Reference != "#500" {
		t.Errorf("get = %d %s", w.Code, w.Body)
	}
}

func TestWrongOrdersAreRefused(t *testing.T) {
	s := newSystem(t, wms.Config{SKUs: []string{"VIRAL"}})
	statuses := make(map[string]int)
	for name, body := range map[string]string{
		"not JSON": `{`, "no lines": `{"lines":[]}`, "no sku": `{"lines":[{"quantity":1}]}`, "no quantity": `{"lines":[{"sku":"VIRAL"}]}`,
		"other id": `{"externalId":"p","lines":[{"sku":"VIRAL","quantity":1}]}`, "two": `{"lines":[{"sku":"VIRAL","quantity":1}]}{}`,
		"unknown sku": `{"lines":[{"sku":"GHOST","quantity":1}]}`,
	} {
		w := do(s, http.MethodPut, "/orders/o", body)
		problem(t, w)
		statuses[name] = w.Code
	}
	want := map[string]int{"not JSON": 400, "no lines": 400, "no sku": 400, "no quantity": 400, "other id": 400, "two": 400, "unknown sku": 422}
	if diff := cmp.Diff(want, statuses); diff != "" {
		t.Error(diff)
	}
	if r := s.Report(); r.Accepted != 0 || r.Refused[0].Times != 7 {
		t.Errorf("report %+v", r)
	}
}

func TestEveryCallCounts(t *testing.T) {
	s := newSystem(t, wms.Config{Config: account.Config{
		Limits: []account.Window{{Name: "m", Calls: 3, Per: jsontime.Duration(time.Minute)}},
		Faults: []faults.Rule{{Kind: faults.Unavailable, Operations: []string{wms.OpRead}}},
	}})
	stranger := httptest.NewRecorder()
	s.ServeHTTP(stranger, httptest.NewRequest(http.MethodPut, "/orders/o", strings.NewReader(plain)))
	health := httptest.NewRecorder()
	s.ServeHTTP(health, httptest.NewRequest(http.MethodGet, "/health", nil))
	injected := do(s, http.MethodGet, "/orders/o", "")
	over := do(s, http.MethodPut, "/orders/o", plain)
	got := []int{stranger.Code, health.Code, injected.Code, over.Code}
	if diff := cmp.Diff([]int{401, 200, 503, 429}, got); diff != "" {
		t.Error(diff)
	}
	r := s.Report()
	if r.Calls != 4 || r.Throttled != 1 || r.Limits[0].Largest != 4 || r.ByOperation[wms.OpHealth] != 1 {
		t.Errorf("report %+v", r.Report)
	}
}

func FuzzOrder(f *testing.F) {
	f.Add("o-1", plain)
	f.Add("o-500", special)
	s, err := wms.New(wms.Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, body string) {
		r := httptest.NewRequest(http.MethodPut, "/orders/x", strings.NewReader(body))
		r.URL.Path, r.URL.RawPath = "/orders/"+id, ""
		r.Header.Set("Authorization", "Bearer "+wms.DefaultToken)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code == http.StatusUnauthorized {
			t.Fatalf("%q %q = %d", id, body, w.Code)
		}
	})
}

// A refusal in the body has the form of GraphQL, and no effect.
func TestThrottledInTheBody(t *testing.T) {
	s := newSystem(t, wms.Config{Config: account.Config{Faults: []faults.Rule{{Kind: faults.ThrottleInBody, Calls: []int{1}}}}})
	w := do(s, http.MethodPut, "/orders/o-1", `{"externalId":"o-1","lines":[{"sku":"VIRAL","quantity":2}]}`)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"code":"THROTTLED"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if r := s.Report(); r.Accepted != 0 || r.ByOutcome["throttled"] != 1 || r.Throttled != 0 {
		t.Errorf("report %+v", r)
	}
}
