package up

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret   = "the-shops-webhook-secret"
	patience = 30 * time.Second
	shop     = `apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: shop}
spec:
  system: Shopify
  endpoint: http://127.0.0.1:9
  auth: {secretRef: {name: shop}}
  webhook: {secretRef: {name: shop}}
  limits: [{name: per-minute, rollingWindow: {calls: 240, per: 1m}}]
`
)

// logs is a log that can be read while it is written, and waited for.
type logs struct {
	mu      sync.Mutex
	out     bytes.Buffer
	written chan struct{}
}

func newLogs() *logs { return &logs{written: make(chan struct{}, 1)} }

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.out.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func (l *logs) await(t *testing.T, text string) {
	t.Helper()
	late := time.After(patience)
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.written:
		case <-late:
			t.Fatalf("%q is not in the log:\n%s", text, l)
		}
	}
}

// product is a running Run.
type product struct {
	t           *testing.T
	files, data string
	logs        *logs
	base        string
	stop        context.CancelFunc
	ended       chan error
}

// launch starts Run and waits until it is ready.
func launch(t *testing.T, files, data string) *product {
	t.Helper()
	return launchWith(t, files, data, 0)
}

// launchWith bounds the store.
func launchWith(t *testing.T, files, data string, maxStore int64) *product {
	t.Helper()
	p := &product{t: t, files: files, data: data, logs: newLogs(), ended: make(chan error, 1)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	ready := make(chan string, 1)
	go func() {
		p.ended <- Run(ctx, Config{
			Environment: environment(t, p.logs, listener), Files: files, Data: data, MaxStore: maxStore,
			Ready: func(webhooks, _ string) { ready <- webhooks },
		})
	}()
	t.Cleanup(p.end)
	select {
	case p.base = <-ready:
	case err := <-p.ended:
		p.ended <- nil
		t.Fatalf("ended before it was ready: %v\n%s", err, p.logs)
	case <-time.After(patience):
		t.Fatalf("not ready within %v:\n%s", patience, p.logs)
	}
	return p
}

func environment(t *testing.T, log io.Writer, listener net.Listener) Environment {
	t.Helper()
	traces, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return Environment{
		Owner: "test", Telemetry: traces, Webhooks: listener,
		Secrets: secrets.Environment([]string{
			"PEPPASYNC_SECRET_SHOP_SECRET=" + secret, "PEPPASYNC_SECRET_SHOP_ACCESS_TOKEN=token",
			"PEPPASYNC_SECRET_SHOPIFY_ACCESS_TOKEN=token", "PEPPASYNC_SECRET_NETSUITE_ACCESS_TOKEN=token",
			"PEPPASYNC_SECRET_WMS_TOKEN=token", "PEPPASYNC_SECRET_TWILIO_AUTH_TOKEN=token",
			"PEPPASYNC_SECRET_MARKETPLACE_SECRET=whsec_" + base64.StdEncoding.EncodeToString([]byte(sharedKey)),
			"PEPPASYNC_SECRET_STRIPE_SECRET=whsec_of_stripe", "PEPPASYNC_SECRET_PLATFORM_SECRET=the-secret-of-platform",
			"PEPPASYNC_SECRET_OWN_SHOP_SECRET=the-secret-of-own-shop", "PEPPASYNC_SECRET_SHOP_LIKE_SECRET=the-secret-of-shop-like",
			"PEPPASYNC_SECRET_HUB_LIKE_SECRET=the-secret-of-hub-like", "PEPPASYNC_SECRET_TILL_LIKE_SECRET=the-secret-of-till-like",
		}),
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func (p *product) end() {
	p.stop()
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("it ended with: %v", err)
		}
		p.ended <- nil
	case <-time.After(patience):
		p.t.Errorf("it did not end within %v", patience)
	}
}

// deliver sends a webhook and returns the status of the answer.
func (p *product) deliver(connector, body string) int {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.base+"/v1/webhooks/"+connector, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	sum := hmac.New(sha256.New, []byte(secret))
	sum.Write([]byte(body))
	request.Header.Set("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(sum.Sum(nil)))
	request.Header.Set("X-Shopify-Topic", "orders/create")
	request.Header.Set("X-Shopify-Webhook-Id", hex.EncodeToString(sum.Sum(nil)))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// folder writes files by name.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, dir, name, content)
	}
	return dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheDemosManifestsStartAndStop(t *testing.T) {
	p := launch(t, filepath.Join("..", "..", "deploy", "demo"), t.TempDir())
	p.end()
	if text := p.logs.String(); strings.Contains(text, "level=ERROR") {
		t.Errorf("errors in a start without anything to do:\n%s", text)
	}
}

func TestAnEditTakesEffectAndABrokenOneChangesNothing(t *testing.T) {
	files := folder(t, map[string]string{"shop.yaml": shop})
	p := launch(t, files, t.TempDir())
	if got := p.deliver("shop", `{"id":1}`); got != http.StatusOK {
		t.Fatalf("a webhook got %d, want 200", got)
	}
	if got := p.deliver("second", `{"id":2}`); got != http.StatusNotFound {
		t.Fatalf("a webhook for a connector that is not there got %d, want 404", got)
	}

	write(t, files, "second.yaml", strings.Replace(shop, "{name: shop}\nspec", "{name: second}\nspec", 1))
	p.logs.await(t, "the edited configuration is taken")
	late := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.deliver("second", `{"id":3}`) != http.StatusOK {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("the connector that an edit added takes no webhooks")
		}
	}

	write(t, files, "second.yaml", "kind: Connector\n  spec: [")
	p.logs.await(t, "second.yaml:2")
	if got := p.deliver("second", `{"id":4}`); got != http.StatusOK {
		t.Errorf("after a broken edit a webhook got %d: the old configuration should stay", got)
	}
}

func TestARestartOnTheSameDataGoesOn(t *testing.T) {
	files, data := folder(t, map[string]string{"shop.yaml": shop}), t.TempDir()
	for range 2 {
		p := launch(t, files, data)
		if got := p.deliver("shop", `{"id":1}`); got != http.StatusOK {
			t.Fatalf("a webhook got %d, want 200", got)
		}
		p.end()
	}
}

func TestMistakesAtTheStartAreListedAndNothingStarts(t *testing.T) {
	files := folder(t, map[string]string{
		"a.yaml": strings.Replace(shop, "endpoint:", "endpiont:", 1),
		"b.yaml": strings.Replace(strings.Replace(shop, "{name: shop}\nspec", "{name: other}\nspec", 1), "Shopify", "Shopfy", 1),
		"flow.yaml": `apiVersion: peppasync.io/v1alpha1
kind: Flow
metadata: {name: orders}
spec:
  from: [{connector: nowhere, topics: [orders/create]}]
  deliver: [{name: erp, connector: nowhere, operation: putOrder, mapping: "{}"}]
`,
	})
	data := filepath.Join(t.TempDir(), "data")
	err := Run(t.Context(), Config{Environment: environment(t, io.Discard, nil), Files: files, Data: data})
	if err == nil {
		t.Fatal("it started")
	}
	for _, want := range []string{"a.yaml:6: spec.endpiont", "b.yaml:5", "Shopfy", "flow.yaml", "nowhere", "nothing was started"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in the error:\n%v", want, err)
		}
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data folder was made all the same (%v)", err)
	}
}

func TestASecondProcessOnTheSameDataIsRefused(t *testing.T) {
	files, data := folder(t, map[string]string{"shop.yaml": shop}), t.TempDir()
	launch(t, files, data)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), Config{Environment: environment(t, io.Discard, listener), Files: files, Data: data})
	if err == nil || !strings.Contains(err.Error(), data) {
		t.Errorf("got %v, want an error that names the folder", err)
	}
}

// One order is edited again and again, by more than the store holds: events that
// are worked off make room for the next ones, without a person.
func TestAFullStoreDrainsByItself(t *testing.T) {
	const store, versions = 4 << 20, 60
	files, data := folder(t, map[string]string{"shop.yaml": shop}), t.TempDir()
	p := launchWith(t, files, data, store)
	note := strings.Repeat("n", 100_000)
	begin := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	full := 0
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range versions {
		body := fmt.Sprintf(`{"id":1,"updated_at":%q,"line_items":[],"note":"%d%s"}`, begin.Add(time.Duration(i)*time.Second).Format(time.RFC3339), i, note)
		late := time.After(patience)
		for status := 0; status != http.StatusOK; {
			status = p.deliver("shop", body)
			switch status {
			case http.StatusOK:
			case http.StatusServiceUnavailable:
				if full++; full == 1 {
					p.editWhileFull()
				}
				select {
				case <-tick.C:
				case <-late:
					t.Fatalf("version %d is refused for %v\n%s", i, patience, p.logs)
				}
			default:
				t.Fatalf("version %d got %d, want 200 or 503", i, status)
			}
		}
	}
	if full == 0 {
		t.Errorf("%d versions of 100 kB fit into %d bytes", versions, store)
	}
	p.logs.await(t, "the edited configuration is taken")
	p.end()
	// Far less than the streams were made for is refused with a reason, or works.
	larger := launchWith(t, files, data, 64<<20)
	larger.end()
	smaller := launchWith(t, files, data, store)
	if got := smaller.deliver("shop", `{"id":2,"updated_at":"2026-11-27T09:00:00Z","line_items":[]}`); got != http.StatusOK {
		t.Errorf("with a store made smaller a webhook got %d\n%s", got, smaller.logs)
	}
}

func (p *product) editWhileFull() {
	write(p.t, p.files, "third.yaml", strings.Replace(shop, "{name: shop}\nspec", "{name: third}\nspec", 1))
}

func TestAStoreThatHoldsMoreThanItMayIsRefused(t *testing.T) {
	files, data := folder(t, map[string]string{"shop.yaml": shop}), t.TempDir()
	p := launchWith(t, files, data, 64<<20)
	for i := range 60 {
		if got := p.deliver("shop", fmt.Sprintf(`{"id":%d,"updated_at":"2026-11-27T09:00:00Z","line_items":[],"note":%q}`, i, strings.Repeat("n", 100_000))); got != http.StatusOK {
			t.Fatalf("a webhook got %d", got)
		}
	}
	p.end()
	err := Run(t.Context(), Config{Environment: environment(t, io.Discard, nil), Files: files, Data: data, MaxStore: 4 << 20})
	if err == nil || !strings.Contains(err.Error(), "allow more") {
		t.Errorf("got %v, want an error that says how much is stored", err)
	}
}
