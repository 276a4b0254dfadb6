package scenario

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// soon bounds what takes effect at once on a machine that is not busy.
const soon = 20 * time.Second

// TestBadInput sends what must be refused: each is refused by the status that is
// promised, and nothing of it is stored.
func TestBadInput(t *testing.T) {
	t.Parallel()
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, true)})
	template := sell(t, stage)
	fed(t, stage, 1)
	body := func(number int64) []byte { return foreignOrder(t, template, number) }
	large := bytes.Replace(body(9003), []byte(`"note":null`), []byte(`"note":"`+strings.Repeat("x", 1<<20)+`"`), 1)
	for i, test := range []struct {
		what, connector, signature string
		body                       []byte
		want                       int
	}{
		{"a wrong signature", "shopify", sign("another secret", body(9000)), body(9000), http.StatusUnauthorized},
		{"no signature", "shopify", "", body(9001), http.StatusUnauthorized},
		{"the signature of another body", "shopify", sign(shopify.DefaultWebhookSecret, body(9001)), body(9002), http.StatusUnauthorized},
		{"a body of more than a megabyte", "shopify", sign(shopify.DefaultWebhookSecret, large), large, http.StatusRequestEntityTooLarge},
		{"no JSON", "shopify", sign(shopify.DefaultWebhookSecret, []byte("order=9004")), []byte("order=9004"), http.StatusBadRequest},
		{"half of a JSON", "shopify", sign(shopify.DefaultWebhookSecret, body(9005)[:100]), body(9005)[:100], http.StatusBadRequest},
		{"a connector that does not exist", "shopware", sign(shopify.DefaultWebhookSecret, body(9006)), body(9006), http.StatusNotFound},
		{"a connector that takes no webhooks", "netsuite", sign(shopify.DefaultWebhookSecret, body(9007)), body(9007), http.StatusNotFound},
	} {
		if got := post(t, stage.Product.WebhookURL(test.connector), test.signature, i, test.body); got != test.want {
			t.Errorf("%s is answered %d, want %d", test.what, got, test.want)
		}
	}
	// What is sent now comes after all that may have been stored.
	sell(t, stage)
	fed(t, stage, 2)
	r := stage.World.Report()
	if r.WMSAccepted != 2 || len(r.WMSRefused) != 0 || len(r.Texts) != 0 || r.Duplicates != 0 {
		t.Errorf("refused input was stored: the WMS has %d orders and refused %v; texts are %v", r.WMSAccepted, r.WMSRefused, r.Texts)
	}
	// It can be authentic and JSON and yet be no order: taken, held, and nobody
	// behind it waits.
	if got := post(t, stage.Product.WebhookURL("shopify"), sign(shopify.DefaultWebhookSecret, []byte(`{"id":"?"}`)), 99, []byte(`{"id":"?"}`)); got != http.StatusOK {
		t.Errorf("authentic JSON that is no order is answered %d, want 200", got)
	}
	sell(t, stage)
	fed(t, stage, 3)
	until(t, soon, "a text tells of the event that is no order", func() bool { return len(stage.World.Twilio.Report().Texts) == 1 })
}

// TestEdits changes the configuration under a running product.
func TestEdits(t *testing.T) {
	t.Parallel()
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, true)})
	flow := filepath.Join(stage.Files(), "flow.yaml")
	good := read(t, flow)
	for _, broken := range []struct {
		what, from, to string
		// says is in the message, below is how far the mistake is below the change.
		says  string
		below int
	}{
		{"a field that does not exist", "operation: putOrder", "operatoin: putOrder", "operatoin", 0},
		{"what is no YAML", "metadata:\n  name: orders", "metadata:\n  name: [orders", "YAML", 1},
		{"a field that no order has", `"reference": order.name`, `"reference": order.sobriquet`, "sobriquet", 0},
	} {
		where := fmt.Sprintf("flow.yaml:%d", lineOf(t, good, broken.from)+broken.below)
		write(t, flow, strings.Replace(good, broken.from, broken.to, 1))
		until(t, soon, fmt.Sprintf("the log tells of %s at %s", broken.what, where), func() bool {
			for line := range strings.Lines(read(t, stage.Log())) {
				if strings.Contains(line, where) && strings.Contains(line, broken.says) {
					return true
				}
			}
			return false
		})
	}
	sell(t, stage)
	fed(t, stage, 1)
	if got := stage.World.ERP.Orders()[0].OtherRefNum; got != "#1" {
		t.Errorf("under a broken edit the old mapping stays, but otherRefNum is %q, want #1", got)
	}
	write(t, flow, strings.Replace(good, `"otherRefNum": order.name`, `"otherRefNum": "WEB " + order.name`, 1))
	sold := 1
	until(t, soon, "orders are mapped as edited", func() bool {
		sell(t, stage)
		sold++
		fed(t, stage, sold)
		return stage.World.ERP.Orders()[sold-1].OtherRefNum == fmt.Sprintf("WEB #%d", sold)
	})
}

// TestBrokenStart starts the product on broken files.
func TestBrokenStart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	files := filepath.Join(folder, "config")
	if err := os.CopyFS(files, os.DirFS(filepath.Join(root(t), "deploy", "demo"))); err != nil {
		t.Fatal(err)
	}
	stock := filepath.Join(files, "stock.yaml")
	good := read(t, stock)
	write(t, stock, strings.Replace(good, "readEvery: 3s", "readEvery: often", 1))
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	up := exec.CommandContext(ctx, binary(t, true), "up", "-f", files, "--data", filepath.Join(folder, "data"), "--listen", "127.0.0.1:0")
	said, err := up.CombinedOutput()
	if up.ProcessState.ExitCode() != 1 {
		t.Errorf("the product ended with %v, want exit code 1", err)
	}
	if where := fmt.Sprintf("stock.yaml:%d", lineOf(t, good, "readEvery: 3s")); !strings.Contains(string(said), where) || !strings.Contains(string(said), "readEvery") {
		t.Errorf("it does not say where the mistake is, %s:\n%s", where, said)
	}
}

func sell(t *testing.T, stage *scene.Stage) shopify.Order {
	t.Helper()
	order, err := stage.World.Shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: scene.SKU, Quantity: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	return order
}

// fed waits until the ERP has so many orders.
func fed(t *testing.T, stage *scene.Stage, orders int) {
	t.Helper()
	until(t, soon, fmt.Sprintf("the ERP has %d orders", orders), func() bool { return stage.World.ERP.Report().Orders >= orders })
}

// foreignOrder is an order that the shop never sold.
func foreignOrder(t *testing.T, template shopify.Order, number int64) []byte {
	t.Helper()
	template.ID, template.Name, template.OrderNumber = number, fmt.Sprintf("#%d", number), number
	template.AdminGraphQLID = fmt.Sprintf("gid://shopify/Order/%d", number)
	data, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// post sends one webhook and returns the status.
func post(t *testing.T, url, signature string, id int, body []byte) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-Shopify-Topic": "orders/create", "X-Shopify-Shop-Domain": shopify.DefaultDomain,
		"X-Shopify-Hmac-Sha256": signature, "X-Shopify-Webhook-Id": fmt.Sprintf("webhook-%d", id), "X-Shopify-Event-Id": fmt.Sprintf("event-%d", id),
		"X-Shopify-API-Version": shopify.DefaultAPIVersion, "X-Shopify-Triggered-At": time.Now().UTC().Format(time.RFC3339Nano),
	} {
		request.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lineOf returns the number of the line that a text begins in.
func lineOf(t *testing.T, content, text string) int {
	t.Helper()
	before, _, found := strings.Cut(content, text)
	if !found {
		t.Fatalf("the file does not contain %q", text)
	}
	return 1 + strings.Count(before, "\n")
}
