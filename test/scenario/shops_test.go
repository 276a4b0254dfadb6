package scenario

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/bigcommerce"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/retail"
	"github.com/peppasync/peppasync/test/sim/wms"
	"github.com/peppasync/peppasync/test/sim/woocommerce"
)

// shopsManifest are two shops whose orders go to the warehouse. All that the store says
// of an order is read through its quota.
const shopsManifest = `
apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: store}
spec:
  system: BigCommerce
  endpoint: %s/stores/sftg45fsd
  auth: {secretRef: {name: store}}
  webhook: {secretRef: {name: store-webhook}}
  limits:
    - {name: quota, rollingWindow: {calls: 30, per: 2s}}
    - {name: parallel, concurrency: {calls: 4}}
---
apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: woo}
spec:
  system: WooCommerce
  endpoint: %s
  auth: {secretRef: {name: woo}}
  webhook: {secretRef: {name: woo-webhook}}
  limits:
    - {name: per-minute, rollingWindow: {calls: 600, per: 1m}}
---
apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: wms}
spec:
  system: HTTP
  endpoint: %s
  auth: {secretRef: {name: wms}}
  limits:
    - {name: per-minute, rollingWindow: {calls: 6000, per: 1m}}
  http:
    operations:
      - {name: putOrder, method: PUT, path: "/orders/{externalId}", effect: Idempotent}
    probePath: /health
---
apiVersion: peppasync.io/v1alpha1
kind: Flow
metadata: {name: orders}
spec:
  from:
    - connector: store
      topics: [store/order/created, store/order/updated, store/order/statusUpdated]
    - connector: woo
      topics: [order.created, order.updated, order.deleted]
  when: order.financial_status != "pending"
  deliver:
    - name: warehouse
      connector: wms
      operation: putOrder
      mapping: |
        {
          "externalId": externalId,
          "reference": order.name + " of " + order.source + (has(order.cancelled_at) ? ", cancelled" : ""),
          "lines": order.lines.map(l, {"sku": l.sku, "quantity": l.quantity}),
          "shipTo": {"postalCode": order.shipping_address.postal_code}
        }
`

const storeToken = "what-the-store-shows"

// openShops starts both shops and the warehouse, and the product between them. The shops'
// webhooks were made by hand; those of the store show no secret, and are signed.
func openShops(t *testing.T) (*sim.World, *runner.Product) {
	t.Helper()
	world, product := startShops(t, map[string]string{"clientSecret": bigcommerce.DefaultClientSecret})
	if err := world.BigCommerce.SetTarget(product.WebhookURL("store")); err != nil {
		t.Fatal(err)
	}
	if err := world.WooCommerce.SetTarget(product.WebhookURL("woo")); err != nil {
		t.Fatal(err)
	}
	return world, product
}

// startShops starts them without a webhook; those of the store are known by the secret.
func startShops(t *testing.T, secret map[string]string, change ...func(*bigcommerce.Config)) (*sim.World, *runner.Product) {
	t.Helper()
	items := []retail.Item{{SKU: "VIRAL-1"}}
	store := bigcommerce.Config{
		Items: items, CheckoutUpdates: true,
		// A window of its own would begin anywhere in one of ours.
		Quota: bigcommerce.Quota{Requests: 30, Window: jsontime.Duration(2 * time.Second)},
		// Sent again soon, so that a kill of the product does not cost a minute.
		Retries: []jsontime.Duration{seconds(0.3), seconds(1), seconds(3), seconds(10)}, Blocklist: bigcommerce.Blocklist{Minimum: -1},
		Activation: seconds(0.1),
	}
	for _, c := range change {
		c(&store)
	}
	world, err := sim.Start(sim.Config{
		BigCommerce: store,
		WooCommerce: woocommerce.Config{Items: items, GMTOffset: "+09:30"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	folder, at := t.TempDir(), world.Addresses()
	product := &runner.Product{
		Binary: binary(t, true), Files: filepath.Join(folder, "config"), Secrets: filepath.Join(folder, "secrets"), Data: filepath.Join(folder, "data"),
	}
	if err := os.Mkdir(product.Files, 0o700); err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Appendf(nil, shopsManifest, at.BigCommerce, at.WooCommerce, at.WMS)
	if err := os.WriteFile(filepath.Join(product.Files, "shops.yaml"), manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	err = runner.WriteSecrets(product.Secrets, map[string]map[string]string{
		"store": {"accessToken": bigcommerce.DefaultToken}, "store-webhook": secret,
		"woo":         {"consumerKey": woocommerce.DefaultConsumerKey, "consumerSecret": woocommerce.DefaultConsumerSecret},
		"woo-webhook": {"secret": woocommerce.DefaultWebhookSecret},
		"wms":         {"token": wms.DefaultToken},
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(folder, "product.log"))
	if err != nil {
		t.Fatal(err)
	}
	product.Log = log
	t.Cleanup(func() {
		if err := product.Stop(); err != nil {
			t.Error(err)
		}
		_ = log.Close()
		if t.Failed() {
			showLog(t, log.Name())
		}
	})
	if err := product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return world, product
}

// lookAfterWebhooks stops the product and has it make and mend both shops' webhooks from
// its next start on.
func lookAfterWebhooks(t *testing.T, product *runner.Product) {
	t.Helper()
	if err := product.Stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(product.Files, "shops.yaml")
	manifest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, shop := range []string{"store", "woo"} {
		before := fmt.Sprintf("webhook: {secretRef: {name: %s-webhook}}", shop)
		after := fmt.Sprintf("webhook: {secretRef: {name: %s-webhook}, address: %q}\n  reconcile: {every: 5s, overlap: 5s, lookBack: 1h}", shop, product.WebhookURL(shop))
		manifest = bytes.ReplaceAll(manifest, []byte(before), []byte(after))
	}
	if err := os.WriteFile(file, manifest, 0o600); err != nil {
		t.Fatal(err)
	}
}

// at returns what the warehouse has of an order.
func at(world *sim.World, shop string, id int64) (wms.Order, bool) {
	order, ok := world.WMS.Orders()[fmt.Sprintf("%s-%d", shop, id)]
	return order, ok
}

// TestAStoreThatOnlyNamesItsOrders sells at a store whose webhooks only name an order,
// through an outage of its API and a kill of the product. Every order arrives once, as
// it is in the end, and the store's quota holds.
func TestAStoreThatOnlyNamesItsOrders(t *testing.T) {
	t.Parallel()
	world, product := openShops(t)
	store := world.BigCommerce
	if err := store.SetFaults([]faults.Rule{{Kind: faults.Unavailable, Operations: []string{bigcommerce.OpReadOrder}}}); err != nil {
		t.Fatal(err)
	}
	const sold = 12
	var ids []int64
	for range sold {
		order, err := store.SellOne(retail.Spec{Lines: []retail.Line{{SKU: "VIRAL-1", Quantity: 2}}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, order.ID)
	}
	until(t, soon, "all are captured while the store's API is down", func() bool { return len(store.Captured()) == sold })
	if err := product.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(ids[0], retail.Edit{Quantity: 5}); err != nil {
		t.Fatal(err)
	}
	if err := product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(world.WMS.Orders()) != 0 {
		t.Errorf("the warehouse has %v of orders that nobody could read", world.WMS.Orders())
	}
	if err := store.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(ids[1], retail.Edit{Quantity: 7}); err != nil {
		t.Fatal(err)
	}
	want := map[int64]int{ids[0]: 5, ids[1]: 7}
	until(t, time.Minute, "the warehouse has every order as it is", func() bool {
		for _, id := range ids {
			order, ok := at(world, "store", id)
			quantity := 2
			if want[id] > 0 {
				quantity = want[id]
			}
			if !ok || len(order.Lines) != 1 || order.Lines[0].Quantity != quantity || order.Lines[0].SKU != "VIRAL-1" {
				return false
			}
		}
		return true
	})
	// One of them is cancelled, and one was never ordered.
	if _, err := store.Cancel(ids[2]); err != nil {
		t.Fatal(err)
	}
	until(t, time.Minute, "the warehouse knows that one is cancelled", func() bool {
		order, _ := at(world, "store", ids[2])
		return strings.HasSuffix(order.Reference, "cancelled")
	})
	report, warehouse := store.Report(), world.WMS.Report()
	if report.QuotaThrottled != 0 || warehouse.Accepted != sold || warehouse.DuplicateOrders != 0 || warehouse.DuplicateReferences != 0 {
		t.Errorf("the quota refused %d calls; the warehouse has %d orders, %d and %d of them twice", report.QuotaThrottled, warehouse.Accepted,
			warehouse.DuplicateOrders, warehouse.DuplicateReferences)
	}
	t.Logf("%d orders, %d webhooks, %d reads", sold, report.Webhooks.Attempts, report.Reads)
}

// TestAWooCommerceShop sells, edits and trashes orders. What is in the trash is only
// named, and read.
func TestAWooCommerceShop(t *testing.T) {
	t.Parallel()
	world, product := openShops(t)
	woo := world.WooCommerce
	hook := fmt.Appendf(nil, `{"topic":"order.deleted","delivery_url":%q,"secret":%q}`, product.WebhookURL("woo"), woocommerce.DefaultWebhookSecret)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, world.Addresses().WooCommerce+"/wp-json/wc/v3/webhooks", bytes.NewReader(hook))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(woocommerce.DefaultConsumerKey, woocommerce.DefaultConsumerSecret)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if pings := woo.Report(); response.StatusCode != http.StatusCreated || pings.Pings != 1 || pings.PingFailures != 0 {
		t.Errorf("making a webhook: status %d, %d of %d pings failed", response.StatusCode, pings.PingFailures, pings.Pings)
	}
	var ids []int64
	for range 5 {
		order, err := woo.SellOne(retail.Spec{Lines: []retail.Line{{SKU: "VIRAL-1", Quantity: 2}}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, order.ID)
	}
	until(t, soon, "the warehouse has all five", func() bool { return len(world.WMS.Orders()) == len(ids) })
	// An edit in the second in which the order was made would have it read.
	made := time.Now().Truncate(time.Second)
	until(t, soon, "another second", func() bool { return time.Now().Truncate(time.Second).After(made) })
	if _, err := woo.Update(ids[0], retail.Edit{Quantity: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := woo.Trash(ids[1]); err != nil {
		t.Fatal(err)
	}
	until(t, soon, "the warehouse knows of the edit and of the trash", func() bool {
		edited, _ := at(world, "woo", ids[0])
		trashed, _ := at(world, "woo", ids[1])
		return len(edited.Lines) == 1 && edited.Lines[0].Quantity == 5 && strings.HasSuffix(trashed.Reference, "cancelled")
	})
	if report := woo.Report(); report.Reads != 1 || report.Missed != 0 || report.Webhooks.Failures != 0 {
		t.Errorf("%d reads, want the one of the trashed order; %d missed, %d webhooks failed", report.Reads, report.Missed, report.Webhooks.Failures)
	}
}

// TestWhatTwoShopsDoNotTell begins without webhooks, loses all that are sent, and has the
// product away until a shop gives up on it. Orders that were missed are asked for, and the
// webhooks are made, and turned on again, by the product.
func TestWhatTwoShopsDoNotTell(t *testing.T) {
	t.Parallel()
	world, product := startShops(t, map[string]string{"secret": storeToken})
	woo, store := world.WooCommerce, world.BigCommerce
	// One that is stopped while it asks leaves a shop to the next for a minute.
	const afterLease = 2 * time.Minute
	want := map[string]map[int64]int{"woo": {}, "store": {}}
	sell := func(count int) {
		t.Helper()
		for range count {
			spec := retail.Spec{Lines: []retail.Line{{SKU: "VIRAL-1", Quantity: 2}}}
			sold, err := woo.SellOne(spec)
			if err != nil {
				t.Fatal(err)
			}
			named, err := store.SellOne(spec)
			if err != nil {
				t.Fatal(err)
			}
			want["woo"][sold.ID], want["store"][named.ID] = 2, 2
		}
	}
	arrived := func() bool {
		for shop, orders := range want {
			for id, quantity := range orders {
				if order, ok := at(world, shop, id); !ok || len(order.Lines) != 1 || order.Lines[0].Quantity != quantity {
					return false
				}
			}
		}
		return true
	}
	watched := func() bool {
		on := map[string]int{}
		for _, h := range woo.Report().Hooks {
			if h.DeliveryURL == product.WebhookURL("woo") && h.Status == "active" {
				on[h.Topic]++
			}
		}
		for _, h := range store.Report().Hooks {
			if h.Destination == product.WebhookURL("store") && h.IsActive {
				on[h.Scope]++
			}
		}
		for _, topic := range []string{"order.created", "order.updated", "order.deleted", "store/order/created", "store/order/updated", "store/order/statusUpdated"} {
			if on[topic] != 1 {
				return false
			}
		}
		return true
	}
	lookAfterWebhooks(t, product)
	sell(5) // nobody is told
	if err := product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, afterLease, "each shop has the webhooks that the flow needs, once", watched)
	until(t, afterLease, "the orders of before are there", arrived)
	lost := faults.Mishaps{Drop: 1}
	for _, set := range []func(faults.Mishaps) error{woo.SetMishaps, store.SetMishaps} {
		if err := set(lost); err != nil {
			t.Fatal(err)
		}
	}
	sell(5)
	for id := range want["woo"] {
		if _, err := woo.Update(id, retail.Edit{Quantity: 3}); err != nil {
			t.Fatal(err)
		}
		want["woo"][id] = 3
		break
	}
	for id := range want["store"] {
		if _, err := store.Update(id, retail.Edit{Quantity: 4}); err != nil {
			t.Fatal(err)
		}
		want["store"][id] = 4
		break
	}
	// A list of orders of any status has none in the trash.
	var trashed int64
	for id, quantity := range want["woo"] {
		if quantity != 2 {
			continue
		}
		if _, err := woo.Trash(id); err != nil {
			t.Fatal(err)
		}
		trashed = id
		break
	}
	until(t, afterLease, "what was lost is there", arrived)
	until(t, afterLease, "what was put into the trash is cancelled", func() bool {
		order, _ := at(world, "woo", trashed)
		return strings.HasSuffix(order.Reference, "cancelled")
	})
	for _, set := range []func(faults.Mishaps) error{woo.SetMishaps, store.SetMishaps} {
		if err := set(faults.Mishaps{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := product.Stop(); err != nil {
		t.Fatal(err)
	}
	for disabled := woo.Report().Disabled; woo.Report().Disabled == disabled; {
		sell(1)
		if err := woo.WaitDelivered(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, afterLease, "what the shop gave up on is on again", watched)
	sell(2)
	until(t, afterLease, "everything is there", arrived)
	warehouse := world.WMS.Report()
	if sold := len(want["woo"]) + len(want["store"]); warehouse.Accepted != sold || warehouse.DuplicateOrders != 0 || warehouse.DuplicateReferences != 0 {
		t.Errorf("the warehouse has %d orders of %d, %d and %d of them twice", warehouse.Accepted, sold, warehouse.DuplicateOrders, warehouse.DuplicateReferences)
	}
	if throttled := store.Report().QuotaThrottled; throttled != 0 {
		t.Errorf("the quota refused %d calls", throttled)
	}
}

// TestTheSecretOfAStoreChanges sells on while the secret changes that a store's webhooks
// show. They are made anew with the new one, and no event is refused on the way, nor once
// the old one is gone.
func TestTheSecretOfAStoreChanges(t *testing.T) {
	t.Parallel()
	world, product := startShops(t, map[string]string{"secret": storeToken})
	store := world.BigCommerce
	lookAfterWebhooks(t, product)
	if err := product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const afterLease, scopes = 2 * time.Minute, 3
	shows := func(secret string) func() bool {
		return func() bool {
			there := 0
			for _, h := range store.Report().Hooks {
				if h.IsActive && h.Destination == product.WebhookURL("store") && h.Headers["X-Peppasync-Token"] == secret {
					there++
				}
			}
			return there == scopes
		}
	}
	until(t, afterLease, "the webhooks are made", shows(storeToken))
	var ids []int64
	sell := func() {
		t.Helper()
		order, err := store.SellOne(retail.Spec{Lines: []retail.Line{{SKU: "VIRAL-1", Quantity: 2}}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, order.ID)
	}
	sell()
	const next = "what-the-store-shows-next"
	put := func(keys map[string]string) {
		t.Helper()
		if err := runner.WriteSecrets(product.Secrets, map[string]map[string]string{"store-webhook": keys}); err != nil {
			t.Fatal(err)
		}
	}
	put(map[string]string{"previousSecret": storeToken}) // two files, and at no time is the old one in neither
	put(map[string]string{"secret": next})
	anew := shows(next)
	until(t, afterLease, "the webhooks show the new one", func() bool {
		if len(ids) < 40 {
			sell()
		}
		return anew()
	})
	if err := store.WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(product.Secrets, "store-webhook", "previousSecret")); err != nil {
		t.Fatal(err)
	}
	sell()
	until(t, afterLease, "the warehouse has every order", func() bool {
		for _, id := range ids {
			if _, ok := at(world, "store", id); !ok {
				return false
			}
		}
		return true
	})
	if report := store.Report(); report.Webhooks.Failures != 0 || report.Missed != 0 || len(report.Hooks) != scopes {
		t.Errorf("%d webhooks were refused, %d orders missed; want none: %+v", report.Webhooks.Failures, report.Missed, report.Hooks)
	}
}

// TestAStoreCoversWhatItsWebhooksShow looks again and again after webhooks of which nobody
// can see whether they show the secret. They are made once, and left alone.
func TestAStoreCoversWhatItsWebhooksShow(t *testing.T) {
	t.Parallel()
	world, product := startShops(t, map[string]string{"secret": storeToken}, func(c *bigcommerce.Config) { c.CoverHeaders = true })
	store := world.BigCommerce
	lookAfterWebhooks(t, product)
	if err := product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	const afterLease, scopes, looks = 2 * time.Minute, 3, 2 // one each 5 s, the least that a Connector may say
	calls := func() map[string]int { return store.Report().ByOperation }
	until(t, afterLease, "the webhooks are made", func() bool { return calls()[bigcommerce.OpCreateWebhook] == scopes })
	before := calls()[bigcommerce.OpListWebhooks]
	until(t, afterLease, "they are looked at", func() bool { return calls()[bigcommerce.OpListWebhooks] >= before+looks })
	if made, put := calls()[bigcommerce.OpCreateWebhook], calls()[bigcommerce.OpUpdateWebhook]; made != scopes || put != 0 {
		t.Errorf("%d webhooks were made and %d put again, though nothing has changed; want %d and none", made, put, scopes)
	}
	order, err := store.SellOne(retail.Spec{Lines: []retail.Line{{SKU: "VIRAL-1", Quantity: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, afterLease, "the warehouse has the order", func() bool {
		_, ok := at(world, "store", order.ID)
		return ok
	})
	if report := store.Report(); report.Webhooks.Failures != 0 || report.Missed != 0 {
		t.Errorf("%d webhooks were refused, %d orders missed; want none", report.Webhooks.Failures, report.Missed)
	}
}
