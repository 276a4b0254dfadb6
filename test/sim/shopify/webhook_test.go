package shopify_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/shopify"
	"github.com/peppasync/peppasync/test/sim/simtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hook is one request that a receiver got.
type hook struct {
	header http.Header
	body   string
	order  shopify.Order
}

func newReceiver(t *testing.T, answer func(n int, h hook, w http.ResponseWriter)) *simtest.Receiver[hook] {
	t.Helper()
	return simtest.NewReceiver(t, func(header http.Header, body string) hook {
		h := hook{header: header, body: body}
		if err := json.Unmarshal([]byte(body), &h.order); err != nil {
			t.Errorf("webhook is not an order: %v", err)
		}
		return h
	}, answer)
}

func newShop(t *testing.T, cfg shopify.Config) *shopify.Shop {
	t.Helper()
	if cfg.Items == nil {
		cfg.Items = []shopify.Item{{SKU: "VIRAL", Available: 2000, Price: "19.90"}, {SKU: "RARE", Available: 1}, {SKU: "MADE", ContinueSelling: true}}
	}
	s, err := shopify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func delivered(t *testing.T, s *shopify.Shop) {
	t.Helper()
	simtest.Within(t, s.WaitDelivered)
}

func finished(t *testing.T, s *shopify.Sale) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the burst does not end")
	}
}

func one(sku string) shopify.OrderSpec {
	return shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: sku, Quantity: 1}}}
}

var fastRetries = []jsontime.Duration{jsontime.Duration(time.Millisecond), jsontime.Duration(2 * time.Millisecond)}

func TestWebhookIsSignedAndWhole(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, shopify.Config{Target: r.URL, FirstOrderNumber: 1, OrderIDBase: 9_007_199_254_740_000_000, WebhookSecret: "s3cret"})
	sold, err := s.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: "VIRAL", Quantity: 3, Configuration: "CFG-A1"}}})
	if err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	h := r.All()[0]
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(h.body))
	for name, want := range map[string]string{
		"X-Shopify-Hmac-Sha256": base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		"X-Shopify-Topic":       "orders/create", "X-Shopify-Shop-Domain": shopify.DefaultDomain,
		"X-Shopify-Api-Version": shopify.DefaultAPIVersion, "Content-Type": "application/json",
	} {
		if got := h.header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"X-Shopify-Webhook-Id", "X-Shopify-Event-Id"} {
		if len(h.header.Get(name)) != 36 {
			t.Errorf("%s = %q", name, h.header.Get(name))
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, h.header.Get("X-Shopify-Triggered-At")); err != nil {
		t.Error(err)
	}
	o := h.order
	if o.Name != "#1" || o.ID != 9_007_199_254_740_000_001 || o.AdminGraphQLID != "gid://shopify/Order/9007199254740000001" || o.TotalPrice != "59.70" ||
		o.FinancialStatus != "paid" || o.Name != sold.Name {
		t.Errorf("order %+v", o)
	}
	line := o.LineItems[0]
	if line.SKU != "VIRAL" || line.Quantity != 3 || line.Properties[0] != (shopify.Property{Name: "_configuration", Value: "CFG-A1"}) {
		t.Errorf("line %+v", line)
	}
	if !strings.Contains(h.body, `"cancelled_at":null`) || !strings.Contains(h.body, `"price":"19.90"`) {
		t.Errorf("body %s", h.body)
	}
	if w := s.Report().Webhooks; w.Acknowledged != 1 || w.P50Ms <= 0 || w.P99Ms < w.P50Ms || w.MaxMs < w.P99Ms {
		t.Errorf("webhooks %+v", w)
	}
}

func TestRetriesSendTheOriginalPayloadUntilOneIsTaken(t *testing.T) {
	for name, refuse := range map[string]func(w http.ResponseWriter){
		"503":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"redirect": func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(http.StatusFound) },
		"cut":      func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan struct{})
			edited := make(chan struct{})
			r := newReceiver(t, func(n int, h hook, w http.ResponseWriter) {
				if h.header.Get("X-Shopify-Topic") != "orders/create" || n > 2 {
					return
				}
				if n == 1 {
					close(failed)
					<-edited // the order changes before the first attempt has failed
				}
				refuse(w)
			})
			s := newShop(t, shopify.Config{Target: r.URL, Retries: fastRetries})
			o, err := s.SellOne(one("VIRAL"))
			if err != nil {
				t.Fatal(err)
			}
			<-failed
			if _, err := s.Update(o.Name, shopify.Edit{Note: "later"}); err != nil {
				t.Fatal(err)
			}
			close(edited)
			delivered(t, s)
			var creates, updates []hook
			for _, h := range r.All() {
				if h.header.Get("X-Shopify-Topic") == "orders/create" {
					creates = append(creates, h)
				} else {
					updates = append(updates, h)
				}
			}
			if len(creates) < 2 || len(updates) != 1 {
				t.Fatalf("%d creates, %d updates", len(creates), len(updates))
			}
			for _, h := range creates[1:] {
				if h.body != creates[0].body || h.header.Get("X-Shopify-Webhook-Id") != creates[0].header.Get("X-Shopify-Webhook-Id") {
					t.Error("a retry differs from the first attempt")
				}
			}
			if updates[0].order.UpdatedAt <= creates[0].order.UpdatedAt || *updates[0].order.Note != "later" {
				t.Errorf("update at %s after %s", updates[0].order.UpdatedAt, creates[0].order.UpdatedAt)
			}
			if rep := s.Report(); rep.Captured != 1 || rep.Webhooks.Retries != len(creates)-1 || rep.Webhooks.Failures != len(creates)-1 {
				t.Errorf("report %+v", rep.Webhooks)
			}
		})
	}
}

func TestSubscriptionIsDeletedAfterTheLastRetry(t *testing.T) {
	r := newReceiver(t, func(_ int, _ hook, w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) })
	s := newShop(t, shopify.Config{Target: r.URL, Retries: fastRetries})
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	w := s.Report().Webhooks
	if w.Attempts != 3 || w.GivenUp != 1 || !w.SubscriptionDeleted || w.Undelivered != 1 || len(r.All()) != 3 {
		t.Errorf("webhooks %+v", w)
	}
}

func TestSlowReceiverFailsTheDelivery(t *testing.T) {
	release := make(chan struct{})
	r := newReceiver(t, func(n int, _ hook, _ http.ResponseWriter) {
		if n == 1 {
			<-release
		}
	})
	t.Cleanup(func() { close(release) })
	s := newShop(t, shopify.Config{Target: r.URL, Retries: fastRetries, Timeout: jsontime.Duration(100 * time.Millisecond)})
	if _, err := s.SellOne(one("VIRAL")); err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	if w := s.Report().Webhooks; w.Failures < 1 || w.Acknowledged != 1 || w.ByStatus["none"] < 1 {
		t.Errorf("webhooks %+v", w)
	}
}

func TestBurstRepeatsAndReordersBySeed(t *testing.T) {
	run := func(seed uint64) (names []string, repeats int) {
		r := newReceiver(t, nil)
		s := newShop(t, shopify.Config{Target: r.URL, FirstOrderNumber: 1})
		sale, err := s.Sell(shopify.Burst{
			Count: 100, SKU: "VIRAL", Connections: 1, Duplicates: 0.2, Reorder: 0.2, ReorderDelay: jsontime.Duration(50 * time.Millisecond), Seed: seed,
			Configurations: map[int64]string{50: "CFG-A1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		finished(t, sale)
		delivered(t, s)
		seen := make(map[string]bool)
		for _, h := range r.All() {
			id := h.header.Get("X-Shopify-Webhook-Id")
			if seen[id] {
				continue
			}
			seen[id] = true
			names = append(names, h.order.Name)
			if configured := len(h.order.LineItems[0].Properties) == 1; configured != (h.order.Name == "#50") {
				t.Errorf("order %s has properties %v", h.order.Name, h.order.LineItems[0].Properties)
			}
		}
		if got := sale.Result(); got != (shopify.BurstResult{Sold: 100, FirstOrder: "#1", LastOrder: "#100"}) {
			t.Errorf("result %+v", got)
		}
		s.Close() // repeats of webhooks that were held back end with the shop
		return names, s.Report().Webhooks.Repeats
	}
	names, repeats := run(1)
	if len(names) != 100 {
		t.Fatalf("%d orders arrived, want 100", len(names))
	}
	if repeats < 5 || repeats > 40 {
		t.Errorf("%d repeats of 100 at 0.2", repeats)
	}
	inOrder := 0
	for i := 1; i < len(names); i++ {
		if len(names[i]) > len(names[i-1]) || names[i] > names[i-1] {
			inOrder++
		}
	}
	if inOrder == len(names)-1 {
		t.Error("nothing was reordered")
	}
}

func TestResendRepeatsTheWebhook(t *testing.T) {
	arrived := make(chan struct{}, 10)
	r := newReceiver(t, func(int, hook, http.ResponseWriter) { arrived <- struct{}{} })
	s := newShop(t, shopify.Config{Target: r.URL})
	o, err := s.SellOne(one("VIRAL"))
	if err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	if err := s.Resend(o.Name, "orders/create"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	<-arrived
	if h := r.All(); h[0].body != h[1].body || h[0].header.Get("X-Shopify-Webhook-Id") != h[1].header.Get("X-Shopify-Webhook-Id") {
		t.Error("the repetition differs")
	}
	if err := s.Resend("#1", "orders/create"); err == nil {
		t.Error("an order that is not there can be sent again")
	}
}

func TestReplayIsTheSameUnderNewIDs(t *testing.T) {
	arrived := make(chan struct{}, 10)
	r := newReceiver(t, func(int, hook, http.ResponseWriter) { arrived <- struct{}{} })
	s := newShop(t, shopify.Config{Target: r.URL})
	o, err := s.SellOne(one("VIRAL"))
	if err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	if err := s.Replay(o.Name, "orders/create"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	<-arrived
	h := r.All()
	if h[0].body != h[1].body || h[0].header.Get("X-Shopify-Hmac-Sha256") != h[1].header.Get("X-Shopify-Hmac-Sha256") {
		t.Error("the content differs")
	}
	for _, name := range []string{"X-Shopify-Webhook-Id", "X-Shopify-Event-Id"} {
		if h[0].header.Get(name) == h[1].header.Get(name) {
			t.Errorf("%s is the same", name)
		}
	}
	if captured := s.Captured(); len(captured) != 1 {
		t.Errorf("captured %v: a replay is no further order", captured)
	}
	if err := s.Replay("#1", "orders/create"); err == nil {
		t.Error("an order that is not there can be replayed")
	}
}

func TestSalesMoveStockAndStopAtZero(t *testing.T) {
	s := newShop(t, shopify.Config{})
	if _, err := s.SellOne(one("RARE")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SellOne(one("RARE")); !errors.Is(err, shopify.ErrSoldOut) {
		t.Errorf("second sale of one unit: %v", err)
	}
	made, err := s.SellOne(one("MADE"))
	if err != nil {
		t.Fatal(err)
	}
	rep := s.Report()
	if got := rep.Stock[1]; got.Available != 0 || got.Committed != 1 || got.OnHand != 1 || got.Zeros != 1 || got.LowestAvailable != 0 || got.HighestAvailable != 1 {
		t.Errorf("RARE %+v", got)
	}
	if rep.Sold != 2 || rep.RefusedSales != 1 || rep.OversoldUnits != 1 || rep.Stock[2].Available != -1 {
		t.Errorf("report %+v", rep)
	}
	if _, err := s.Cancel(made.Name); err != nil {
		t.Fatal(err)
	}
	if got := s.Report().Stock[2]; got.Available != 0 || got.Committed != 0 {
		t.Errorf("after the cancellation %+v", got)
	}
	if _, err := s.Cancel(made.Name); err == nil {
		t.Error("an order can be cancelled twice")
	}
}

func TestEditsHaveLaterVersionsAndTopics(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, shopify.Config{Target: r.URL})
	spec := one("VIRAL")
	spec.Unpaid = true
	o, err := s.SellOne(spec)
	if err != nil {
		t.Fatal(err)
	}
	last := o.UpdatedAt
	for _, edit := range []func() (shopify.Order, error){
		func() (shopify.Order, error) {
			return s.Update(o.Name, shopify.Edit{Quantity: 4, Configuration: "CFG-B2"})
		},
		func() (shopify.Order, error) { return s.MarkPaid(o.Name) },
		func() (shopify.Order, error) { return s.Cancel(o.Name) },
	} {
		next, err := edit()
		if err != nil {
			t.Fatal(err)
		}
		if next.UpdatedAt <= last {
			t.Errorf("updated_at %s is not after %s", next.UpdatedAt, last)
		}
		last = next.UpdatedAt
	}
	delivered(t, s)
	topics := make(map[string]shopify.Order)
	for _, h := range r.All() {
		topics[h.header.Get("X-Shopify-Topic")] = h.order
	}
	if got := topics["orders/create"]; got.FinancialStatus != "pending" || got.LineItems[0].Quantity != 1 {
		t.Errorf("create %+v", got)
	}
	if got := topics["orders/updated"]; got.LineItems[0].Quantity != 4 || got.TotalPrice != "79.60" || got.LineItems[0].Properties[0].Value != "CFG-B2" {
		t.Errorf("updated %+v", got)
	}
	if topics["orders/paid"].FinancialStatus != "paid" || topics["orders/cancelled"].CancelledAt == nil {
		t.Errorf("paid %q, cancelled at %v", topics["orders/paid"].FinancialStatus, topics["orders/cancelled"].CancelledAt)
	}
}

// The shop must not be what limits a burst: a thousand webhooks over 64 connections.
func TestBurstOfAThousand(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, shopify.Config{Target: r.URL})
	begin := time.Now()
	sale, err := s.Sell(shopify.Burst{Count: 1000, SKU: "VIRAL", Connections: 64})
	if err != nil {
		t.Fatal(err)
	}
	finished(t, sale)
	rep := s.Report()
	t.Logf("1000 webhooks in %v, p50 %.2f ms, p99 %.2f ms", time.Since(begin), rep.Webhooks.P50Ms, rep.Webhooks.P99Ms)
	if rep.Captured != 1000 || rep.Stock[0].Available != 1000 || rep.Stock[0].Committed != 1000 {
		t.Errorf("captured %d, stock %+v", rep.Captured, rep.Stock[0])
	}
}

func TestWrongBurstsAndShopsAreRefused(t *testing.T) {
	s := newShop(t, shopify.Config{})
	for wanted, b := range map[string]shopify.Burst{
		"count": {SKU: "VIRAL"}, "no item": {Count: 1, SKU: "GHOST"}, "quantity": {Count: 1, SKU: "VIRAL", Quantity: -1},
		"shares": {Count: 1, SKU: "VIRAL", Duplicates: 2}, "connections": {Count: 1, SKU: "VIRAL", Connections: -1},
	} {
		if _, err := s.Sell(b); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("Sell(%+v) = %v, want an error about %q", b, err, wanted)
		}
	}
	for wanted, cfg := range map[string]shopify.Config{
		"price": {Items: []shopify.Item{{SKU: "A", Price: "1.5"}}}, "twice": {Items: []shopify.Item{{SKU: "A"}, {SKU: "A"}}},
		"target": {Target: "localhost:80"}, "sku": {Items: []shopify.Item{{}}}, "connections": {Connections: -1},
	} {
		if shop, err := shopify.New(cfg); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("New(%+v) = %v, %v, want an error about %q", cfg, shop, err, wanted)
		}
	}
}

func BenchmarkBurst(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	s, err := shopify.New(shopify.Config{Target: server.URL, Items: []shopify.Item{{SKU: "VIRAL", Available: b.N}}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.ResetTimer()
	sale, err := s.Sell(shopify.Burst{Count: b.N, SKU: "VIRAL", Connections: 64})
	if err != nil {
		b.Fatal(err)
	}
	<-sale.Done()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "webhooks/s")
	b.ReportMetric(s.Report().Webhooks.P99Ms, "p99-ms")
}
