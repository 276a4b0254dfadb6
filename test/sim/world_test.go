package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
	"github.com/peppasync/peppasync/test/sim/twilio"
	"github.com/peppasync/peppasync/test/sim/wms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// courier is the smallest thing that a world can judge: it takes each webhook, and as soon as it has, sends the order to
// the WMS and then to the ERP, with a text where the WMS refuses.
type courier struct {
	t      *testing.T
	world  *sim.World
	client *http.Client
	queue  chan shopify.Order
	done   sync.WaitGroup
}

func newCourier(t *testing.T, w *sim.World) *courier {
	t.Helper()
	c := &courier{t: t, world: w, client: &http.Client{Transport: &http.Transport{}}, queue: make(chan shopify.Order, 10_000)}
	door := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var o shopify.Order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			t.Error(err)
		}
		c.queue <- o
	}))
	if err := w.Shop.SetTarget(door.URL); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		c.done.Go(func() {
			for o := range c.queue {
				c.carry(o)
			}
		})
	}
	t.Cleanup(func() {
		w.Shop.Close()
		door.Close()
		close(c.queue)
		c.done.Wait()
		c.client.CloseIdleConnections()
	})
	return c
}

func (c *courier) carry(o shopify.Order) {
	line := o.LineItems[0]
	configuration := ""
	for _, p := range line.Properties {
		configuration = p.Value
	}
	id := fmt.Sprintf("shopify-demo-%d", o.ID)
	status := c.send(http.MethodPut, c.world.Addresses().WMS+"/orders/"+id, wms.DefaultToken, map[string]any{
		"reference": o.Name, "lines": []any{map[string]any{"sku": line.SKU, "quantity": line.Quantity, "configuration": configuration}},
	})
	if status >= 400 {
		c.text(fmt.Sprintf("order %s was refused", o.Name))
		return
	}
	erp := c.world.Addresses().ERP + "/services/rest/record/v1/salesOrder/eid:" + id + "?replace=item"
	order := map[string]any{"entity": map[string]any{"id": "1"}, "otherRefNum": o.Name, "item": map[string]any{"items": []any{
		map[string]any{"item": map[string]any{"refName": line.SKU}, "quantity": line.Quantity},
	}}}
	for status = http.StatusServiceUnavailable; status == http.StatusServiceUnavailable; {
		status = c.send(http.MethodPut, erp, netsuite.DefaultToken, order)
	}
}

func (c *courier) send(method, address, token string, body any) int {
	encoded, err := json.Marshal(body)
	if err != nil {
		c.t.Error(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, address, bytes.NewReader(encoded))
	if err != nil {
		c.t.Error(err)
		return 0
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return c.status(r)
}

func (c *courier) text(body string) {
	form := url.Values{"To": {"+15551234567"}, "From": {"+15550000001"}, "Body": {body}}.Encode()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		c.world.Addresses().Twilio+"/2010-04-01/Accounts/"+twilio.DefaultAccountSID+"/Messages.json", strings.NewReader(form))
	if err != nil {
		c.t.Error(err)
		return
	}
	r.SetBasicAuth(twilio.DefaultAccountSID, twilio.DefaultAuthToken)
	c.status(r)
}

func (c *courier) status(r *http.Request) int {
	response, err := c.client.Do(r)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func start(t *testing.T, yaml string) *sim.World {
	t.Helper()
	cfg, err := sim.ParseConfig([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	w, err := sim.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

const scene = `
seed: 1
shop: {firstOrderNumber: 1, items: [{sku: VIRAL, available: 2000}]}
erp:
  items: [{sku: VIRAL, onHand: 2000}]
  limits: [{name: per-minute, calls: 100000, per: 1m}, {name: per-second, calls: 100000, per: 1s}]
`

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to this: " + what)
		}
	}
}

func post(t *testing.T, w *sim.World, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Addresses().Control+path, strings.NewReader(body))
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
	return response.StatusCode, string(data)
}

func TestTheWholeWorldJudgesACourier(t *testing.T) {
	w := start(t, scene)
	newCourier(t, w)
	if status, body := post(t, w, "/shop/sell", `{"count":300,"sku":"VIRAL","connections":16,"configurations":{"150":"CFG-A1"},"seed":1}`); status != 200 {
		t.Fatal(status, body)
	}
	until(t, "some of the orders are fed", func() bool { return w.ERP.Report().Orders >= 30 })
	if status, body := post(t, w, "/erp/maintenance", `{"duration":"200ms"}`); status != 200 {
		t.Fatal(status, body)
	}
	if status, body := post(t, w, "/erp/receipt", `{"sku":"VIRAL","quantity":500}`); status != 200 {
		t.Fatal(status, body)
	}
	until(t, "all but one are fed", func() bool { return w.Report().Fed == 299 && len(w.Report().Texts) == 1 })
	r := w.Report()
	if r.Sold != 300 || r.Captured != 300 || r.Acknowledged != 300 || r.WMSAccepted != 299 || r.Duplicates != 0 || r.Throttled != 0 || r.Lost != 0 {
		t.Errorf("report %+v", r)
	}
	if len(r.Unfed) != 1 || r.Unfed[0].Order != "#150" || !strings.Contains(r.Unfed[0].Cause, "CFG-A1") || len(r.WMSRefused) != 1 {
		t.Errorf("unfed %+v, refused %+v", r.Unfed, r.WMSRefused)
	}
	if r.Texts[0].Body != "order #150 was refused" {
		t.Errorf("texts %+v", r.Texts)
	}
	if got := r.ERPStock[0]; got.Available != 2000-299+500 || got.OnHand != 2500 {
		t.Errorf("stock at the ERP %+v", got)
	}
	if got := r.ShopStock[0]; got.Available != 1700 || got.Committed != 300 {
		t.Errorf("stock at the shop %+v", got)
	}
	if b := r.Balance[0]; b.Free != 2200 || b.Shown != 1700 || b.LargestOversold != 0 || b.GhostZeroMs != 0 || b.LargestOvershown != 0 {
		t.Errorf("balance %+v", b)
	}
	if len(r.Receipts) != 1 || r.Receipts[0].InShopAfterMs != nil {
		t.Errorf("receipts %+v; nobody has told the shop", r.Receipts)
	}
	if len(r.Maintenance) != 1 || r.Maintenance[0].FirstAcceptedAfterMs == nil || *r.Maintenance[0].FirstAcceptedAfterMs < 0 {
		t.Errorf("maintenance %+v", r.Maintenance)
	}
	if len(r.Limits) != 2 || r.Limits[0].System != "erp" || r.Limits[0].Largest != r.Calls["erp"] || r.Limits[1].Largest > r.Limits[0].Largest {
		t.Errorf("limits %+v, calls %v", r.Limits, r.Calls)
	}
	if r.OrdersPerMinute <= 0 || r.CallsPerMinute < r.OrdersPerMinute || r.FirstAccepted == nil || !r.LastAccepted.After(*r.FirstAccepted) {
		t.Errorf("pace %v orders and %v calls a minute", r.OrdersPerMinute, r.CallsPerMinute)
	}
}

func TestAWorldWithoutAnEngineLosesWhatItCaptured(t *testing.T) {
	w := start(t, scene)
	door := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer door.Close()
	if status, body := post(t, w, "/shop/target", `{"url":"`+door.URL+`"}`); status != 200 {
		t.Fatal(status, body)
	}
	if status, body := post(t, w, "/shop/sell", `{"count":20,"sku":"VIRAL","wait":true}`); status != 200 || !strings.Contains(body, `"lastOrder": "#20"`) {
		t.Fatal(status, body)
	}
	if r := w.Report(); r.Captured != 20 || r.Lost != 20 || r.Unfed[0].Order != "#1" || r.Unfed[19].Order != "#20" {
		t.Errorf("captured %d, lost %d", r.Captured, r.Lost)
	}
}

func TestOrdersThatNobodyWaitsForAreNotLost(t *testing.T) {
	w := start(t, scene)
	door := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer door.Close()
	if err := w.Shop.SetTarget(door.URL); err != nil {
		t.Fatal(err)
	}
	for _, unpaid := range []bool{false, false, true, true} {
		if _, err := w.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: "VIRAL", Quantity: 1}}, Unpaid: unpaid}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"#2", "#4"} {
		if _, err := w.Shop.Cancel(name); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all are captured", func() bool { return w.Report().Captured == 4 })
	r := w.Report()
	if r.Lost != 1 || r.CancelledUnfed != 2 || r.UnpaidUnfed != 1 || len(r.Unfed) != 4 {
		t.Errorf("lost %d, cancelled %d, unpaid %d of %+v; want 1, 2 and 1 of 4", r.Lost, r.CancelledUnfed, r.UnpaidUnfed, r.Unfed)
	}
	if !r.Unfed[0].Lost() || r.Unfed[1].Lost() || !r.Unfed[1].Cancelled || !r.Unfed[2].Unpaid || r.Unfed[3].Unpaid {
		t.Errorf("unfed %+v", r.Unfed)
	}
	if _, err := w.Shop.MarkPaid("#3"); err != nil {
		t.Fatal(err)
	}
	if r := w.Report(); r.Lost != 2 || r.UnpaidUnfed != 0 {
		t.Errorf("#3 is paid: lost %d, unpaid %d", r.Lost, r.UnpaidUnfed)
	}
}

func TestGhostZerosAndReceiptsAreSeen(t *testing.T) {
	w := start(t, `
shop: {items: [{sku: RARE, available: 1}]}
erp: {items: [{sku: RARE, onHand: 1}]}`)
	if _, err := w.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: "RARE", Quantity: 1}}}); err != nil {
		t.Fatal(err)
	}
	if b := w.Report().Balance[0]; b.Free != 0 || b.Shown != 0 || b.GhostZeroMs != 0 {
		t.Errorf("sold out for real: %+v", b)
	}
	if _, err := w.ERP.BookReceipt("RARE", 5); err != nil {
		t.Fatal(err)
	}
	until(t, "a ghost zero of 20 ms", func() bool { return w.Report().Balance[0].GhostZeroMs >= 20 })
	setAvailable(t, w, 5, 0)
	r := w.Report()
	if b := r.Balance[0]; b.Free != 5 || b.Shown != 5 || b.GhostZeroMs < 20 || b.LongestGhostZeroMs != b.GhostZeroMs || b.LargestOvershown != 0 {
		t.Errorf("balance %+v", b)
	}
	if after := r.Receipts[0].InShopAfterMs; after == nil || *after < 20 {
		t.Errorf("receipt in the shop after %v", after)
	}
	setAvailable(t, w, 7, 5)
	for range 7 {
		if _, err := w.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: "RARE", Quantity: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.Report(); r.OversoldUnits != 2 || r.Balance[0].LargestOvershown != 2 {
		t.Errorf("oversold %d, balance %+v", r.OversoldUnits, r.Balance[0])
	}
}

func setAvailable(t *testing.T, w *sim.World, quantity, from int) {
	t.Helper()
	query := fmt.Sprintf(`mutation { inventorySetQuantities(input: {name: "available", reason: "correction", quantities: [{
		inventoryItemId: "gid://shopify/InventoryItem/5000001", locationId: "gid://shopify/Location/1", quantity: %d, changeFromQuantity: %d}]})
		@idempotent(key: "%d-%d") { userErrors { code } } }`, quantity, from, quantity, from)
	encoded, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/admin/api/"+shopify.DefaultAPIVersion+"/graphql.json", bytes.NewReader(encoded))
	r.Header.Set("X-Shopify-Access-Token", shopify.DefaultToken)
	rw := httptest.NewRecorder()
	w.Shop.ServeHTTP(rw, r)
	if !strings.Contains(rw.Body.String(), `"userErrors":[]`) {
		t.Fatal(rw.Body)
	}
}

func TestControlDrivesEverySystem(t *testing.T) {
	w := start(t, scene)
	for _, step := range []struct {
		path, body string
		status     int
		contains   string
	}{
		{"/shop/order", `{"lines":[{"sku":"VIRAL","quantity":2}],"unpaid":true}`, 200, `"name": "#1"`},
		{"/shop/update", `{"order":"#1","quantity":3}`, 200, `"current_quantity": 3`},
		{"/shop/pay", `{"order":"#1"}`, 200, `"financial_status": "paid"`},
		{"/shop/resend", `{"order":"#1"}`, 200, `orders/create`},
		{"/shop/replay", `{"order":"#1"}`, 200, `orders/create`},
		{"/shop/cancel", `{"order":"#1"}`, 200, `"cancel_reason": "customer"`},
		{"/shop/cancel", `{"order":"#9"}`, 400, `no order \"#9\"`},
		{"/shop/sell", `{"count":1,"sku":"GHOST"}`, 400, `no item with the sku`},
		{"/shop/sell", `{"cuont":1}`, 400, `unknown field`},
		{"/shop/mishaps", `{"drop":2}`, 400, `share between 0 and 1`},
		{"/shop/mishaps", `{"drop":0.5,"topics":["orders/paid"]}`, 200, `orders/paid`},
		{"/erp/mishaps", `{}`, 400, `sends no webhooks; shop, woocommerce and bigcommerce do`},
		{"/shop/target", `{"url":"nowhere"}`, 400, `not an http or https URL`},
		{"/erp/receipt", `{"sku":"GHOST","quantity":1}`, 400, `no item has the sku`},
		{"/erp/faults", `[{"kind":"slow","delay":"1ms"}]`, 200, `"kind": "slow"`},
		{"/erp/faults", `[{"kind":"explode"}]`, 400, `unknown`},
		{"/wms/faults", `[]`, 200, `[]`},
		{"/twilio/maintenance", `{}`, 200, `"start"`},
		{"/twilio/maintenance", `{}`, 400, `already on`},
		{"/twilio/maintenance", `{"stop":true}`, 200, `"end"`},
		{"/bank/maintenance", `{}`, 400, `the systems are shop, woocommerce, bigcommerce, erp, wms and twilio`},
		{"/wms/configurations", `{"name":"CFG-A1"}`, 200, `CFG-A1`},
		{"/wms/configurations", `{}`, 400, `name is missing`},
	} {
		status, body := post(t, w, step.path, step.body)
		if status != step.status || !strings.Contains(body, step.contains) {
			t.Errorf("POST %s %s = %d %s; want %d with %q", step.path, step.body, status, body, step.status, step.contains)
		}
	}
	for path, contains := range map[string]string{
		"/report": `"sold": 1`, "/addresses": w.Addresses().ERP, "/shop/deliveries": `orders/cancelled`, "/shop/changes": `"cause": "sale"`,
		"/shop/orders": `"name": "#1"`, "/shop/missed": `#1`,
		"/erp/orders": `[]`, "/erp/movements": `"start"`, "/wms/orders": `{}`, "/erp/history?externalId=x": `no order`,
	} {
		response, err := http.Get(w.Addresses().Control + path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !strings.Contains(string(data), contains) {
			t.Errorf("GET %s = %d %s, want %q", path, response.StatusCode, data, contains)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if calls := w.Report().Calls; calls["shop"]+calls["erp"]+calls["wms"]+calls["twilio"] != 0 {
		t.Errorf("control counts as calls: %v", calls)
	}
}

func TestConfigurationsAreStrict(t *testing.T) {
	for wanted, text := range map[string]string{
		"unknown field": "shop: {colour: red}", "cannot unmarshal": "shop: [1]", "did not find expected": "shop: {", "1m30s": "erp: {penalty: 5}",
	} {
		if _, err := sim.ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%q = %v, want an error about %q", text, err, wanted)
		}
	}
	if cfg, err := sim.ParseConfig([]byte(`{"erp": {"concurrency": 15, "penalty": "2h"}}`)); err != nil || cfg.ERP.Concurrency != 15 || cfg.ERP.Penalty.Std() != 2*time.Hour {
		t.Errorf("JSON: %+v, %v", cfg.ERP, err)
	}
	if _, err := sim.ParseConfig(nil); err != nil {
		t.Errorf("an empty configuration: %v", err)
	}
	if _, err := sim.LoadConfig("does-not-exist.yaml"); err == nil {
		t.Error("a file that is not there is read")
	}
	w := start(t, "")
	cfg := sim.Config{Listen: sim.Listen{Control: strings.TrimPrefix(w.Addresses().ERP, "http://")}}
	if _, err := sim.Start(cfg); err == nil || !strings.Contains(err.Error(), "control") {
		t.Errorf("an address in use: %v", err)
	}
	if _, err := sim.Start(sim.Config{ERP: netsuite.Config{Items: []netsuite.Item{{}}}}); err == nil {
		t.Error("a wrong item master starts")
	}
}
