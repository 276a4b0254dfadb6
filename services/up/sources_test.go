package up

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// warehouse takes orders by PUT /orders/{externalId} and remembers them.
type warehouse struct {
	*httptest.Server
	mu     sync.Mutex
	orders map[string]string
	came   chan struct{}
}

func newWarehouse(t *testing.T) *warehouse {
	t.Helper()
	w := &warehouse{orders: make(map[string]string), came: make(chan struct{}, 1)}
	w.Server = httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			answer.WriteHeader(http.StatusBadRequest)
			return
		}
		w.mu.Lock()
		w.orders[strings.TrimPrefix(r.URL.Path, "/orders/")] = string(body)
		w.mu.Unlock()
		select {
		case w.came <- struct{}{}:
		default:
		}
		answer.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(answer, `{"id":"1"}`)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *warehouse) await(t *testing.T, count int) map[string]string {
	t.Helper()
	late := time.After(patience)
	for {
		w.mu.Lock()
		got := maps.Clone(w.orders)
		w.mu.Unlock()
		if len(got) >= count {
			return got
		}
		select {
		case <-w.came:
		case <-late:
			t.Fatalf("after %v the warehouse has %v, want %d orders", patience, got, count)
		}
	}
}

// connector is the warehouse's.
func (w *warehouse) connector() string {
	return `apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: wms}
spec:
  system: HTTP
  endpoint: ` + w.URL + `
  limits: [{name: parallel, concurrency: {calls: 4}}]
  http: {operations: [{name: putOrder, method: PUT, path: "/orders/{externalId}", effect: Idempotent}]}
`
}

func sum(key string, parts ...string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(mac, strings.Join(parts, ""))
	return mac.Sum(nil)
}

const (
	ownOrder = `{"id":"%s","updatedAt":"2026-11-23T11:59:58Z","total":39.80,"lines":[{"sku":"DESK-1","quantity":2,"unitPrice":"19.90"}]}`
	tillSale = `{"event":"sale.closed","meta":{"id":"e-1"},"sale":{"number":7005,"closed_at":1795435198,"currency":"EUR","total":39.8,` +
		`"items":[{"sku":"DESK-1","n":2,"price":19.9}]}}`
	platformOrder = `{"number":7,"paid":true,"sum":"39.80","positions":[{"article":"DESK-1","count":2,"price":"19.90"}]}`
	sharedKey     = "0123456789abcdef01234567"
)

// sent is a delivery of one of the connectors of deploy/examples.
type sent struct {
	connector, body string
	header          map[string]string
}

func deliveries() []sent {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	standard := `{"type":"order.created","timestamp":"2026-11-23T11:59:58Z","data":` + fmt.Sprintf(ownOrder, "7001") + `}`
	shopBody, hubBody := fmt.Sprintf(ownOrder, "7003"), fmt.Sprintf(ownOrder, "7004")
	event := func(id string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/shop","subject":"` + id + `","time":"2026-11-23T11:59:58Z","type":"com.example.order.placed","data":` + platformOrder + `}`
	}
	bearer := "Bearer the-secret-of-platform"
	return []sent{
		{"marketplace", standard, map[string]string{
			"webhook-id": "msg_1", "webhook-timestamp": now,
			"webhook-signature": "v1," + base64.StdEncoding.EncodeToString(sum(sharedKey, "msg_1.", now, ".", standard)),
		}},
		{"own-shop", fmt.Sprintf(ownOrder, "7002"), map[string]string{"Authorization": "Bearer the-secret-of-own-shop"}},
		{"shop-like", shopBody, map[string]string{
			"X-Shop-Hmac-Sha256": base64.StdEncoding.EncodeToString(sum("the-secret-of-shop-like", shopBody)), "X-Shop-Topic": "orders/create", "X-Shop-Delivery": "d-1",
		}},
		{"hub-like", hubBody, map[string]string{
			"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(sum("the-secret-of-hub-like", hubBody)), "X-Hub-Event": "order", "X-Hub-Delivery": "d-1",
		}},
		{"till-like", tillSale, map[string]string{
			"X-Till-Signature": "v0=" + hex.EncodeToString(sum("the-secret-of-till-like", "v0:", now, ":", tillSale)), "X-Till-Timestamp": now,
		}},
		{"platform", event("7006"), map[string]string{"Authorization": bearer, "Content-Type": "application/cloudevents+json"}},
		{"platform", `[` + event("7007") + `,` + event("7008") + `]`, map[string]string{"Authorization": bearer, "Content-Type": "application/cloudevents-batch+json"}},
		{"platform", platformOrder, map[string]string{
			"Authorization": bearer, "Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "7009", "ce-source": "/shop",
			"ce-subject": "7009", "ce-time": "2026-11-23T11:59:58Z", "ce-type": "com.example.order.placed",
		}},
	}
}

// signals are events that are in order and carry none.
func signals() []sent {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	paid, contact := `{"id":"evt_1","type":"payment_intent.succeeded"}`, `{"type":"contact.created","data":{}}`
	return []sent{
		{"stripe", paid, map[string]string{"Stripe-Signature": "t=" + now + ",v1=" + hex.EncodeToString(sum("whsec_of_stripe", now, ".", paid))}},
		{"marketplace", contact, map[string]string{
			"webhook-id": "msg_2", "webhook-timestamp": now,
			"webhook-signature": "v1," + base64.StdEncoding.EncodeToString(sum(sharedKey, "msg_2.", now, ".", contact)),
		}},
	}
}

func (p *product) send(method string, d sent) *http.Response {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, p.base+"/v1/webhooks/"+d.connector, strings.NewReader(d.body))
	if err != nil {
		p.t.Fatal(err)
	}
	for name, value := range d.header {
		request.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response
}

// In a batch whose sender gets its 2xx, what is no event goes to the Error Hold with its
// place, and the orders around it arrive; the batch that comes again changes nothing.
func TestABadEventOfABatchStopsNoOther(t *testing.T) {
	w := newWarehouse(t)
	example, err := os.ReadFile(filepath.Join("..", "..", "deploy", "examples", "cloudevents.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, folder(t, map[string]string{"cloudevents.yaml": string(example), "warehouse.yaml": w.connector(), "flow.yaml": `apiVersion: peppasync.io/v1alpha1
kind: Flow
metadata: {name: orders}
spec:
  from: [{connector: platform, topics: [com.example.order.placed]}]
  deliver: [{name: wms, connector: wms, operation: putOrder, mapping: '{"total": double(order.total)}'}]
`}), t.TempDir())
	event := func(id string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/shop","subject":"` + id + `","time":"2026-11-23T11:59:58Z","type":"com.example.order.placed","data":` + platformOrder + `}`
	}
	batch := sent{"platform", `[` + event("1") + `,{"specversion":"1.0","source":"/shop","type":"com.example.order.placed"},` + event("2") + `]`, map[string]string{
		"Authorization": "Bearer the-secret-of-platform", "Content-Type": "application/cloudevents-batch+json",
	}}
	for range 2 {
		if response := p.send(http.MethodPost, batch); response.StatusCode != http.StatusOK {
			t.Fatalf("answered %d\n%s", response.StatusCode, p.logs)
		}
	}
	want := map[string]string{"platform-1": `{"total":39.8}`, "platform-2": `{"total":39.8}`}
	if diff := cmp.Diff(want, w.await(t, len(want))); diff != "" {
		t.Errorf("orders at the warehouse (-want +got):\n%s\n%s", diff, p.logs)
	}
	p.logs.await(t, "event [1] of a batch of 3: malformed: id or source is missing or empty")
	if n := strings.Count(p.logs.String(), "put into the Error Hold"); n != 1 {
		t.Errorf("%d events are held, want 1:\n%s", n, p.logs)
	}
	notOne := batch
	notOne.body = strings.TrimSuffix(batch.body, "]")
	if response := p.send(http.MethodPost, notOne); response.StatusCode != http.StatusBadRequest {
		t.Errorf("a batch that is cut gets %d, want 400", response.StatusCode)
	}
}

// The examples are what users copy: as they stand, the orders of each sender arrive.
func TestOrdersOfEveryDeclaredSenderArrive(t *testing.T) {
	w := newWarehouse(t)
	files := map[string]string{
		"warehouse.yaml": w.connector(),
		"flow.yaml": `apiVersion: peppasync.io/v1alpha1
kind: Flow
metadata: {name: orders}
spec:
  from:
    - {connector: marketplace, topics: [order.created]}
    - {connector: platform, topics: [com.example.order.placed]}
    - {connector: own-shop, topics: [order]}
    - {connector: shop-like, topics: [orders/create]}
    - {connector: hub-like, topics: [order]}
    - {connector: till-like, topics: [sale.closed]}
  deliver:
    - {name: wms, connector: wms, operation: putOrder, mapping: '{"total": double(order.total), "lines": order.lines.map(l, l.sku + " " + string(l.quantity) + " " + string(double(l.unit_price)))}'}
`,
	}
	for _, name := range []string{"standardwebhooks.yaml", "cloudevents.yaml", "stripe.yaml", "webhooks.yaml"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "deploy", "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	p := launch(t, folder(t, files), t.TempDir())
	for _, d := range slices.Concat(deliveries(), deliveries(), signals()) { // each order comes again, as retries do
		if response := p.send(http.MethodPost, d); response.StatusCode != http.StatusOK {
			t.Fatalf("%s answers %d: %s\n%s", d.connector, response.StatusCode, d.body, p.logs)
		}
	}
	want := make(map[string]string)
	for _, id := range []string{
		"marketplace-7001", "own-shop-7002", "shop-like-7003", "hub-like-7004", "till-like-7005", "platform-7006", "platform-7007", "platform-7008", "platform-7009",
	} {
		want[id] = `{"lines":["DESK-1 2 19.9"],"total":39.8}`
	}
	if diff := cmp.Diff(want, w.await(t, len(want))); diff != "" {
		t.Errorf("orders at the warehouse (-want +got):\n%s\n%s", diff, p.logs)
	}
	for _, d := range slices.Concat(deliveries(), signals()) {
		changed := d
		changed.body = strings.Replace(d.body, "DESK-1", "DESK-2", 1) + " "
		if d.header["Authorization"] != "" {
			changed.header = maps.Clone(d.header)
			changed.header["Authorization"] += "x"
		}
		if response := p.send(http.MethodPost, changed); response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: what is not signed so gets %d, want 401", d.connector, response.StatusCode)
		}
	}
	invitation := p.send(http.MethodOptions, sent{"platform", "", map[string]string{"WebHook-Request-Origin": "events.example.com"}})
	if invitation.StatusCode != http.StatusOK || invitation.Header.Get("WebHook-Allowed-Origin") != "events.example.com" || invitation.Header.Get("Allow") != "POST" {
		t.Errorf("who asks whether it may send gets %d, %v", invitation.StatusCode, invitation.Header)
	}
	for _, d := range []sent{{"platform", "", nil}, {"marketplace", "", map[string]string{"WebHook-Request-Origin": "x"}}, {"none", "", map[string]string{"WebHook-Request-Origin": "x"}}} {
		if response := p.send(http.MethodOptions, d); response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("OPTIONS at %s with %v gets %d, want 405", d.connector, d.header, response.StatusCode)
		}
	}
	if text := p.logs.String(); strings.Contains(text, "event-unreadable") || strings.Contains(text, "the-secret-of") {
		t.Errorf("the log has a hold or a secret:\n%s", text)
	}
}
