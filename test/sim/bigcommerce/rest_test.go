package bigcommerce_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/bigcommerce"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/retail"
	"github.com/peppasync/peppasync/test/sim/simtest"
)

// api is a client of the REST API over HTTP.
type api struct {
	t           *testing.T
	base, token string
}

func newAPI(t *testing.T, s *bigcommerce.Store) *api {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return &api{t, server.URL + "/stores/" + bigcommerce.DefaultHash + "/", bigcommerce.DefaultToken}
}

// call makes one request, wants the status, reads the reply into the answer if there is one, and returns the header.
func (a *api) call(method, path string, body any, want int, answer any) http.Header {
	a.t.Helper()
	return simtest.Call(a.t, method, a.base+path, http.Header{"X-Auth-Token": {a.token}}, body, want, answer)
}

func (a *api) ids(path string) []int64 {
	a.t.Helper()
	var orders []bigcommerce.Order
	a.call(http.MethodGet, path, nil, http.StatusOK, &orders)
	ids := []int64{}
	for _, o := range orders {
		ids = append(ids, o.ID)
	}
	return ids
}

func TestOrderAndItsProductsAreReadApart(t *testing.T) {
	s := newStore(t, bigcommerce.Config{})
	a := newAPI(t, s)
	sold := sell(t, s, retail.Spec{Note: "by noon", Lines: []retail.Line{
		{SKU: "VIRAL", Quantity: 3, Options: []retail.Option{{Name: "Engraving", Value: "A"}}}, {SKU: "MADE", Quantity: 1, Configuration: "CFG-A1"},
	}})
	var o bigcommerce.Order
	a.call(http.MethodGet, fmt.Sprintf("v2/orders/%d", sold.ID), nil, http.StatusOK, &o)
	if o.StatusID != 11 || o.Status != "Awaiting Fulfillment" || o.TotalIncTax != "84.7000" || o.ItemsTotal != 4 || o.CurrencyCode != "USD" ||
		o.CustomerMessage != "by noon" || o.Products.Resource != fmt.Sprintf("/orders/%d/products", sold.ID) || o.BillingAddress.CountryISO2 != "US" {
		t.Errorf("order %+v", o)
	}
	for _, text := range []string{o.DateCreated, o.DateModified} {
		if at, err := time.Parse(time.RFC1123Z, text); err != nil || time.Since(at) > time.Minute {
			t.Errorf("date %q: %v", text, err)
		}
	}
	var products []bigcommerce.Product
	a.call(http.MethodGet, fmt.Sprintf("v2/orders/%d/products", sold.ID), nil, http.StatusOK, &products)
	if len(products) != 2 || products[0].SKU != "VIRAL" || products[0].Quantity != 3 || products[0].PriceIncTax != "19.9000" ||
		products[0].ProductOptions[0].DisplayValue != "A" || products[1].ProductOptions[0].DisplayName != "_configuration" {
		t.Errorf("products %+v", products)
	}
	var addresses []bigcommerce.ShippingAddress
	a.call(http.MethodGet, fmt.Sprintf("v2/orders/%d/shippingaddresses", sold.ID), nil, http.StatusOK, &addresses)
	if len(addresses) != 1 || addresses[0].ItemsTotal != 4 || addresses[0].Zip == "" {
		t.Errorf("addresses %+v", addresses)
	}
	a.call(http.MethodGet, fmt.Sprintf("v2/orders/%d/products?page=2", sold.ID), nil, http.StatusNoContent, nil)
	var problems []struct{ Status int }
	a.call(http.MethodGet, "v2/orders/9", nil, http.StatusNotFound, &problems)
	if len(problems) != 1 || problems[0].Status != 404 {
		t.Errorf("problems %+v", problems)
	}
	a.call(http.MethodGet, "v2/products", nil, http.StatusNotFound, nil)
	a.token = "wrong"
	a.call(http.MethodGet, "v2/orders", nil, http.StatusUnauthorized, nil)
	if rep := s.Report(); rep.Reads != 5 || rep.Polls != 1 {
		t.Errorf("%d reads and %d polls", rep.Reads, rep.Polls)
	}
}

func TestAnOrderBringsItsLinesWhereTheyAreIncluded(t *testing.T) {
	s := newStore(t, bigcommerce.Config{})
	a := newAPI(t, s)
	sold := sell(t, s, retail.Spec{Lines: []retail.Line{{SKU: "VIRAL", Quantity: 3}, {SKU: "MADE", Quantity: 1, Configuration: "CFG-A1"}}})
	type order struct {
		ID           int64 `json:"id"`
		Consignments []struct {
			Shipping []struct {
				Zip       string                `json:"zip"`
				LineItems []bigcommerce.Product `json:"line_items"`
			} `json:"shipping"`
		} `json:"consignments"`
	}
	var one order
	a.call(http.MethodGet, fmt.Sprintf("v2/orders/%d?include=consignments.line_items", sold.ID), nil, http.StatusOK, &one)
	var listed []order
	a.call(http.MethodGet, "v2/orders?include=consignments.line_items", nil, http.StatusOK, &listed)
	for _, o := range append(listed, one) {
		if o.ID != sold.ID || len(o.Consignments) != 1 || len(o.Consignments[0].Shipping) != 1 {
			t.Fatalf("order %+v", o)
		}
		if parcel := o.Consignments[0].Shipping[0]; parcel.Zip == "" || len(parcel.LineItems) != 2 || parcel.LineItems[0].Quantity != 3 {
			t.Errorf("parcel %+v", parcel)
		}
	}
	var bare struct {
		Consignments []struct {
			Shipping []struct {
				LineItems bigcommerce.Link `json:"line_items"`
			} `json:"shipping"`
		} `json:"consignments"`
	}
	a.call(http.MethodGet, fmt.Sprintf("v2/orders/%d?include=consignments", sold.ID), nil, http.StatusOK, &bare)
	if len(bare.Consignments) != 1 || bare.Consignments[0].Shipping[0].LineItems.Resource == "" {
		t.Errorf("consignments without lines: %+v", bare)
	}
}

func TestOrdersAreListedBySelection(t *testing.T) {
	s := newStore(t, bigcommerce.Config{})
	a := newAPI(t, s)
	a.call(http.MethodGet, "v2/orders", nil, http.StatusNoContent, nil)
	for range 5 {
		sell(t, s, retail.Spec{})
	}
	if _, err := s.Cancel(102); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Archive(104); err != nil {
		t.Fatal(err)
	}
	if got := a.ids("v2/orders?limit=3"); !slices.Equal(got, []int64{100, 101, 102}) {
		t.Errorf("first page %v", got)
	}
	if got := a.ids("v2/orders?limit=3&page=2"); !slices.Equal(got, []int64{103}) {
		t.Errorf("second page %v", got)
	}
	a.call(http.MethodGet, "v2/orders?limit=3&page=3", nil, http.StatusNoContent, nil)
	if got := a.ids("v2/orders?sort=id:desc&max_id=102"); !slices.Equal(got, []int64{102, 101, 100}) {
		t.Errorf("downwards %v", got)
	}
	if got := a.ids("v2/orders?status_id=5"); !slices.Equal(got, []int64{102}) {
		t.Errorf("cancelled %v", got)
	}
	if got := a.ids("v2/orders?is_deleted=true"); !slices.Equal(got, []int64{104}) {
		t.Errorf("archived %v", got)
	}
	for _, text := range []string{time.Now().Add(-time.Minute).Format(time.RFC1123Z), time.Now().Add(-time.Minute).Format(time.RFC3339)} {
		if got := a.ids("v2/orders?sort=date_modified:asc&min_date_modified=" + url.QueryEscape(text)); len(got) != 4 {
			t.Errorf("since %s: %v", text, got)
		}
	}
	modified, err := time.Parse(time.RFC1123Z, must(s.Order(103)).DateModified)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.ids("v2/orders?min_date_modified=" + url.QueryEscape(modified.Format(time.RFC3339))); !slices.Contains(got, 103) {
		t.Errorf("since its own second: %v; both ends belong to the span", got)
	}
	future := url.QueryEscape(time.Now().Add(time.Minute).Format(time.RFC3339))
	a.call(http.MethodGet, "v2/orders?min_date_modified="+future, nil, http.StatusNoContent, nil)
	for _, query := range []string{"min_date_modified=soon", "limit=0", "page=x", "sort=total", "sort=id:up", "status_id=99", "min_id=x"} {
		a.call(http.MethodGet, "v2/orders?"+query, nil, http.StatusBadRequest, nil)
	}
}

func must(o bigcommerce.Order, ok bool) bigcommerce.Order {
	if !ok {
		panic("the order is not there")
	}
	return o
}

func TestQuotaIsToldAndKept(t *testing.T) {
	s := newStore(t, bigcommerce.Config{Quota: bigcommerce.Quota{Requests: 3, Window: jsontime.Duration(time.Hour)}})
	a := newAPI(t, s)
	for left := 2; left >= 0; left-- {
		h := a.call(http.MethodGet, "v2/orders", nil, http.StatusNoContent, nil)
		reset, err := strconv.Atoi(h.Get("X-Rate-Limit-Time-Reset-Ms"))
		if h.Get("X-Rate-Limit-Requests-Left") != strconv.Itoa(left) || h.Get("X-Rate-Limit-Requests-Quota") != "3" ||
			h.Get("X-Rate-Limit-Time-Window-Ms") != "3600000" || err != nil || reset <= 0 || reset > 3_600_000 {
			t.Errorf("header %v", h)
		}
	}
	h := a.call(http.MethodGet, "v2/orders", nil, http.StatusTooManyRequests, nil)
	if h.Get("X-Rate-Limit-Requests-Left") != "0" || h.Get("X-Rate-Limit-Time-Reset-Ms") == "" {
		t.Errorf("header %v", h)
	}
	if rep := s.Report(); rep.QuotaThrottled != 1 || rep.ByOutcome["throttled"] != 1 {
		t.Errorf("report %+v", rep)
	}
	short := newStore(t, bigcommerce.Config{Quota: bigcommerce.Quota{Requests: 1, Window: jsontime.Duration(20 * time.Millisecond)}})
	b := newAPI(t, short)
	deadline := time.Now().Add(20 * time.Second)
	for accepted := 0; accepted < 3; accepted = short.Report().ByOutcome["accepted"] {
		response := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodGet, "/stores/"+bigcommerce.DefaultHash+"/v2/orders", nil)
		request.Header.Set("X-Auth-Token", b.token)
		short.ServeHTTP(response, request)
		if time.Now().After(deadline) {
			t.Fatal("the quota does not come back")
		}
	}
}

func TestWebhooksAreManaged(t *testing.T) {
	s := newStore(t, bigcommerce.Config{})
	a := newAPI(t, s)
	type one struct{ Data bigcommerce.Hook }
	var made one
	a.call(http.MethodPost, "v3/hooks", map[string]any{
		"scope": "store/order/created", "destination": "http://127.0.0.1:1/x", "headers": map[string]string{"Authorization": "Basic x"},
	}, http.StatusOK, &made)
	if made.Data.ID == 0 || !made.Data.IsActive || made.Data.StoreHash != bigcommerce.DefaultHash || made.Data.Headers["Authorization"] != "Basic x" {
		t.Errorf("webhook %+v", made)
	}
	path := fmt.Sprintf("v3/hooks/%d", made.Data.ID)
	a.call(http.MethodPut, path, map[string]any{"is_active": false, "destination": "http://127.0.0.1:1/y"}, http.StatusOK, &made)
	if made.Data.IsActive || made.Data.Destination != "http://127.0.0.1:1/y" || made.Data.Scope != "store/order/created" {
		t.Errorf("webhook %+v", made)
	}
	var list struct {
		Data []bigcommerce.Hook
		Meta struct{ Pagination struct{ Total int } }
	}
	a.call(http.MethodGet, "v3/hooks?is_active=false", nil, http.StatusOK, &list)
	if len(list.Data) != 1 || list.Meta.Pagination.Total != 1 {
		t.Errorf("webhooks %+v", list)
	}
	a.call(http.MethodGet, "v3/hooks?is_active=true", nil, http.StatusOK, &list)
	if len(list.Data) != 0 {
		t.Errorf("webhooks %+v", list)
	}
	for _, bad := range []map[string]any{
		{"scope": "store/order/created"}, {"destination": "http://x"}, {"scope": "store/order/eaten", "destination": "http://x"},
		{"scope": "store/order/created", "destination": "nowhere"},
	} {
		a.call(http.MethodPost, "v3/hooks", bad, http.StatusUnprocessableEntity, nil)
	}
	a.call(http.MethodPost, "v3/hooks", "text", http.StatusBadRequest, nil)
	a.call(http.MethodDelete, path, nil, http.StatusOK, nil)
	a.call(http.MethodGet, path, nil, http.StatusNotFound, nil)
	a.call(http.MethodPut, path, map[string]any{"is_active": true}, http.StatusNotFound, nil)
}

func TestHeadersOfWebhooksAreCovered(t *testing.T) {
	s := newStore(t, bigcommerce.Config{CoverHeaders: true})
	a := newAPI(t, s)
	var made struct{ Data bigcommerce.Hook }
	a.call(http.MethodPost, "v3/hooks", map[string]any{
		"scope": "store/order/created", "destination": "http://127.0.0.1:1/x", "headers": map[string]string{"Authorization": "Basic x"},
	}, http.StatusOK, &made)
	var list struct{ Data []bigcommerce.Hook }
	a.call(http.MethodGet, "v3/hooks", nil, http.StatusOK, &list)
	for _, h := range append(list.Data, made.Data) {
		if got := h.Headers["Authorization"]; got != "********" {
			t.Errorf("the API shows %q", got)
		}
	}
	if hooks := s.Report().Hooks; len(hooks) != 1 || hooks[0].Headers["Authorization"] != "Basic x" {
		t.Errorf("it sends along %+v", hooks)
	}
}

func TestNewWebhookWorksAfterAWhile(t *testing.T) {
	r := newReceiver(t, nil)
	s := newStore(t, bigcommerce.Config{Activation: jsontime.Duration(time.Hour)})
	newAPI(t, s).call(http.MethodPost, "v3/hooks", map[string]any{"scope": "store/order/*", "destination": r.URL}, http.StatusOK, nil)
	sell(t, s, retail.Spec{})
	simtest.Within(t, s.WaitDelivered)
	if rep := s.Report(); rep.Webhooks.Undelivered != 1 || rep.Missed != 1 {
		t.Errorf("report %+v", rep)
	}
}

func TestEditsOfOrders(t *testing.T) {
	s := newStore(t, bigcommerce.Config{})
	o := sell(t, s, retail.Spec{Unpaid: true})
	if o.StatusID != 7 {
		t.Errorf("order %+v", o)
	}
	for _, step := range []struct {
		do   func() (bigcommerce.Order, error)
		want func(o bigcommerce.Order) bool
	}{
		{func() (bigcommerce.Order, error) { return s.MarkPaid(o.ID) }, func(o bigcommerce.Order) bool { return o.StatusID == 11 }},
		{func() (bigcommerce.Order, error) { return s.Update(o.ID, retail.Edit{Quantity: 5}) }, func(o bigcommerce.Order) bool { return o.TotalIncTax == "99.5000" }},
		{func() (bigcommerce.Order, error) { return s.Refund(o.ID, "9.50") }, func(o bigcommerce.Order) bool { return o.StatusID == 14 && o.RefundedAmount == "9.5000" }},
		{func() (bigcommerce.Order, error) { return s.Refund(o.ID, "") }, func(o bigcommerce.Order) bool { return o.StatusID == 4 && o.RefundedAmount == "99.5000" }},
		{func() (bigcommerce.Order, error) { return s.Cancel(o.ID) }, func(o bigcommerce.Order) bool { return o.Status == "Cancelled" }},
	} {
		if got, err := step.do(); err != nil || !step.want(got) {
			t.Errorf("order %+v, %v", got, err)
		}
	}
	for _, bad := range []func() (bigcommerce.Order, error){
		func() (bigcommerce.Order, error) { return s.Cancel(o.ID) },
		func() (bigcommerce.Order, error) { return s.Cancel(9) },
		func() (bigcommerce.Order, error) { return s.Refund(o.ID, "1") },
		func() (bigcommerce.Order, error) { return s.Update(o.ID, retail.Edit{Status: "Lost"}) },
	} {
		if got, err := bad(); err == nil {
			t.Errorf("order %+v is taken", got)
		}
	}
}

func TestPlatformFaults(t *testing.T) {
	s := newStore(t, bigcommerce.Config{Config: account.Config{Faults: []faults.Rule{
		{Kind: faults.ServerError, Calls: []int{1}}, {Kind: faults.Throttle, Calls: []int{1}},
	}}})
	a := newAPI(t, s)
	a.call(http.MethodGet, "v2/orders", nil, http.StatusInternalServerError, nil)
	if h := a.call(http.MethodGet, "v2/orders", nil, http.StatusTooManyRequests, nil); h.Get("X-Rate-Limit-Time-Reset-Ms") == "" {
		t.Errorf("header %v", h)
	}
	if err := s.StartMaintenance(0); err != nil {
		t.Fatal(err)
	}
	a.call(http.MethodGet, "v2/orders", nil, http.StatusServiceUnavailable, nil)
}
