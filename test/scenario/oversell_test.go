package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// TestSoldWhileDead has most of the stock sold while the product is dead. When it
// is back, the ERP knows of none of those orders and the shop tells of them 10 s
// after the sale: until then the shop alone knows. The product must not raise the
// shop to what the ERP has, or the same units are sold again.
func TestSoldWhileDead(t *testing.T) {
	const units, sold, left = 300, 250, 50
	script := scene.Saturday()
	script.Units = units
	stage := open(t, scene.Options{Script: script, Binary: binary(t, false)})
	shop, erp := stage.World.Shop, stage.World.ERP
	reads := func() int { return erp.Report().ByOperation[netsuite.OpQuery] }
	until(t, soon, "the product has read the stock", func() bool { return reads() > 0 })
	if err := stage.Kill(); err != nil {
		t.Fatal(err)
	}
	sellTo(t, shop, sold)
	if err := stage.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := reads()
	until(t, soon, "the restarted product has read the stock twice", func() bool { return reads() >= seen+2 })
	if captured := shop.Report().Captured; captured > 0 {
		t.Logf("%d webhooks came before the second read", captured)
	}
	// Whoever comes now buys what the shop shows. More than are left must not go.
	if got := sellTo(t, shop, 2*left); got != left {
		t.Errorf("%d of %d units are sold after the restart, want %d: the shop must show what is free", got, 2*left, left)
	}
	until(t, time.Minute, "all orders are in the ERP", func() bool { return erp.Report().Orders == shop.Report().Sold })
	r := stage.World.Report()
	t.Logf("%d sold while the product was dead, %d in all; balance %+v", sold, r.Sold, r.Balance[0])
	if b := r.Balance[0]; b.LargestOvershown != 0 || b.LargestOversold != 0 || r.Systems.ERP.LargestOversold != 0 {
		t.Errorf("the shop showed %d units more than were free, %d are sold that are not there", b.LargestOvershown, b.LargestOversold)
	}
	if r.Lost != 0 || r.Duplicates != 0 {
		t.Errorf("%d lost, %d duplicates", r.Lost, r.Duplicates)
	}
	until(t, soon, fmt.Sprintf("the shop shows what is free of %d units", units), func() bool {
		b := stage.World.Report().Balance[0]
		return b.Shown == b.Free
	})
}

// sellTo has so many buyers, one after the other, and returns how many of them got
// their unit.
func sellTo(t *testing.T, shop *shopify.Shop, buyers int) int {
	t.Helper()
	sale, err := shop.Sell(shopify.Burst{Count: buyers, SKU: scene.SKU})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-sale.Done():
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	return sale.Result().Sold
}
