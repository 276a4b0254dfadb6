package woocommerce_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/retail"
	"github.com/peppasync/peppasync/test/sim/simtest"
	"github.com/peppasync/peppasync/test/sim/woocommerce"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hook is one request that a receiver got.
type hook struct {
	header http.Header
	body   string
}

func (h hook) order(t *testing.T) woocommerce.Order {
	t.Helper()
	var o woocommerce.Order
	if err := json.Unmarshal([]byte(h.body), &o); err != nil {
		t.Fatalf("webhook %q is not an order: %v", h.body, err)
	}
	return o
}

func newReceiver(t *testing.T, answer func(n int) int) *simtest.Receiver[hook] {
	t.Helper()
	return simtest.NewReceiver(t, func(header http.Header, body string) hook { return hook{header, body} }, simtest.Status[hook](answer))
}

func newShop(t *testing.T, cfg woocommerce.Config) *woocommerce.Shop {
	t.Helper()
	cfg.Items = []retail.Item{{SKU: "VIRAL", Price: "19.90", Name: "Viral thing"}, {SKU: "MADE"}}
	s, err := woocommerce.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func sell(t *testing.T, s *woocommerce.Shop, spec retail.Spec) woocommerce.Order {
	t.Helper()
	if spec.Lines == nil {
		spec.Lines = []retail.Line{{SKU: "VIRAL", Quantity: 2}}
	}
	o, err := s.SellOne(spec)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func delivered(t *testing.T, s *woocommerce.Shop) {
	t.Helper()
	simtest.Within(t, s.WaitDelivered)
}

func TestWebhookIsSignedAndWhole(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, woocommerce.Config{Target: r.URL, WebhookSecret: "s3cret"})
	sold := sell(t, s, retail.Spec{Note: "by noon", Lines: []retail.Line{
		{SKU: "VIRAL", Quantity: 3, Configuration: "CFG-A1", Options: []retail.Option{{Name: "Engraving", Value: "a/b"}}},
	}})
	delivered(t, s)
	h := r.All()[0]
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(h.body))
	for name, want := range map[string]string{
		"X-WC-Webhook-Signature": base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		"X-WC-Webhook-Topic":     "order.created", "X-WC-Webhook-Resource": "order", "X-WC-Webhook-Event": "created",
		"X-WC-Webhook-Source": woocommerce.DefaultURL, "X-WC-Webhook-ID": "1", "Content-Type": "application/json",
	} {
		if got := h.header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if len(h.header.Get("X-WC-Webhook-Delivery-ID")) != 32 {
		t.Errorf("delivery id %q", h.header.Get("X-WC-Webhook-Delivery-ID"))
	}
	o := h.order(t)
	line := o.LineItems[0]
	if o.ID != sold.ID || o.Number != "1001" || o.Status != "processing" || o.Total != "59.70" || o.CustomerNote != "by noon" ||
		line.SKU != "VIRAL" || line.Quantity != 3 || line.Price != 19.9 || o.DatePaidGMT == nil || *o.Billing.Email == "" || o.Shipping.Email != nil {
		t.Errorf("order %+v", o)
	}
	if len(line.MetaData) != 2 || line.MetaData[0].Value != "a/b" || line.MetaData[1].Key != "_configuration" || line.MetaData[1].Value != "CFG-A1" {
		t.Errorf("meta data %+v", line.MetaData)
	}
	if !strings.Contains(h.body, `a\/b`) {
		t.Errorf("slashes are not escaped as PHP does: %s", h.body)
	}
	created, createdGMT := *o.DateCreated, *o.DateCreatedGMT
	local, _ := time.Parse("2006-01-02T15:04:05", created)
	gmt, err := time.Parse("2006-01-02T15:04:05", createdGMT)
	if err != nil || local.Sub(gmt) != 2*time.Hour {
		t.Errorf("created %s, in GMT %s", created, createdGMT)
	}
}

func TestOrdersOfOneSecondShareTheirDeliveryID(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, woocommerce.Config{Target: r.URL})
	const n = 40
	sale, err := s.Sell(retail.Burst{Count: n, SKU: "VIRAL"})
	if err != nil {
		t.Fatal(err)
	}
	<-sale.Done()
	delivered(t, s)
	ids := make(map[string]int)
	for _, d := range s.Deliveries() {
		ids[d.DeliveryID]++
	}
	if len(r.All()) != n || len(ids) > n/2 {
		t.Errorf("%d webhooks have %d different delivery ids; those of one second have one", len(r.All()), len(ids))
	}
	if result := sale.Result(); result.Sold != n || result.FirstOrder != 1001 || result.LastOrder != 1000+n {
		t.Errorf("sale %+v", result)
	}
	if rep := s.Report(); rep.Sold != n || rep.Captured != n || rep.Missed != 0 || rep.Webhooks.Delivered != n || rep.Webhooks.Attempts != n {
		t.Errorf("report %+v", rep)
	}
}

func TestFailedWebhookIsNeverSentAgain(t *testing.T) {
	r := newReceiver(t, func(n int) int {
		return []int{http.StatusServiceUnavailable, http.StatusFound, http.StatusNoContent, http.StatusSeeOther}[(n-1)%4]
	})
	s := newShop(t, woocommerce.Config{Target: r.URL, Workers: 1})
	var ids []int64
	for range 4 {
		ids = append(ids, sell(t, s, retail.Spec{}).ID)
	}
	delivered(t, s)
	rep := s.Report()
	// 200 to 302 is success: 302 and 204 are, 503 and 303 are not.
	if rep.Webhooks.Attempts != 4 || rep.Webhooks.Failures != 2 || rep.Captured != 2 || rep.Missed != 2 || rep.Webhooks.Retries != 0 {
		t.Errorf("report %+v", rep.Webhooks)
	}
	if missed := s.Missed(); len(missed) != 2 || missed[0] != ids[0] || missed[1] != ids[3] {
		t.Errorf("missed %v of %v", missed, ids)
	}
	if rep.Hooks[0].InARow != 1 || rep.Hooks[0].Status != "active" {
		t.Errorf("webhook %+v", rep.Hooks[0])
	}
}

func TestWebhookIsDisabledAndFallsAgainAtOnceWhenItIsEnabled(t *testing.T) {
	var down sync.Mutex
	broken := true
	r := newReceiver(t, func(int) int {
		down.Lock()
		defer down.Unlock()
		if broken {
			return http.StatusBadGateway
		}
		return http.StatusOK
	})
	s := newShop(t, woocommerce.Config{Target: r.URL, Workers: 1})
	api := newAPI(t, s)
	status := func() string { return s.Report().Hooks[0].Status }
	for i := 1; i <= 6; i++ {
		sell(t, s, retail.Spec{})
		delivered(t, s)
		if status() != "active" {
			t.Fatalf("disabled after %d failures in a row", i)
		}
	}
	sell(t, s, retail.Spec{})
	delivered(t, s)
	if status() != "disabled" {
		t.Fatalf("%s after the seventh failure in a row", status())
	}
	sell(t, s, retail.Spec{})
	delivered(t, s)
	if got := len(r.All()); got != 7 || s.Report().Webhooks.Undelivered != 1 {
		t.Errorf("%d requests; a disabled webhook is not sent", got)
	}
	api.call(http.MethodPut, "webhooks/1", map[string]string{"status": "active"}, http.StatusOK, nil)
	sell(t, s, retail.Spec{})
	delivered(t, s)
	if status() != "disabled" {
		t.Error("the count of failures was reset: the first failure after it was enabled must disable it again")
	}
	down.Lock()
	broken = false
	down.Unlock()
	api.call(http.MethodPut, "webhooks/1", map[string]string{"status": "active"}, http.StatusOK, nil)
	sell(t, s, retail.Spec{})
	delivered(t, s)
	if rep := s.Report(); rep.Hooks[0].Status != "active" || rep.Hooks[0].InARow != 0 || rep.Disabled != 2 || rep.Captured != 1 {
		t.Errorf("report %+v", rep)
	}
}

func TestEditsAreTold(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, woocommerce.Config{Target: r.URL, Workers: 1})
	o := sell(t, s, retail.Spec{Unpaid: true, Lines: []retail.Line{{SKU: "MADE", Quantity: 1, Configuration: "A"}}})
	delivered(t, s)
	for _, step := range []struct {
		do    func() (woocommerce.Order, error)
		check func(o woocommerce.Order) bool
	}{
		{
			func() (woocommerce.Order, error) {
				return s.Update(o.ID, retail.Edit{Quantity: 4, Configuration: "B", Note: "quick"})
			},
			func(o woocommerce.Order) bool {
				return o.Total == "100.00" && o.LineItems[0].MetaData[0].Value == "B" && o.CustomerNote == "quick" && o.Status == "pending"
			},
		},
		{
			func() (woocommerce.Order, error) { return s.MarkPaid(o.ID) },
			func(o woocommerce.Order) bool { return o.Status == "processing" && o.DatePaid != nil },
		},
		{
			func() (woocommerce.Order, error) { return s.Refund(o.ID, "25.00") },
			func(o woocommerce.Order) bool {
				return o.Status == "processing" && len(o.Refunds) == 1 && o.Refunds[0].Total == "-25.00"
			},
		},
		{
			func() (woocommerce.Order, error) { return s.Cancel(o.ID) },
			func(o woocommerce.Order) bool { return o.Status == "cancelled" },
		},
	} {
		got, err := step.do()
		if err != nil || !step.check(got) {
			t.Fatalf("order %+v, %v", got, err)
		}
		delivered(t, s)
		hooks := r.All()
		last := hooks[len(hooks)-1]
		if last.header.Get("X-WC-Webhook-Topic") != "order.updated" || !step.check(last.order(t)) {
			t.Errorf("webhook %s %s", last.header.Get("X-WC-Webhook-Topic"), last.body)
		}
	}
	if _, err := s.Cancel(o.ID); err == nil {
		t.Error("an order is cancelled twice")
	}
	if _, err := s.Update(o.ID, retail.Edit{Status: "lost"}); err == nil {
		t.Error("a status that is not known is taken")
	}
	if _, err := s.Update(4711, retail.Edit{Note: "x"}); err == nil {
		t.Error("an order that is not there is edited")
	}
	if rep := s.Report(); rep.Cancelled != 1 || rep.Missed != 0 {
		t.Errorf("report %+v", rep)
	}
}

// What a delivery under way says was taken before; an edit meanwhile is told by a delivery of its own.
func TestEditWhileItsOrderIsDelivered(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	r := newReceiver(t, func(n int) int {
		if n == 1 {
			close(arrived)
			<-release
		}
		return http.StatusOK
	})
	s := newShop(t, woocommerce.Config{Target: r.URL, Workers: 1})
	o := sell(t, s, retail.Spec{})
	<-arrived
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			if _, err := s.Update(o.ID, retail.Edit{Note: "again"}); err != nil {
				t.Error(err)
			}
		}
	}()
	close(release)
	<-done
	delivered(t, s)
	hooks := r.All()
	if first, last := hooks[0].order(t), hooks[50].order(t); len(hooks) != 51 || first.CustomerNote != "" || last.CustomerNote != "again" {
		t.Errorf("%d webhooks, the first with the note %q, the last with %q", len(hooks), first.CustomerNote, last.CustomerNote)
	}
	if missed := s.Missed(); len(missed) != 0 {
		t.Errorf("missed %v", missed)
	}
}

func TestMishapsAreNoFailures(t *testing.T) {
	r := newReceiver(t, nil)
	s := newShop(t, woocommerce.Config{Target: r.URL, Workers: 1, CheckoutUpdates: true})
	set := func(m faults.Mishaps) {
		t.Helper()
		if err := s.SetMishaps(m); err != nil {
			t.Fatal(err)
		}
	}
	set(faults.Mishaps{Drop: 1})
	lost := sell(t, s, retail.Spec{})
	set(faults.Mishaps{Twice: 1, Topics: []string{"order.created"}})
	twice := sell(t, s, retail.Spec{})
	delivered(t, s)
	set(faults.Mishaps{Late: 1, LateBy: jsontime.Duration(50 * time.Millisecond)})
	begin := time.Now()
	sell(t, s, retail.Spec{})
	delivered(t, s)
	rep := s.Report()
	if time.Since(begin) < 50*time.Millisecond || rep.Webhooks.Late != 2 {
		t.Errorf("late webhooks came after %v; report %+v", time.Since(begin), rep.Webhooks)
	}
	if missed := s.Missed(); len(missed) != 1 || missed[0] != lost.ID || rep.Webhooks.Dropped != 2 {
		t.Errorf("missed %v, report %+v", missed, rep.Webhooks)
	}
	topics := make(map[string]int)
	for _, h := range r.All() {
		if o := h.order(t); o.ID == twice.ID {
			topics[h.header.Get("X-WC-Webhook-Topic")]++
		}
	}
	if topics["order.created"] != 2 || topics["order.updated"] != 1 || rep.Webhooks.Repeats != 1 || rep.Webhooks.Failures != 0 {
		t.Errorf("topics %v, report %+v", topics, rep.Webhooks)
	}
	if err := s.SetMishaps(faults.Mishaps{Drop: 2}); err == nil {
		t.Error("a share of 2 is taken")
	}
}

func TestConfigurationMistakesAreNamed(t *testing.T) {
	for want, cfg := range map[string]woocommerce.Config{
		"workers":               {Workers: -1},
		"gmtOffset":             {GMTOffset: "noon"},
		"not an http":           {Target: "ftp://x"},
		"sku is missing":        {Items: []retail.Item{{}}},
		"is not an amount":      {Items: []retail.Item{{SKU: "A", Price: "1,5"}}},
		"want a share between":  {Mishaps: faults.Mishaps{Late: -1}},
		"sku \"A\" is there tw": {Items: []retail.Item{{SKU: "A"}, {SKU: "A"}}},
	} {
		if s, err := woocommerce.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v is taken, or not explained: %v", cfg, err)
			if s != nil {
				s.Close()
			}
		}
	}
}
