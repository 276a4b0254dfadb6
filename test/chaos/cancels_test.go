package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// markers are orders that are sold after cancellations, and wait at the ERP's door only
// when those are known there, too.
const markers = 50

// TestCancelled cancels orders: some that wait, for which the ERP never gets a call;
// some whose creation is in doubt, and some that are there, of which the ERP is told
// as the last it hears of them; and some while the backlog drains, which end in one of
// the two ways. Some of each were edited before. A replica is killed every 2 s.
func TestCancelled(t *testing.T) {
	besideOthers(t)
	what := fifty()
	what.also = "cancels"
	f := open(t, what)
	span := lasting(8*time.Second, 2*time.Minute)
	count := int(25 * span.Seconds())
	f.backlog(count)
	f.apply(map[string]any{"paused": true})
	waiting := f.sellOf(sku, count)
	f.editing(20, time.Second)
	f.cancel(unmade, f.some(waiting, len(waiting)/3)...)
	f.known()
	f.apply(nil)
	for end := time.Now().Add(span); time.Now().Before(end); {
		f.cancel(either, f.some(f.sold, 4)...)
		f.editing(10, 500*time.Millisecond)
		f.killing(1500*time.Millisecond, time.Second)
	}
	f.settled(2*span + time.Minute)
}

// TestCancelledInDoubt cuts the creations of orders, before and after they take effect
// and long before it, and cancels the orders while it is open whether they are there.
func TestCancelledInDoubt(t *testing.T) {
	besideOthers(t)
	what := fifty()
	what.also = "cancels"
	f := open(t, what)
	rounds := 2
	if *long {
		rounds = 20
	}
	for range rounds {
		f.sell(20)
		f.settled(time.Minute)
		f.cancel(told, f.some(f.sold, 5)...)
		f.apply(map[string]any{"paused": true})
		open := f.sellOf(sku, 18)
		rules, cuts := f.cutFirst(open)
		if err := f.world.ERP.SetFaults(rules); err != nil {
			t.Fatal(err)
		}
		before := f.world.ERP.Report().Faults
		f.apply(nil)
		f.until(time.Minute, "every creation is cut", func() bool { return f.cuts(before) == cuts })
		f.cancel(told, open...)
		f.settled(time.Minute)
	}
	if late := f.world.ERP.Report().LateCommits; late == 0 {
		t.Error("no creation took effect late")
	}
}

// cutFirst cuts the first call of each of these orders, and of every second one the
// next as well, and returns how many that are.
func (f *field) cutFirst(names []string) (rules []faults.Rule, cuts int) {
	kinds := []faults.Kind{faults.CutBeforeCommit, faults.CutAfterCommit, faults.CutCommitLater}
	for i, name := range names {
		order, ok := f.world.Shop.Order(name)
		if !ok {
			f.t.Fatalf("the shop has no order %s", name)
		}
		cuts += 1 + i%2
		rules = append(rules, faults.Rule{
			Kind: kinds[i%len(kinds)], Operations: []string{netsuite.OpUpsert}, Keys: []string{fmt.Sprint("shopify-", order.ID)},
			Calls: []int{1, 2}[:1+i%2], Delay: jsontime.Duration(horizon - time.Second),
		})
	}
	return rules, cuts
}

// cuts counts the calls that were cut since there were so many.
func (f *field) cuts(before map[string]int) (cuts int) {
	now := f.world.ERP.Report().Faults
	for _, kind := range []faults.Kind{faults.CutBeforeCommit, faults.CutAfterCommit, faults.CutCommitLater} {
		cuts += now[string(kind)] - before[string(kind)]
	}
	return cuts
}

// some returns random ones of these orders that are not cancelled.
func (f *field) some(of []string, count int) (names []string) {
	for _, i := range f.random.Perm(len(of)) {
		if len(names) < count && f.cancelled[of[i]] == 0 {
			names = append(names, of[i])
		}
	}
	return names
}

// cancel cancels orders that are to end in a certain way.
func (f *field) cancel(as fate, names ...string) {
	f.t.Helper()
	for _, name := range names {
		if _, err := f.world.Shop.Cancel(name); err != nil {
			f.t.Fatal(err)
		}
		f.cancelled[name] = as
		f.want[name] = 0
	}
}

// known waits until what the shop has said so far is known to the product. Nothing from
// outside shows that of an order which waits; but orders that are sold later are seen
// waiting.
func (f *field) known() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := f.world.Shop.WaitDelivered(ctx); err != nil {
		f.t.Fatal(err)
	}
	before, err := f.product.Waiting(f.t.Context(), "netsuite")
	if err != nil {
		f.t.Fatal(err)
	}
	f.sell(markers)
	f.until(time.Minute, "the orders that were sold last wait", func() bool {
		waiting, err := f.product.Waiting(f.t.Context(), "netsuite")
		return err == nil && waiting >= before+markers
	})
}
