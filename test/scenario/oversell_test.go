package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// TestSoldWhileDead has most of the stock sold while the product is dead. When it
// is back, the ERP knows of none of those orders and the shop tells of them 10 s
// after the sale: until then the shop alone knows. The product must not raise the
// shop to what the ERP has, or the same units are sold again.
func TestSoldWhileDead(t *testing.T) {
	t.Parallel()
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
	sellTo(t, shop, shopify.Burst{Count: sold, SKU: scene.SKU})
	if err := stage.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := reads()
	// Whoever comes now buys what the shop shows, as long as it alone knows.
	got := sellTo(t, shop, shopify.Burst{Count: 2 * left, SKU: scene.SKU, Over: jsontime.Duration(8 * time.Second)})
	if got != left {
		t.Errorf("%d of %d buyers got a unit after the restart, want %d: the shop must show what is free", got, 2*left, left)
	}
	if n := reads() - seen; n < 2 {
		t.Errorf("the restarted product has read the stock %d times while buyers came, want at least 2, or this test shows nothing", n)
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

// sellTo waits for the end of a sale and returns how many buyers got their unit.
func sellTo(t *testing.T, shop *shopify.Shop, burst shopify.Burst) int {
	t.Helper()
	sale, err := shop.Sell(burst)
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
