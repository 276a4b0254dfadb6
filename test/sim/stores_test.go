package sim_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/peppasync/peppasync/test/sim"
)

func get(t *testing.T, address string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func shopReport(t *testing.T, w *sim.World, system string) sim.ShopReport {
	t.Helper()
	for _, s := range w.Report().Shops {
		if s.System == system {
			return s
		}
	}
	t.Fatalf("the report has no shop %q", system)
	return sim.ShopReport{}
}

func TestControlDrivesWooCommerce(t *testing.T) {
	w := start(t, "woocommerce: {firstOrderID: 7, items: [{sku: VIRAL}]}")
	door := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-WC-Webhook-Topic") == "order.updated" {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer door.Close()
	for _, step := range []struct {
		path, body string
		status     int
		contains   string
	}{
		{"/woocommerce/target", `{"url":"nowhere"}`, 400, `not an http or https URL`},
		{"/woocommerce/target", `{"url":"` + door.URL + `"}`, 200, door.URL},
		{"/woocommerce/order", `{"lines":[{"sku":"VIRAL","quantity":2}],"unpaid":true}`, 200, `"number": "7"`},
		{"/woocommerce/update", `{"order":7,"quantity":3}`, 200, `"total": "75.00"`},
		{"/woocommerce/pay", `{"order":7}`, 200, `"status": "processing"`},
		{"/woocommerce/refund", `{"order":7,"amount":"5.00"}`, 200, `"total": "-5.00"`},
		{"/woocommerce/cancel", `{"order":7}`, 200, `"status": "cancelled"`},
		{"/woocommerce/trash", `{"order":7}`, 200, `"status": "trash"`},
		{"/woocommerce/cancel", `{"order":9}`, 400, `no order 9`},
		{"/woocommerce/sell", `{"count":3,"sku":"GHOST"}`, 400, `no item with the sku`},
		{"/woocommerce/mishaps", `{"drop":7}`, 400, `share between 0 and 1`},
		{"/woocommerce/mishaps", `{"drop":1}`, 200, `"drop": 1`},
		{"/woocommerce/sell", `{"count":2,"sku":"VIRAL","wait":true}`, 200, `"sold": 2`},
		{"/woocommerce/mishaps", `{}`, 200, `{}`},
		{"/woocommerce/sell", `{"count":3,"sku":"VIRAL","wait":true}`, 200, `"sold": 3`},
		{"/erp/mishaps", `{}`, 400, `sends no webhooks`},
		{"/woocommerce/faults", `[{"kind":"slow","delay":"1ms","operations":["orders.list"]}]`, 200, `"kind": "slow"`},
	} {
		status, body := post(t, w, step.path, step.body)
		if status != step.status || !strings.Contains(body, step.contains) {
			t.Errorf("POST %s %s = %d %s; want %d with %q", step.path, step.body, status, body, step.status, step.contains)
		}
	}
	for path, contains := range map[string]string{
		"/woocommerce/orders": `"number": "13"`, "/woocommerce/missed": "7", "/woocommerce/deliveries": `"status": 503`, "/report": `"woocommerce"`,
	} {
		if body := get(t, w.Addresses().Control+path); !strings.Contains(body, contains) {
			t.Errorf("GET %s = %s, want %q", path, body, contains)
		}
	}
	if body := get(t, w.Addresses().WooCommerce+"/wp-json/wc/v3/orders"); !strings.Contains(body, "woocommerce_rest_cannot_view") {
		t.Errorf("without credentials: %s", body)
	}
	s := shopReport(t, w, "woocommerce")
	if s.Sold != 6 || s.Captured != 4 || s.Deliveries != 4 || s.Failures != 4 || s.Dropped != 2 || s.Polls != 1 {
		t.Errorf("report %+v", s)
	}
}

func TestControlDrivesBigCommerce(t *testing.T) {
	w := start(t, "bigcommerce: {firstOrderID: 7, items: [{sku: VIRAL}], retries: [1h], quota: {requests: 1, window: 1h}}")
	door := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), "created\"") {
			rw.WriteHeader(http.StatusAccepted)
		}
	}))
	defer door.Close()
	for _, step := range []struct {
		path, body string
		status     int
		contains   string
	}{
		{"/bigcommerce/target", `{"url":"nowhere"}`, 400, `not an http or https URL`},
		{"/bigcommerce/target", `{"url":"` + door.URL + `"}`, 200, door.URL},
		{"/bigcommerce/order", `{"lines":[{"sku":"VIRAL","quantity":2}],"unpaid":true}`, 200, `"status": "Awaiting Payment"`},
		{"/bigcommerce/update", `{"order":7,"quantity":3}`, 200, `"total_inc_tax": "75.0000"`},
		{"/bigcommerce/pay", `{"order":7}`, 200, `"status_id": 11`},
		{"/bigcommerce/refund", `{"order":7,"amount":"5.00"}`, 200, `"refunded_amount": "5.0000"`},
		{"/bigcommerce/cancel", `{"order":7}`, 200, `"status": "Cancelled"`},
		{"/bigcommerce/archive", `{"order":7}`, 200, `"is_deleted": true`},
		{"/bigcommerce/cancel", `{"order":9}`, 400, `no order 9`},
		{"/bigcommerce/sell", `{"count":0,"sku":"VIRAL"}`, 400, `count is 0`},
		{"/bigcommerce/mishaps", `{"drop":1}`, 200, `"drop": 1`},
		{"/bigcommerce/sell", `{"count":2,"sku":"VIRAL","wait":true}`, 200, `"lastOrder": 9`},
		{"/bigcommerce/mishaps", `{}`, 200, `{}`},
		{"/bigcommerce/sell", `{"count":3,"sku":"VIRAL","wait":true}`, 200, `"lastOrder": 12`},
		{"/bigcommerce/maintenance", `{"duration":"1ms"}`, 200, `"start"`},
	} {
		status, body := post(t, w, step.path, step.body)
		if status != step.status || !strings.Contains(body, step.contains) {
			t.Errorf("POST %s %s = %d %s; want %d with %q", step.path, step.body, status, body, step.status, step.contains)
		}
	}
	for path, contains := range map[string]string{
		"/bigcommerce/orders": `"id": 12`, "/bigcommerce/missed": "7", "/bigcommerce/deliveries": `"status": 202`, "/report": `"bigcommerce"`,
	} {
		if body := get(t, w.Addresses().Control+path); !strings.Contains(body, contains) {
			t.Errorf("GET %s = %s, want %q", path, body, contains)
		}
	}
	until(t, "maintenance is over and the one call of the quota is used", func() bool {
		return strings.Contains(get(t, w.Addresses().BigCommerce+"/stores/sftg45fsd/v2/orders"), "Unauthorized")
	})
	if body := get(t, w.Addresses().BigCommerce+"/stores/sftg45fsd/v2/orders"); !strings.Contains(body, "too many requests") {
		t.Errorf("beyond the quota: %s", body)
	}
	s := shopReport(t, w, "bigcommerce")
	if s.Sold != 6 || s.Captured != 4 || s.Deliveries != 4 || s.Failures == 0 || s.Dropped != 2 || s.Polls < 2 || w.Report().Throttled != 1 {
		t.Errorf("report %+v", s)
	}
}
