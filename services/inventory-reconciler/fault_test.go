package inventoryreconciler

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
)

// Around the end of the stock, with everything late that can be: webhooks, replies
// of the ERP, the states that follow from them; with outages, conflicts, receipts,
// orders that the ERP never takes, and restarts. The shop never shows more than is
// free, and is never set to nothing while units are free; and once all is quiet it
// shows what the ERP has, less what that never took.
//
// What is excluded is what ADR 0007 excludes: a call that the ERP takes longer to
// answer than the time between two readings.
func TestAroundTheEndOfTheStock(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		seed := rand.Uint64()
		t.Run("", func(t *testing.T) {
			t.Logf("seed %d", seed)
			newFaults(t, seed).run()
		})
	}
}

type faults struct {
	*world
	random *rand.Rand
	stop   func()
	// contained are the sales that the last reading of the ERP may contain.
	contained []*sale
	refused   []*sale
}

func newFaults(t *testing.T, seed uint64) *faults {
	f := &faults{world: newWorld(t, 12, "shop"), random: rand.New(rand.NewPCG(seed, 0))}
	f.accounts["erp"].called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
		f.waitFor(t.Context(), func() bool {
			return !slices.ContainsFunc(f.contained, func(s *sale) bool { return !s.settled })
		})
		result := f.call(f.accounts["erp"], d)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.contained = slices.DeleteFunc(slices.Clone(f.sales), func(s *sale) bool { return !s.taken })
		return result
	}
	f.accounts["shop"].called = func(d *dispatchv1.Delivery) *dispatchv1.Result {
		if d.GetOperation() == connectors.OperationSetStock && d.GetExpiresAt().AsTime().UnixNano()%3 == 0 {
			f.sell("shop", 1)
		}
		return nil
	}
	f.stop = f.start()
	return f
}

func (f *faults) run() {
	for range 250 {
		f.act()
		pause(f.t.(*testing.T), time.Duration(f.random.IntN(8))*time.Millisecond)
	}
	f.change(func() { f.accounts["erp"].down, f.accounts["shop"].called = false, nil })
	for _, s := range f.sales {
		f.finish(s)
	}
	f.inStep()
	f.readings("erp", 3)
	f.inStep()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.t.Logf("%s; %d sales, %d refused by the ERP, written %v", f, len(f.sales), len(f.refused), f.shops["shop"].history)
}

// act lets one thing happen.
func (f *faults) act() {
	switch f.random.IntN(16) {
	case 0, 1, 2:
		f.sell("shop", 1+f.random.Int64N(2))
	case 3, 4, 5:
		f.pick(func(s *sale) bool { return !s.heard }, func(s *sale) {
			f.hear(s)
			if f.random.IntN(6) == 0 {
				f.refused = append(f.refused, s)
			}
		})
	case 6, 7:
		f.pick(func(s *sale) bool { return s.heard && !s.taken && !slices.Contains(f.refused, s) }, f.take)
	case 8, 9, 10:
		f.pick(func(s *sale) bool { return s.taken && !s.settled }, f.settle)
	case 11, 12:
		f.pick(func(s *sale) bool { return s.settled && !s.closed }, f.close)
	case 13:
		f.receive(1 + f.random.Int64N(3))
	case 14:
		f.change(func() { f.accounts["erp"].down = !f.accounts["erp"].down })
	case 15:
		if f.random.IntN(4) == 0 {
			f.restart()
		}
	}
}

// restart is quick enough for the logic-gate to have closed what was settled.
func (f *faults) restart() {
	f.stop()
	for _, s := range f.sales {
		if s.settled && !s.closed {
			f.close(s)
		}
	}
	f.stop = f.start()
}

func (f *faults) pick(keep func(*sale) bool, do func(*sale)) {
	f.mu.Lock()
	var found []*sale
	for _, s := range f.sales {
		if keep(s) {
			found = append(found, s)
		}
	}
	f.mu.Unlock()
	if len(found) > 0 {
		do(found[f.random.IntN(len(found))])
	}
}

// finish lets everything arrive that is under way of a sale.
func (f *faults) finish(s *sale) {
	if !s.heard {
		f.hear(s)
	}
	if slices.Contains(f.refused, s) {
		return
	}
	if !s.taken {
		f.take(s)
	}
	if !s.settled {
		f.settle(s)
	}
	if !s.closed {
		f.close(s)
	}
}
