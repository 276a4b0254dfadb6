package ingest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

func TestMain(m *testing.M) {
	bustest.RunNode()
	goleak.VerifyTestMain(m)
}

const (
	secret  = "the-shops-webhook-secret"
	maxBody = 64 << 10
	patient = 30 * time.Second
)

// fixture is an ingest that runs on a real server.
type fixture struct {
	*Ingest
	bus    *bus.Bus
	client *http.Client
	logs   *logs
	stop   context.CancelFunc
	ended  chan error
}

// logs is a log that can be read while it is written.
type logs struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func snapshot() *catalog.Snapshot {
	connector := func(name string, system v1alpha1.System, secretName string) *v1alpha1.Connector {
		c := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: system}}
		c.Name = name
		if secretName != "" {
			c.Spec.Webhook = &v1alpha1.Webhook{SecretRef: v1alpha1.SecretReference{Name: secretName}, MaxBodyBytes: maxBody}
		}
		return c
	}
	big := connector("big", v1alpha1.SystemShopify, "shop")
	big.Spec.Webhook.MaxBodyBytes = 4 << 20
	return &catalog.Snapshot{Revision: 1, Connectors: map[string]*v1alpha1.Connector{
		"shop": connector("shop", v1alpha1.SystemShopify, "shop"),
		"big":  big,
		"erp":  connector("erp", v1alpha1.SystemNetSuite, ""),
		"odd":  connector("odd", v1alpha1.SystemNetSuite, "shop"),
		"lost": connector("lost", v1alpha1.SystemShopify, "nowhere"),
		// Programs hand in orders for these.
		"feed":  connector("feed", v1alpha1.SystemGRPC, "shop"),
		"other": connector("other", v1alpha1.SystemGRPC, "other"),
	}}
}

// start runs an ingest; change may alter its bounds.
func start(t testing.TB, b *bus.Bus, change func(*bounds)) *fixture {
	t.Helper()
	return startWith(t, b, catalog.NewStore(snapshot()), change)
}

func startWith(t testing.TB, b *bus.Bus, store *catalog.Store, change func(*bounds)) *fixture {
	t.Helper()
	observed, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return startObserved(t, b, store, observed, change)
}

func startObserved(t testing.TB, b *bus.Bus, store *catalog.Store, observed *telemetry.Telemetry, change func(*bounds)) *fixture {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	programs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limits := defaultBounds()
	if change != nil {
		change(&limits)
	}
	f := &fixture{bus: b, logs: new(logs), ended: make(chan error, 1)}
	f.Ingest, err = newIngest(Config{
		Bus: b, Catalog: store, Sources: systems.Sources(),
		Secrets: secrets.Environment([]string{
			"PEPPASYNC_SECRET_SHOP_SECRET=" + secret,
			"PEPPASYNC_SECRET_OTHER_SECRET=new-secret", "PEPPASYNC_SECRET_OTHER_PREVIOUS_SECRET=old-secret",
		}),
		Listener: listener, GRPC: programs, Logger: slog.New(slog.NewTextHandler(f.logs, nil)), Telemetry: observed,
	}, limits)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	f.client = &http.Client{Transport: transport, Timeout: patient}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	go func() { f.ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		f.end(t)
		transport.CloseIdleConnections()
	})
	return f
}

// end stops the ingest and waits for it; a second call does nothing.
func (f *fixture) end(t testing.TB) {
	t.Helper()
	f.stop()
	select {
	case err, first := <-f.ended:
		if first && err != nil {
			t.Errorf("Run: %v", err)
		}
		if first {
			close(f.ended)
		}
	case <-time.After(patient):
		t.Fatal("Run does not end")
	}
}

func (f *fixture) url(path string) string { return "http://" + f.Addr().String() + path }

// ready waits until webhooks can be stored.
func (f *fixture) ready(t testing.TB) *fixture {
	t.Helper()
	f.eventually(t, "ready", func() bool { return f.get(t, "/readyz") == http.StatusOK })
	return f
}

func (f *fixture) get(t testing.TB, path string) int {
	t.Helper()
	response, err := f.client.Get(f.url(path))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

func (f *fixture) eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	again, late := time.NewTicker(5*time.Millisecond), time.After(patient)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("not %s after %v; logs:\n%s", what, patient, f.logs)
		}
	}
}

func order(i int) []byte {
	return fmt.Appendf(nil, `{"id":%d,"updated_at":"2026-11-23T09:30:00Z","line_items":[]}`, 5_000_000+i)
}

func signature(body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// request is a delivery that is in order; change may spoil it.
func (f *fixture) request(t testing.TB, id string, body []byte, change func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url("/v1/webhooks/shop"), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Shopify-Topic", "orders/create")
	r.Header.Set("X-Shopify-Webhook-Id", id)
	r.Header.Set("X-Shopify-Hmac-Sha256", signature(body))
	if change != nil {
		change(r)
	}
	return r
}

// answer is what a sender gets.
type answer struct {
	status     int
	kind       string
	retryAfter string
	allow      string
}

func (f *fixture) send(r *http.Request) (answer, error) {
	response, err := f.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	got := answer{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After"), allow: response.Header.Get("Allow")}
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode == http.StatusOK {
		return got, err
	}
	var problem struct {
		Type   string `json:"type"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(body, &problem); err != nil || problem.Status != got.status || problem.Detail == "" ||
		response.Header.Get("Content-Type") != "application/problem+json" {
		return got, fmt.Errorf("status %d without problem details: %q (%w)", got.status, body, err)
	}
	got.kind = problem.Type[strings.LastIndex(problem.Type, "/")+1:]
	return got, nil
}

func (f *fixture) deliver(t testing.TB, id string, body []byte, change func(*http.Request)) answer {
	t.Helper()
	got, err := f.send(f.request(t, id, body, change))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// stored returns all events on disk, in every shard.
func stored(t testing.TB, b *bus.Bus) []*eventv1.Event {
	t.Helper()
	events, err := readStored(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func readStored(ctx context.Context, b *bus.Bus) ([]*eventv1.Event, error) {
	shards, err := b.Shards(ctx, bus.PrefixIngest)
	if err != nil {
		return nil, err
	}
	var events []*eventv1.Event
	for shard := range shards {
		for record, err := range b.Read(ctx, bus.IngestStream(shard), bus.IngestSubject(shard), 1) {
			if err != nil {
				return nil, err
			}
			var pack eventv1.Pack
			if err := proto.Unmarshal(record.Data, &pack); err != nil {
				return nil, err
			}
			events = append(events, pack.GetEvents()...)
		}
	}
	return events, nil
}

// byID counts events by id.
func byID(events []*eventv1.Event) map[string]int {
	counts := make(map[string]int)
	for _, e := range events {
		counts[e.GetId()]++
	}
	return counts
}

func TestAnAcknowledgedEventIsStoredAsItCame(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	body := []byte(" {\"id\": 1, \"x\": \"\\u00e4\", \"n\": 1.50}\n")
	got := f.deliver(t, "w1", body, func(r *http.Request) { r.Header.Set("traceparent", trace) })
	if got.status != http.StatusOK {
		t.Fatalf("status %d (%s)", got.status, got.kind)
	}
	events := stored(t, f.bus)
	if len(events) != 1 {
		t.Fatalf("%d events are stored, want 1", len(events))
	}
	e := events[0]
	if e.GetConnector() != "shop" || e.GetTopic() != "orders/create" || e.GetId() != "w1" || !bytes.Equal(e.GetBody(), body) ||
		time.Since(e.GetReceivedAt().AsTime()).Abs() > time.Minute {
		t.Errorf("stored: %v", e)
	}
	if !strings.Contains(e.GetTraceparent(), "4bf92f3577b34da6a3ce929d0e0e4736") {
		t.Errorf("traceparent %q does not carry on %q", e.GetTraceparent(), trace)
	}
	if strings.Contains(f.logs.String(), "level=INFO") {
		t.Errorf("something is logged for an order:\n%s", f.logs)
	}
}

func TestWhatIsRefusedIsNotStored(t *testing.T) {
	f := start(t, bustest.Start(t), func(b *bounds) { b.eventBytes = 1 << 20 }).ready(t)
	valid := order(1)
	path := func(p string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = p } }
	tests := map[string]struct {
		body   []byte
		change func(*http.Request)
		want   answer
	}{
		"a wrong signature":        {valid, func(r *http.Request) { r.Header.Set("X-Shopify-Hmac-Sha256", signature([]byte("x"))) }, answer{status: 401, kind: "signature"}},
		"no signature":             {valid, func(r *http.Request) { r.Header.Del("X-Shopify-Hmac-Sha256") }, answer{status: 401, kind: "signature"}},
		"no topic":                 {valid, func(r *http.Request) { r.Header.Del("X-Shopify-Topic") }, answer{status: 400, kind: "malformed"}},
		"not JSON":                 {[]byte("webhook_id=5"), nil, answer{status: 400, kind: "not-json"}},
		"an empty body":            {nil, nil, answer{status: 400, kind: "not-json"}},
		"JSON that is cut":         {[]byte(`{"id":1`), nil, answer{status: 400, kind: "not-json"}},
		"an unknown connector":     {valid, path("/v1/webhooks/nobody"), answer{status: 404, kind: "unknown-connector"}},
		"no connector at all":      {valid, path("/v1/webhooks/"), answer{status: 404, kind: "unknown-connector"}},
		"a connector and more":     {valid, path("/v1/webhooks/shop/x"), answer{status: 404, kind: "unknown-connector"}},
		"a connector without hook": {valid, path("/v1/webhooks/erp"), answer{status: 404, kind: "unknown-connector"}},
		"a hook without a source":  {valid, path("/v1/webhooks/odd"), answer{status: 404, kind: "unknown-connector"}},
		"another method":           {nil, func(r *http.Request) { r.Method = http.MethodGet }, answer{status: 405, kind: "method-not-allowed", allow: "POST"}},
		"a body that is too large": {bytes.Repeat([]byte(" "), maxBody+1), nil, answer{status: 413, kind: "too-large"}},
		"the same in chunks": {bytes.Repeat([]byte(" "), maxBody+1), func(r *http.Request) { r.ContentLength = -1 },
			answer{status: 413, kind: "too-large"}},
		"larger than can be stored": {append(order(1), bytes.Repeat([]byte(" "), 1<<20)...), path("/v1/webhooks/big"), answer{status: 413, kind: "too-large"}},
		"a secret that is missing":  {valid, path("/v1/webhooks/lost"), answer{status: 503, kind: "secret", retryAfter: "30"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := f.deliver(t, "w-"+name[:1], test.body, test.change); got != test.want {
				t.Errorf("answer %+v, want %+v", got, test.want)
			}
		})
	}
	if events := stored(t, f.bus); len(events) != 0 {
		t.Errorf("%d events are stored, want none: %v", len(events), events)
	}
	counts := f.Counts()
	if counts.Stored != 0 || counts.Refused != 15 || counts.Postponed != 1 {
		t.Errorf("counts %+v", counts)
	}
	// Exactly as large as allowed is taken.
	exact := append(order(1), bytes.Repeat([]byte(" "), maxBody-len(order(1)))...)
	for _, length := range []int64{int64(len(exact)), -1} {
		if got := f.deliver(t, fmt.Sprint("exact", length), exact, func(r *http.Request) { r.ContentLength = length }); got.status != 200 {
			t.Errorf("a body of exactly %d bytes: %+v", len(exact), got)
		}
	}
}

func TestTheLargestEventCanReallyBeStored(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	body := order(1)
	// An event of the largest size that the bounds allow, to the byte.
	grow := func(size int) []byte { return append(bytes.Clone(body), bytes.Repeat([]byte(" "), size)...) }
	largest := grow(f.bounds.eventBytes - 200)
	toBig := func(r *http.Request) { r.URL.Path = "/v1/webhooks/big" }
	if got := f.deliver(t, "large", largest, toBig); got.status != http.StatusOK {
		t.Errorf("answer %+v for %d bytes", got, len(largest))
	}
	if got := f.deliver(t, "larger", grow(f.bounds.eventBytes), toBig); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("answer %+v for more than can be stored", got)
	}
}

func TestABurstIsStoredExactlyOnce(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	const events, connections = 1000, 64
	next := make(chan int)
	var senders sync.WaitGroup
	for range connections {
		senders.Go(func() {
			for i := range next {
				got, err := f.send(f.request(t, fmt.Sprint("w", i), order(i), nil))
				if err != nil || got.status != http.StatusOK {
					t.Errorf("event %d: %+v, error %v", i, got, err)
				}
			}
		})
	}
	for i := range events {
		next <- i
	}
	close(next)
	senders.Wait()
	counts := byID(stored(t, f.bus))
	for i := range events {
		if n := counts[fmt.Sprint("w", i)]; n != 1 {
			t.Errorf("event %d is stored %d times", i, n)
		}
	}
	got := f.Counts()
	if len(counts) != events || got.Stored != events || got.Packs >= events {
		t.Errorf("%d events are stored, counts %+v: want %d, in fewer packs", len(counts), got, events)
	}
	t.Logf("%d events in %d packs", got.Stored, got.Packs)
}

func TestRepetitionsAreAcknowledgedAndNotStored(t *testing.T) {
	f := start(t, bustest.Start(t), nil).ready(t)
	var senders sync.WaitGroup
	for range 50 {
		senders.Go(func() {
			if got, err := f.send(f.request(t, "same", order(1), nil)); err != nil || got.status != http.StatusOK {
				t.Errorf("%+v, error %v", got, err)
			}
		})
	}
	senders.Wait()
	if n := len(stored(t, f.bus)); n != 1 {
		t.Errorf("%d events are stored, want 1", n)
	}
	// The same id with something else is something else.
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("X-Shopify-Topic", "orders/paid") },
		func(r *http.Request) { r.URL.Path = "/v1/webhooks/big" },
	} {
		f.deliver(t, "same", order(1), change)
	}
	f.deliver(t, "same", order(2), nil)
	if n := len(stored(t, f.bus)); n != 4 {
		t.Errorf("%d events are stored, want 4", n)
	}
	if c := f.Counts(); c.Stored != 4 || c.Duplicates != 49 {
		t.Errorf("counts %+v", c)
	}
}
