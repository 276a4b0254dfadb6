package bigcommerce_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/test/sim/bigcommerce"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/retail"
	"github.com/peppasync/peppasync/test/sim/simtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hook is one request that a receiver got.
type hook struct {
	header http.Header
	body   string
	event  struct {
		Producer  string `json:"producer"`
		Hash      string `json:"hash"`
		CreatedAt int64  `json:"created_at"`
		StoreID   string `json:"store_id"`
		Scope     string `json:"scope"`
		Data      struct {
			Type   string `json:"type"`
			ID     int64  `json:"id"`
			Status *struct {
				Previous int `json:"previous_status_id"`
				New      int `json:"new_status_id"`
			} `json:"status"`
		} `json:"data"`
	}
}

func newReceiver(t *testing.T, answer func(n int) int) *simtest.Receiver[hook] {
	t.Helper()
	return simtest.NewReceiver(t, func(header http.Header, body string) hook {
		h := hook{header: header, body: body}
		if err := json.Unmarshal([]byte(body), &h.event); err != nil {
			t.Errorf("webhook %q: %v", body, err)
		}
		return h
	}, simtest.Status[hook](answer))
}

func newStore(t *testing.T, cfg bigcommerce.Config) *bigcommerce.Store {
	t.Helper()
	cfg.Items = []retail.Item{{SKU: "VIRAL", Price: "19.90", Name: "Viral thing"}, {SKU: "MADE"}}
	s, err := bigcommerce.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func sell(t *testing.T, s *bigcommerce.Store, spec retail.Spec) bigcommerce.Order {
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

func milliseconds(all ...int) []jsontime.Duration {
	waits := []jsontime.Duration{}
	for _, n := range all {
		waits = append(waits, jsontime.Duration(time.Duration(n)*time.Millisecond))
	}
	return waits
}

func TestWebhookIsThinAndAuthentic(t *testing.T) {
	r := newReceiver(t, nil)
	s := newStore(t, bigcommerce.Config{Target: r.URL, TargetHeaders: map[string]string{"X-Shared": "s3cret"}, ClientSecret: "client"})
	o := sell(t, s, retail.Spec{})
	simtest.Within(t, s.WaitDelivered)
	if _, err := s.Update(o.ID, retail.Edit{Status: "Shipped"}); err != nil {
		t.Fatal(err)
	}
	simtest.Within(t, s.WaitDelivered)
	scopes := []string{}
	for _, h := range r.All() {
		e := h.event
		scopes = append(scopes, e.Scope)
		if e.Producer != "stores/"+bigcommerce.DefaultHash || e.StoreID != bigcommerce.DefaultStoreID || len(e.Hash) != 40 ||
			e.Data.Type != "order" || e.Data.ID != o.ID || time.Since(time.Unix(e.CreatedAt, 0)) > time.Minute {
			t.Errorf("webhook %s", h.body)
		}
		if strings.Contains(h.body, "VIRAL") || strings.Contains(h.body, "total") {
			t.Errorf("the webhook is not thin: %s", h.body)
		}
		if h.header.Get("X-Shared") != "s3cret" || h.header.Get("Content-Type") != "application/json" {
			t.Errorf("header %v", h.header)
		}
		mac := hmac.New(sha256.New, []byte("client"))
		mac.Write([]byte(h.header.Get("webhook-id") + "." + h.header.Get("webhook-timestamp") + "." + h.body))
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); h.header.Get("webhook-signature") != want {
			t.Errorf("signature %q, want %q", h.header.Get("webhook-signature"), want)
		}
		if e.Scope == bigcommerce.ScopeStatusUpdated && (e.Data.Status == nil || e.Data.Status.Previous != 11 || e.Data.Status.New != 2) {
			t.Errorf("webhook %s", h.body)
		}
	}
	slices.Sort(scopes)
	if !slices.Equal(scopes, []string{bigcommerce.ScopeCreated, bigcommerce.ScopeStatusUpdated, bigcommerce.ScopeUpdated}) {
		t.Errorf("scopes %v", scopes)
	}
}

func TestOnlyOKIsTakenAndTheRestIsRepeatedTheSame(t *testing.T) {
	r := newReceiver(t, func(n int) int {
		return []int{http.StatusAccepted, http.StatusServiceUnavailable, http.StatusMovedPermanently, http.StatusOK}[min(n, 4)-1]
	})
	s := newStore(t, bigcommerce.Config{Target: r.URL, Retries: milliseconds(1, 2, 4)})
	sell(t, s, retail.Spec{})
	simtest.Within(t, s.WaitDelivered)
	hooks := r.All()
	for _, h := range hooks {
		if h.body != hooks[0].body || h.header.Get("webhook-id") != hooks[0].header.Get("webhook-id") {
			t.Errorf("repeated as %s %v", h.body, h.header)
		}
	}
	rep := s.Report()
	if len(hooks) != 4 || rep.Webhooks.Retries != 3 || rep.Webhooks.Failures != 3 || rep.Webhooks.Delivered != 1 || rep.Captured != 1 || rep.Missed != 0 {
		t.Errorf("report %+v", rep)
	}
}

func TestWebhookIsDeactivatedAfterTheLastRepetition(t *testing.T) {
	var up atomic.Bool
	r := newReceiver(t, func(int) int {
		if up.Load() {
			return http.StatusOK
		}
		return http.StatusInternalServerError
	})
	s := newStore(t, bigcommerce.Config{Target: r.URL, Retries: milliseconds(1, 1)})
	a := newAPI(t, s)
	lost := sell(t, s, retail.Spec{})
	simtest.Within(t, s.WaitDelivered)
	rep := s.Report()
	if rep.Webhooks.Attempts != 3 || rep.Webhooks.GivenUp != 1 || rep.Deactivated != 1 || rep.Hooks[0].IsActive || !rep.Hooks[1].IsActive {
		t.Errorf("report %+v", rep)
	}
	up.Store(true)
	sell(t, s, retail.Spec{})
	simtest.Within(t, s.WaitDelivered)
	if got := s.Report(); got.Webhooks.Undelivered != 1 || got.Missed != 2 {
		t.Errorf("report %+v", got)
	}
	a.call(http.MethodPut, "v3/hooks/18048287", map[string]any{"is_active": true}, http.StatusOK, nil)
	sell(t, s, retail.Spec{})
	simtest.Within(t, s.WaitDelivered)
	if missed := s.Missed(); !slices.Equal(missed, []int64{lost.ID, lost.ID + 1}) {
		t.Errorf("missed %v; what was lost is not sent again", missed)
	}
	if captured := s.Captured(); !slices.Equal(captured, []int64{lost.ID + 2}) {
		t.Errorf("captured %v", captured)
	}
}

func TestDomainWithTooManyFailuresGetsNothingForAWhile(t *testing.T) {
	var up atomic.Bool
	r := newReceiver(t, func(int) int {
		if up.Load() {
			return http.StatusOK
		}
		return http.StatusInternalServerError
	})
	s := newStore(t, bigcommerce.Config{
		Target: r.URL, Workers: 1, Retries: milliseconds(1, 1, 60_000),
		Blocklist: bigcommerce.Blocklist{Minimum: 5, For: milliseconds(60_000)[0]},
	})
	for range 5 {
		sell(t, s, retail.Spec{})
		simtest.Within(t, s.WaitTried)
	}
	up.Store(true)
	before := len(r.All())
	sell(t, s, retail.Spec{})
	simtest.Within(t, s.WaitTried)
	if rep := s.Report(); len(r.All()) != before || rep.Blocked == 0 || rep.Webhooks.Open == 0 {
		t.Errorf("%d requests after %d, report %+v", len(r.All()), before, rep)
	}
}

func TestMishapsAndWildcards(t *testing.T) {
	r := newReceiver(t, nil)
	s := newStore(t, bigcommerce.Config{CheckoutUpdates: true})
	a := newAPI(t, s)
	a.call(http.MethodPost, "v3/hooks", map[string]any{"scope": "store/order/*", "destination": r.URL}, http.StatusOK, nil)
	if err := s.SetMishaps(faults.Mishaps{Drop: 1, Topics: []string{bigcommerce.ScopeUpdated}}); err != nil {
		t.Fatal(err)
	}
	o := sell(t, s, retail.Spec{})
	simtest.Within(t, s.WaitDelivered)
	if err := s.SetMishaps(faults.Mishaps{Twice: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Archive(o.ID); err != nil {
		t.Fatal(err)
	}
	simtest.Within(t, s.WaitTried)
	got := make(map[string]int)
	for _, h := range r.All() {
		got[h.event.Scope]++
	}
	if len(got) != 3 || got[bigcommerce.ScopeCreated] != 1 || got[bigcommerce.ScopeStatusUpdated] != 1 || got[bigcommerce.ScopeArchived] != 2 {
		t.Errorf("scopes %v", got)
	}
	if rep := s.Report(); rep.Webhooks.Dropped != 1 || rep.Webhooks.Repeats != 1 || rep.Webhooks.Failures != 0 {
		t.Errorf("report %+v", rep.Webhooks)
	}
	if _, err := s.Archive(o.ID); err == nil {
		t.Error("an order is archived twice")
	}
}

func TestConfigurationMistakesAreNamed(t *testing.T) {
	for want, cfg := range map[string]bigcommerce.Config{
		"workers":              {Workers: -1},
		"quota":                {Quota: bigcommerce.Quota{Requests: 5}},
		"not an http":          {Target: "ftp://x"},
		"sku is missing":       {Items: []retail.Item{{}}},
		"want a share between": {Mishaps: faults.Mishaps{Late: 2}},
	} {
		if s, err := bigcommerce.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v is taken, or not explained: %v", cfg, err)
			if s != nil {
				s.Close()
			}
		}
	}
}
