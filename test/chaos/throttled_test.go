package chaos

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/arrivals"
	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/netsuite"
	"github.com/peppasync/peppasync/test/sim/shopify"
)

// TestThrottledInBody has the ERP say with status 200 that it did not take a call,
// as what stands before an account does. Each such order is sent again, and none is
// taken for delivered.
func TestThrottledInBody(t *testing.T) {
	what := fifty()
	what.replicas = 1
	f := open(t, what)
	rule := faults.Rule{Kind: faults.ThrottleInBody, Operations: []string{netsuite.OpUpsert}, RetryAfter: "1"}
	some, certain := rule, rule
	some.Probability, certain.Calls = 0.02, []int{7, 40, 90}
	if err := f.world.ERP.SetFaults([]faults.Rule{certain, some}); err != nil {
		t.Fatal(err)
	}
	span := lasting(8*time.Second, time.Minute)
	f.sell(int(15 * span.Seconds()))
	f.editing(5, span)
	if err := f.world.ERP.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	f.settled(2*span + time.Minute)
	f.leftAlone()
}

// TestShopThrottledInBody has the shop refuse a third of the calls about its stock with
// throttleStatus and status 200, while goods come in at the ERP and orders flow. The
// shop is left alone for as long as it says; then each write of stock comes once; and
// the ERP is fed all the while.
func TestShopThrottledInBody(t *testing.T) {
	what := fifty()
	what.replicas, what.also = 1, "stock"
	f := open(t, what)
	shop := f.world.Shop
	f.until(time.Minute, "the shop's stock is read", func() bool { return shop.Arrivals().Tally()["accepted"] > 0 })
	if err := shop.SetFaults([]faults.Rule{
		{Kind: faults.ThrottleInBody, Operations: []string{shopify.OpMutation, shopify.OpQuery}, Probability: 0.34},
	}); err != nil {
		t.Fatal(err)
	}
	span := lasting(10*time.Second, time.Minute)
	f.sell(int(25 * span.Seconds()))
	begin := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for time.Since(begin) < span {
		if _, err := f.world.ERP.BookReceipt(sku, 1+f.random.IntN(9)); err != nil {
			t.Fatal(err)
		}
		if time.Since(begin) < span/3 { // each edit makes a write of stock stale that is on its way
			f.edit()
			f.edit()
		}
		<-tick.C
	}
	fed := largest(f.world.ERP.Arrivals(), begin, time.Now(), span) // all calls since then
	if err := shop.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	f.settled(2*span + time.Minute)
	f.until(time.Minute, "the shop shows what is free", func() bool {
		b := f.world.Report().Balance[0]
		return b.Shown == b.Free
	})
	f.judgeShop()
	if want := int(10 * span.Seconds()); fed < want {
		t.Errorf("%d calls at the ERP while the shop throttled, want %d at least: one account must not hold up another", fed, want)
	}
}

// judgeShop judges what the shop saw.
func (f *field) judgeShop() {
	f.t.Helper()
	r := f.world.Shop.Report()
	balance := f.world.Report().Balance[0]
	refused, early := early(arrivals.Throttled, f.world.Shop.Arrivals().Snapshot())
	f.t.Logf("%d calls at the shop: %v; %d sets, %d repeated, %d stale; balance %+v", r.Calls, r.ByOutcome, r.Sets, r.RepeatedSets, r.StaleSets, balance)
	if refused == 0 || r.Sets == 0 {
		f.t.Errorf("%d calls were throttled, %d sets of stock were taken: want some of each", refused, r.Sets)
	}
	if early > 0 {
		f.t.Errorf("%d calls came to the shop in the %v that it had asked for after a throttled call", early, unasked)
	}
	if balance.LargestOvershown > 0 {
		f.t.Errorf("the shop showed %d units more than were free", balance.LargestOvershown)
	}
	if most := r.Limits[0].Largest; most > shopCalls {
		f.t.Errorf("over the limit: %d calls at the shop in a minute, the limit is %d", most, shopCalls)
	}
}

// unasked is how long a system is left alone at least after it has throttled a call and
// did not say for how long in a header; the simulated shop says so in its body.
const unasked = shopify.DrainedFor

// early counts the calls with that outcome, and the calls that arrived after the reply to
// one of them before the wait was over, for which it asked or else unasked: but for those
// that may have been under way.
func early(outcome arrivals.Outcome, log []arrivals.Arrival) (refused, early int) {
	const underWay = 300 * time.Millisecond
	for i, a := range log {
		if a.Outcome != outcome {
			continue
		}
		refused++
		from, wait := a.At, unasked
		if a.Asked > 0 {
			from, wait = a.Answered, a.Asked
		}
		for _, b := range log[i+1:] {
			if after := b.At - from; after > underWay && after < wait {
				early++
			}
		}
	}
	return refused, early
}
