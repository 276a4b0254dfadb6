package woocommerce_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/account"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/retail"
	"github.com/peppasync/peppasync/test/sim/simtest"
	"github.com/peppasync/peppasync/test/sim/woocommerce"
)

// api is a client of the REST API over HTTP.
type api struct {
	t           *testing.T
	base        string
	key, secret string
}

func newAPI(t *testing.T, s *woocommerce.Shop) *api {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return &api{t, server.URL + "/wp-json/wc/v3/", woocommerce.DefaultConsumerKey, woocommerce.DefaultConsumerSecret}
}

// call makes one request, wants the status, reads the reply into the answer if there is one, and returns the header.
func (a *api) call(method, path string, body any, want int, answer any) http.Header {
	a.t.Helper()
	header := make(http.Header)
	if a.key != "" {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.key+":"+a.secret)))
	}
	return simtest.Call(a.t, method, a.base+path, header, body, want, answer)
}

func (a *api) ids(path string) []int64 {
	a.t.Helper()
	var orders []woocommerce.Order
	a.call(http.MethodGet, path, nil, http.StatusOK, &orders)
	ids := []int64{}
	for _, o := range orders {
		ids = append(ids, o.ID)
	}
	return ids
}

func TestOrdersArePaged(t *testing.T) {
	s := newShop(t, woocommerce.Config{})
	a := newAPI(t, s)
	for range 25 {
		sell(t, s, retail.Spec{})
	}
	var orders []woocommerce.Order
	h := a.call(http.MethodGet, "orders", nil, http.StatusOK, &orders)
	if len(orders) != 10 || orders[0].ID != 1025 || h.Get("X-WP-Total") != "25" || h.Get("X-WP-TotalPages") != "3" {
		t.Errorf("%d orders from %d, header %v", len(orders), orders[0].ID, h)
	}
	if link := h.Get("Link"); !strings.Contains(link, "page=2") || !strings.Contains(link, `rel="next"`) {
		t.Errorf("link %q", link)
	}
	seen := []int64{}
	for page := 1; page <= 4; page++ {
		seen = append(seen, a.ids(fmt.Sprintf("orders?per_page=10&page=%d&orderby=modified&order=asc&status=any", page))...)
	}
	if len(seen) != 25 || seen[0] != 1001 || seen[24] != 1025 {
		t.Errorf("pages hold %v", seen)
	}
	for _, query := range []string{"per_page=101", "per_page=0", "page=x", "order=up", "orderby=total", "status=lost", "modified_after=today", "dates_are_gmt=perhaps"} {
		a.call(http.MethodGet, "orders?"+query, nil, http.StatusBadRequest, nil)
	}
	var o woocommerce.Order
	a.call(http.MethodGet, "orders/1003", nil, http.StatusOK, &o)
	if o.ID != 1003 || o.LineItems[0].SKU != "VIRAL" {
		t.Errorf("order %+v", o)
	}
	a.call(http.MethodGet, "orders/9999", nil, http.StatusNotFound, nil)
	a.call(http.MethodGet, "products", nil, http.StatusNotFound, nil)
	if rep := s.Report(); rep.Polls != 13 || rep.Reads != 2 {
		t.Errorf("%d polls and %d reads", rep.Polls, rep.Reads)
	}
}

func TestOrdersAreSelectedByTheirChange(t *testing.T) {
	s := newShop(t, woocommerce.Config{})
	a := newAPI(t, s)
	first := sell(t, s, retail.Spec{})
	sell(t, s, retail.Spec{Unpaid: true})
	trashed := sell(t, s, retail.Spec{})
	if _, err := s.Trash(trashed.ID); err != nil {
		t.Fatal(err)
	}
	modified, err := time.Parse("2006-01-02T15:04:05", *first.DateModifiedGMT)
	if err != nil {
		t.Fatal(err)
	}
	after := func(at time.Time, layout, more string) []int64 {
		t.Helper()
		return a.ids("orders?order=asc&modified_after=" + url.QueryEscape(at.Format(layout)) + more)
	}
	const naive, zulu = "2006-01-02T15:04:05", "2006-01-02T15:04:05Z"
	if got := after(modified.Add(-time.Second), naive, "&dates_are_gmt=true"); len(got) != 2 || got[0] != first.ID {
		t.Errorf("a second before = %v", got)
	}
	// The bound is exclusive, and moments have whole seconds.
	if got := after(modified, naive, "&dates_are_gmt=true"); len(got) == 2 {
		t.Errorf("at the moment itself = %v", got)
	}
	if got := after(modified.Add(-time.Second), naive, ""); len(got) != 2 {
		t.Errorf("compared with the shop's own time, two hours ahead = %v", got)
	}
	if got := after(modified.Add(2*time.Hour+time.Minute), naive, ""); len(got) != 0 {
		t.Errorf("after the end = %v", got)
	}
	// A bound with a zone becomes the shop's own time and is compared with GMT: two hours too late.
	if got := after(modified.Add(-time.Hour), zulu, "&dates_are_gmt=true"); len(got) != 0 {
		t.Errorf("with a Z = %v", got)
	}
	if got := after(modified.Add(-2*time.Hour-time.Minute), zulu, "&dates_are_gmt=true"); len(got) != 2 {
		t.Errorf("with a Z, two hours earlier = %v", got)
	}
	if got := a.ids("orders?status=pending"); len(got) != 1 {
		t.Errorf("pending = %v", got)
	}
	if got := a.ids("orders?status=trash,pending"); len(got) != 2 {
		t.Errorf("pending and trash = %v", got)
	}
}

func TestCredentialsAreChecked(t *testing.T) {
	s := newShop(t, woocommerce.Config{})
	a := newAPI(t, s)
	for _, pair := range [][2]string{{"", ""}, {"ck_wrong", a.secret}, {a.key, "cs_wrong"}} {
		other := *a
		other.key, other.secret = pair[0], pair[1]
		other.call(http.MethodGet, "orders", nil, http.StatusUnauthorized, nil)
	}
}

func TestWebhooksAreManaged(t *testing.T) {
	r := newReceiver(t, func(n int) int {
		if n == 1 {
			return http.StatusAccepted // an answer, but not the one that a ping wants
		}
		return http.StatusOK
	})
	s := newShop(t, woocommerce.Config{})
	a := newAPI(t, s)
	var made woocommerce.Webhook
	a.call(http.MethodPost, "webhooks", map[string]string{
		"name": "orders", "topic": "order.updated", "delivery_url": r.URL, "secret": "abc", "status": "paused",
	}, http.StatusCreated, &made)
	if made.ID != 1 || made.Status != "active" || made.Resource != "order" || made.Event != "updated" || made.DeliveryURL != r.URL {
		t.Errorf("webhook %+v", made)
	}
	ping := r.All()[0]
	if ping.body != "webhook_id=1" || ping.header.Get("X-WC-Webhook-Topic") != "" || ping.header.Get("X-WC-Webhook-Signature") != "" ||
		ping.header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("ping %q %v", ping.body, ping.header)
	}
	if rep := s.Report(); rep.Pings != 1 || rep.PingFailures != 1 || !rep.Hooks[0].Pending {
		t.Errorf("report %+v", rep)
	}
	// Saved again while no ping was answered with 200, it is pinged again.
	a.call(http.MethodPut, "webhooks/1", map[string]string{"status": "active"}, http.StatusOK, &made)
	a.call(http.MethodPut, "webhooks/1", map[string]string{"name": "again"}, http.StatusOK, &made)
	if rep := s.Report(); rep.Pings != 2 || rep.Hooks[0].Pending || made.Name != "again" {
		t.Errorf("report %+v", rep)
	}
	a.call(http.MethodPut, "webhooks/1", map[string]string{"status": "paused"}, http.StatusOK, nil)
	if _, err := s.Cancel(sell(t, s, retail.Spec{}).ID); err != nil {
		t.Fatal(err)
	}
	delivered(t, s)
	if n := len(r.All()); n != 2 {
		t.Errorf("a paused webhook was sent: %d requests", n)
	}
	var all []woocommerce.Webhook
	h := a.call(http.MethodGet, "webhooks?status=paused", nil, http.StatusOK, &all)
	if len(all) != 1 || h.Get("X-WP-Total") != "1" {
		t.Errorf("webhooks %+v", all)
	}
	for _, bad := range []map[string]string{
		{"topic": "order.eaten", "delivery_url": r.URL},
		{"topic": "order.created", "delivery_url": "nowhere"},
	} {
		a.call(http.MethodPost, "webhooks", bad, http.StatusBadRequest, nil)
	}
	a.call(http.MethodPut, "webhooks/1", map[string]string{"status": "asleep"}, http.StatusBadRequest, nil)
	a.call(http.MethodPut, "webhooks/9", map[string]string{"status": "active"}, http.StatusBadRequest, nil)
	a.call(http.MethodDelete, "webhooks/1", nil, http.StatusNotImplemented, nil)
	a.call(http.MethodDelete, "webhooks/1?force=true", nil, http.StatusOK, nil)
	a.call(http.MethodGet, "webhooks/1", nil, http.StatusNotFound, nil)
	a.call(http.MethodGet, "webhooks?status=old", nil, http.StatusBadRequest, nil)
}

func TestHostLimitsAndFaults(t *testing.T) {
	s := newShop(t, woocommerce.Config{Config: account.Config{
		Limits: []account.Window{{Name: "host", Calls: 4, Per: jsontime.Duration(time.Hour)}},
		Faults: []faults.Rule{
			{Kind: faults.ServerError, Operations: []string{woocommerce.OpReadOrder}, Calls: []int{1}},
			{Kind: faults.Throttle, Operations: []string{woocommerce.OpReadOrder}, Calls: []int{1}, RetryAfter: "3"},
		},
	}})
	a := newAPI(t, s)
	a.call(http.MethodGet, "orders/1", nil, http.StatusInternalServerError, nil)
	if h := a.call(http.MethodGet, "orders/1", nil, http.StatusTooManyRequests, nil); h.Get("Retry-After") != "3" {
		t.Errorf("header %v", h)
	}
	if err := s.StartMaintenance(0); err != nil {
		t.Fatal(err)
	}
	if h := a.call(http.MethodGet, "orders", nil, http.StatusServiceUnavailable, nil); h.Get("Retry-After") != "600" {
		t.Errorf("header %v", h)
	}
	if err := s.StopMaintenance(); err != nil {
		t.Fatal(err)
	}
	a.call(http.MethodGet, "orders", nil, http.StatusOK, nil)
	a.call(http.MethodGet, "orders", nil, http.StatusTooManyRequests, nil)
	if rep := s.Report(); rep.Throttled != 1 || rep.Limits[0].Largest != 5 {
		t.Errorf("report %+v", rep)
	}
}
