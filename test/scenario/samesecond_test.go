package scenario

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// TestTwoVersionsOfOneSecond edits orders in the second in which they were made, so that
// both webhooks have one updated_at. Of half of the orders the older one comes last. The ERP
// has each order as the shop has it in the end, also where the shop could not be asked for a
// while and the product was killed meanwhile.
func TestTwoVersionsOfOneSecond(t *testing.T) {
	t.Parallel()
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, true)})
	shop, erp := stage.World.Shop, stage.World.ERP
	want := map[string]int{}
	// Each makes two orders, of which the webhook of the second one's making is late.
	sellAndEdit := func(quantity int) {
		t.Helper()
		for _, late := range []float64{0, 1} {
			if err := shop.SetMishaps(faults.Mishaps{Late: late, LateBy: seconds(late), Topics: []string{"orders/create"}}); err != nil {
				t.Fatal(err)
			}
			sold, err := shop.SellOne(shopify.OrderSpec{Lines: []shopify.LineSpec{{SKU: scene.SKU, Quantity: 1}}})
			if err != nil {
				t.Fatal(err)
			}
			if late == 0 {
				if err := shop.WaitDelivered(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			edited, err := shop.Update(sold.Name, shopify.Edit{Quantity: quantity, SameSecond: true})
			if err != nil {
				t.Fatal(err)
			}
			if edited.UpdatedAt != sold.UpdatedAt {
				t.Fatalf("%s was changed at %s and %s, want one second", sold.Name, sold.UpdatedAt, edited.UpdatedAt)
			}
			want[sold.Name] = quantity
		}
		if err := shop.WaitDelivered(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	asTheShopHasThem := func() bool {
		right := 0
		for _, o := range erp.Orders() {
			if o.Quantities[scene.SKU] == want[o.OtherRefNum] {
				right++
			}
		}
		return right == len(want)
	}
	sellAndEdit(3)
	until(t, soon, "the shop is asked for both orders", func() bool { return shop.Report().Reads == 2 })
	until(t, time.Minute, "the ERP has both as the shop has them", asTheShopHasThem)

	if err := shop.SetFaults([]faults.Rule{{Kind: faults.Unavailable, Operations: []string{shopify.OpQuery}}}); err != nil {
		t.Fatal(err)
	}
	sellAndEdit(4)
	until(t, soon, "what is guessed is in the ERP, and wrong", func() bool { return len(erp.Orders()) == len(want) && !asTheShopHasThem() })
	if err := stage.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := shop.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	if err := stage.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, time.Minute, "the ERP has all as the shop has them", asTheShopHasThem)
	r := stage.World.Report()
	if r.Fed != len(want) || r.Duplicates != 0 || r.Lost != 0 {
		t.Errorf("%d orders at the ERP of %d, %d twice, %d lost", r.Fed, len(want), r.Duplicates, r.Lost)
	}
	t.Logf("%d orders, %d webhooks, %d reads", len(want), shop.Report().Webhooks.Attempts, shop.Report().Reads)
}

// TestTwoVersionsOfOneSecondOfALongOrder does so with an order of 400 lines, more than one
// query may hold. The older webhook comes last, so that the order is wrong until the shop
// has been asked for each of its three parts.
func TestTwoVersionsOfOneSecondOfALongOrder(t *testing.T) {
	t.Parallel()
	const lines = 400
	stage := open(t, scene.Options{Script: scene.Saturday(), Binary: binary(t, true)})
	shop, erp := stage.World.Shop, stage.World.ERP
	if err := shop.SetMishaps(faults.Mishaps{Late: 1, LateBy: seconds(1), Topics: []string{"orders/create"}}); err != nil {
		t.Fatal(err)
	}
	long := shopify.OrderSpec{}
	for range lines {
		long.Lines = append(long.Lines, shopify.LineSpec{SKU: scene.SKU, Quantity: 1})
	}
	sold, err := shop.SellOne(long)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shop.Update(sold.Name, shopify.Edit{Quantity: 3, SameSecond: true}); err != nil {
		t.Fatal(err)
	}
	if err := shop.WaitDelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, soon, "the shop is asked for three parts", func() bool { return shop.Report().Reads == 3 })
	until(t, time.Minute, "the ERP has it as the shop has it", func() bool {
		orders := erp.Orders()
		return len(orders) == 1 && orders[0].Lines == lines && orders[0].Quantities[scene.SKU] == lines+2
	})
	if r := stage.World.Report(); r.Fed != 1 || r.Duplicates != 0 || r.Lost != 0 || shop.Report().Reads != 3 {
		t.Errorf("%d orders at the ERP, %d twice, %d lost, %d reads", r.Fed, r.Duplicates, r.Lost, shop.Report().Reads)
	}
}
