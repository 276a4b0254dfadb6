package scenario

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/sim"
	"github.com/peppasync/peppasync/test/sim/retail"
	"github.com/peppasync/peppasync/test/sim/woocommerce"
)

// TestLiveOrdersOvertakeAReplay has a flow take the orders of a shop after 300 had come in,
// and replays those, at a warehouse that takes 20 calls a second: fifteen seconds of work.
// Whoever orders meanwhile does not stand behind them, nor does an old order that is edited,
// and nothing comes twice.
func TestLiveOrdersOvertakeAReplay(t *testing.T) {
	const old, live = 300, 12
	world, product := startShops(t, map[string]string{"secret": storeToken})
	if err := world.WooCommerce.SetTarget(product.WebhookURL("woo")); err != nil {
		t.Fatal(err)
	}
	if err := product.Stop(); err != nil {
		t.Fatal(err)
	}
	product.Watched = true // for its NATS and its metrics
	topics := []byte("topics: [order.created, order.updated, order.deleted]")
	rewrite(t, product, topics, []byte("topics: [order.restored]"))
	rewrite(t, product, []byte("rollingWindow: {calls: 6000, per: 1m}"), []byte("rollingWindow: {calls: 20, per: 1s}"))
	if err := product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	woo := world.WooCommerce
	spec := retail.Spec{Lines: []retail.Line{{SKU: "VIRAL-1", Quantity: 1}}}
	var ids []int64
	for range old {
		order, err := woo.SellOne(spec)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, order.ID)
	}
	if err := woo.WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What the gate has not read would be read by the flow as it is then, and be live itself.
	until(t, soon, "the logic-gate has read them", func() bool {
		waiting, err := product.Metric(t.Context(), "peppasync_gate_waiting")
		return err == nil && waiting == 0
	})
	if err := product.Stop(); err != nil {
		t.Fatal(err)
	}
	rewrite(t, product, []byte("topics: [order.restored]"), topics)
	if err := product.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	replay := command(t, product, "replay", "--connector", "woo", "--since", "1h", "--yes", "--by", "kim")
	var out bytes.Buffer
	replay.Stdout, replay.Stderr = &out, &out
	if err := replay.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, soon, "the replayed ones are under way", func() bool { return len(world.WMS.Orders()) > 10 })
	newest, err := woo.Update(ids[old-1], retail.Edit{Quantity: 3})
	if err != nil {
		t.Fatal(err)
	}
	took := []time.Duration{arrival(t, world, newest, 3)}
	for range live {
		order, err := woo.SellOne(spec)
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, arrival(t, world, order, 1))
	}
	waiting := old + live - len(world.WMS.Orders())
	if err := replay.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	slices.Sort(took)
	t.Logf("an edit and %d live orders arrived within %v at p50 and %v at most; %d of %d old ones waited still", live, took[len(took)/2], took[len(took)-1], waiting, old)
	if waiting < old/4 {
		t.Errorf("only %d old orders waited still, so that the live ones have overtaken few", waiting)
	}
	// In the order of arrival the first would have taken more than ten seconds.
	if took[len(took)/2] > time.Second || took[len(took)-1] > 4*time.Second {
		t.Errorf("live orders took %v", took)
	}
	until(t, time.Minute, "the warehouse has all", func() bool { return len(world.WMS.Orders()) == old+live })
	report := world.WMS.Report()
	if report.Accepted != old+live || report.DuplicateOrders != 0 || report.DuplicateReferences != 0 || report.Updates > 1 || report.Undone != 0 {
		t.Errorf("the warehouse has %d orders, %d and %d of them twice, %d updates, %d undone", report.Accepted, report.DuplicateOrders, report.DuplicateReferences,
			report.Updates, report.Undone)
	}
	if order, _ := at(world, "woo", ids[old-1]); len(order.Lines) != 1 || order.Lines[0].Quantity != 3 {
		t.Errorf("the edited order is %+v", order)
	}
}

// arrival returns how long an order with a quantity took to the warehouse.
func arrival(t *testing.T, world *sim.World, sold woocommerce.Order, quantity int) time.Duration {
	t.Helper()
	began := time.Now()
	until(t, time.Minute, fmt.Sprint("the warehouse has order ", sold.ID), func() bool {
		order, ok := at(world, "woo", sold.ID)
		return ok && len(order.Lines) == 1 && order.Lines[0].Quantity == quantity
	})
	return time.Since(began)
}

// rewrite changes the manifest of both shops.
func rewrite(t *testing.T, product *runner.Product, from, to []byte) {
	t.Helper()
	file := filepath.Join(product.Files, "shops.yaml")
	manifest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(manifest, from, to, 1)
	if bytes.Equal(changed, manifest) {
		t.Fatalf("the manifest has no %q", from)
	}
	if err := os.WriteFile(file, changed, 0o600); err != nil {
		t.Fatal(err)
	}
}

// command is one of the product's, for its NATS.
func command(t *testing.T, product *runner.Product, name string, arguments ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, product.Binary, append([]string{name, "--nats", product.URL()}, arguments...)...)
}
