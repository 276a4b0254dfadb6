package scenario

import (
	"strings"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// TestFullDisk gives the product too little space. It must say 503 and nothing
// else, and have all that it said 2xx to: with more space, each of those is fed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	stage := open(t, scene.Options{
		Script: scene.Saturday(), Binary: binary(t, true), Arguments: []string{"--max-store", "4194304"},
	})
	note := strings.Repeat("a long wish of the buyer ", 4000) // 100 kB
	lines := []shopify.LineSpec{{SKU: scene.SKU, Quantity: 1}}
	const orders = 60
	for range orders {
		if _, err := stage.World.Shop.SellOne(shopify.OrderSpec{Lines: lines, Note: note}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, time.Minute, "every webhook was tried", func() bool { return stage.World.Shop.Report().Webhooks.Attempts >= orders })
	r := stage.World.Shop.Report()
	t.Logf("with 4 MB: %d of %d captured, replies %v", r.Captured, orders, r.Webhooks.ByStatus)
	if r.Captured == 0 || r.Captured == orders {
		t.Errorf("%d of %d orders are captured; want the disk to be full on the way", r.Captured, orders)
	}
	for status, n := range r.Webhooks.ByStatus {
		if status != "200" && status != "503" {
			t.Errorf("%d webhooks are answered %s, want 200 or 503", n, status)
		}
	}
	kept := stage.World.Shop.Captured()
	if err := stage.Product.Stop(); err != nil {
		t.Errorf("with a full disk the product does not stop well: %v", err)
	}
	stage.Product.Arguments = nil
	if err := stage.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, time.Minute, "with more space, all orders that were captured are in the ERP", func() bool {
		have := make(map[string]bool)
		for _, o := range stage.World.ERP.Orders() {
			have[o.OtherRefNum] = true
		}
		for _, name := range kept {
			if !have[name] {
				return false
			}
		}
		return true
	})
	t.Logf("%d orders that were captured on the full disk are fed", len(kept))
	until(t, time.Minute, "the shop has delivered the others again, and they are fed", func() bool {
		r := stage.World.Report()
		return r.Captured == orders && r.Fed == orders
	})
	if r := stage.World.Report(); r.Duplicates != 0 || r.Lost != 0 {
		t.Errorf("%d duplicates, %d lost", r.Duplicates, r.Lost)
	}
}
