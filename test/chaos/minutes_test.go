package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/sim/faults"
	"github.com/peppasync/peppasync/test/sim/jsontime"
	"github.com/peppasync/peppasync/test/sim/netsuite"
)

// TestCommitsMinutesLater cuts creations that take effect 3 to 5 minutes after, edits
// their orders meanwhile, and kills who feeds the ERP, so that what waits for those
// minutes is known to another owner. No edit is undone by a commit that comes after it,
// and no other order waits.
func TestCommitsMinutesLater(t *testing.T) {
	if !*long {
		t.Skip("only in the long form: make chaos")
	}
	const minuteHorizon, least, most = 6 * time.Minute, 3 * time.Minute, 5 * time.Minute
	what := fifty()
	what.spec["commitHorizon"] = minuteHorizon.String()
	f := open(t, what)
	f.apply(map[string]any{"paused": true})
	late := f.sellOf(sku, 12)
	var rules []faults.Rule
	for _, name := range late {
		order, ok := f.world.Shop.Order(name)
		if !ok {
			t.Fatalf("the shop has no order %s", name)
		}
		rules = append(rules, faults.Rule{
			Kind: faults.CutCommitLater, Operations: []string{netsuite.OpUpsert}, Keys: []string{fmt.Sprint("shopify-", order.ID)}, Calls: []int{1},
			Delay: jsontime.Duration(least + time.Duration(f.random.Int64N(int64(most-least)))),
		})
	}
	if err := f.world.ERP.SetFaults(rules); err != nil {
		t.Fatal(err)
	}
	f.apply(nil)
	f.until(time.Minute, "every creation is cut", func() bool { return f.cuts(nil) == len(late) })
	cut := time.Now()
	f.sell(200)
	for range 3 {
		f.editEach(late)
		f.killing(20*time.Second, 19*time.Second)
		f.editing(5, 5*time.Second)
	}
	f.until(time.Minute, "only what is in doubt waits", func() bool { return f.evidence().missing() == len(late) })
	if n := f.world.ERP.Report().LateCommits; n > 0 || time.Since(cut) > least {
		t.Errorf("%d creations have taken effect, %v after they were cut: the others waited for them, or this machine is too slow", n, time.Since(cut))
	}
	f.until(most, "every creation has taken effect", func() bool { return f.world.ERP.Report().LateCommits == len(late) })
	f.editEach(late)
	f.settled(minuteHorizon)
	if waited := time.Since(cut); waited < minuteHorizon {
		t.Errorf("the edits were there %v after the cut: a commit may come until %v after it", waited, minuteHorizon)
	}
}

// editEach raises the quantity of each of these orders.
func (f *field) editEach(names []string) {
	f.t.Helper()
	for _, name := range names {
		f.editOf(name)
	}
}
