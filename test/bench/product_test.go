package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// The manifests, with what differs left out.
const (
	shopFile = `
kind: Connector
metadata: {name: %s}
spec:
  system: Shopify
  endpoint: %s
  auth: {secretRef: {name: shopify}}
  webhook: {secretRef: {name: shopify-webhook}}
  limits:
    - {name: per-minute, rollingWindow: {calls: 240, per: 1m}}
  shopify: {apiVersion: "2026-10"}
`
	erpFile = `
kind: Connector
metadata: {name: %s}
spec:
  system: NetSuite
  endpoint: %s
  auth: {secretRef: {name: netsuite}}
  limits:
    - {name: per-minute, rollingWindow: {calls: %d, per: 1m}}
  commitHorizon: 15m
`
	// flowFile sends an order to one of the ERPs, by its note.
	flowFile = `
kind: Flow
metadata: {name: %[1]s}
spec:
  from: [{connector: shopify, topics: [orders/create]}]
  when: order.note == "%[2]d"
  deliver:
    - name: erp
      connector: %[1]s
      operation: upsertSalesOrder
      mapping: |
        {
          "entity": {"id": "42"}, "externalId": externalId, "otherRefNum": order.name,
          "item": {"items": order.lines.map(l, {"item": {"refName": l.sku}, "quantity": l.quantity, "rate": double(l.unit_price)})}
        }
`
)

// files is a product, each role a process of its own, and the folder of its
// manifests.
type files struct {
	*runner.Product
	b   *testing.B
	ctx context.Context //nolint:containedctx // of the benchmark
	log string
}

// product builds the product; it is to be given manifests and started.
func product(b *testing.B, arguments ...string) *files {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	b.Cleanup(cancel)
	root, err := runner.Root()
	if err != nil {
		b.Fatal(err)
	}
	folder := b.TempDir()
	binary, err := runner.Build(ctx, root, folder, false)
	if err != nil {
		b.Fatal(err)
	}
	secrets := filepath.Join(folder, "secrets")
	err = runner.WriteSecrets(secrets, map[string]map[string]string{
		"shopify": {"accessToken": shopify.DefaultToken}, "shopify-webhook": {"secret": shopify.DefaultWebhookSecret},
		"netsuite": {"accessToken": netsuite.DefaultToken},
	})
	if err != nil {
		b.Fatal(err)
	}
	f := &files{b: b, ctx: ctx, log: filepath.Join(folder, "product.log"), Product: &runner.Product{
		Binary: binary, Files: filepath.Join(folder, "config"), Secrets: secrets, Data: filepath.Join(folder, "data"),
		Apart: true, Arguments: arguments,
	}}
	if err := os.Mkdir(f.Files, 0o700); err != nil {
		b.Fatal(err)
	}
	return f
}

func (f *files) until(what string, condition func() bool) {
	f.b.Helper()
	if err := runner.Until(f.ctx, 20*time.Millisecond, what, condition); err != nil {
		f.b.Fatal(err)
	}
}

// usage returns what the dispatcher and NATS have used so far.
func (f *files) usage() (dispatcher, nats runner.Usage) {
	f.b.Helper()
	dispatcher, err := f.Dispatcher(0)
	if err != nil {
		f.b.Fatal(err)
	}
	if nats, err = f.NATS(); err != nil {
		f.b.Fatal(err)
	}
	return dispatcher, nats
}

// write writes one manifest, the first value being the name.
func (f *files) write(manifest string, values ...any) {
	f.b.Helper()
	file, err := os.CreateTemp(f.Files, "*.yaml")
	if err == nil {
		_, err = fmt.Fprintf(file, "apiVersion: peppasync.io/v1alpha1"+manifest, values...)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		f.b.Fatal(err)
	}
}

// start runs the product until the benchmark ends.
func (f *files) start() {
	f.b.Helper()
	log, err := os.Create(f.log)
	if err != nil {
		f.b.Fatal(err)
	}
	f.Log = log
	f.b.Cleanup(func() { _ = log.Close() })
	if err := f.Start(f.ctx); err != nil {
		data, _ := os.ReadFile(f.log)
		f.b.Fatalf("%v\n%s", err, data)
	}
	f.b.Cleanup(func() {
		if err := f.Stop(); err != nil {
			f.b.Error(err)
		}
	})
}
