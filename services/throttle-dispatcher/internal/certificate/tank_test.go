package certificate

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// A successor's calls meet what the owner before has left: later by what the clocks may
// differ, whole where no end is on record, and only what it did cost where one is.
func TestALevelIsTakenOver(t *testing.T) {
	const second = time.Second
	limits := budget.Limits{
		Buckets:     []budget.Bucket{{Name: "points", Capacity: 100, Refill: 10, Per: second, Weighted: true}},
		CallTimeout: 2 * second, Grace: second, Tolerance: second, ClockTolerance: 50 * time.Millisecond,
	}
	begin := func(owner string, restored, when time.Duration, permits ...*ledgerv1.Permit) *ledgerv1.Block {
		return &ledgerv1.Block{Owner: owner, RestoredAt: at(restored), WrittenAt: at(when), Permits: permits}
	}
	permit := func(number int64, sent time.Duration, cost int64) *ledgerv1.Permit {
		return &ledgerv1.Permit{Number: number, SendAt: at(sent), NotAfter: at(sent + second), Deadline: at(sent + 3*second), Cost: cost}
	}
	settled := func(number int64, sent, settled time.Duration, spent int64) *ledgerv1.Settlement {
		return &ledgerv1.Settlement{Permit: number, FirstByteAt: at(sent), IssuedAt: at(sent), SettledAt: at(settled), Spent: &spent}
	}
	for name, test := range map[string]struct {
		successor string
		began     time.Duration
		want      int
	}{
		// 10 of 40 points are left of the first, which ended after 1 s; 30 are in flight.
		"another one":                       {"two", 1500 * time.Millisecond, 10 - 4 + 30 + 1},
		"another one, before it can know":   {"two", 1050 * time.Millisecond, 10 + 30 + 1},
		"until deadline, grace and clocks":  {"two", 4050 * time.Millisecond, 30 + 1},
		"and then it drains":                {"two", 5100 * time.Millisecond, 30 - 10 + 1},
		"the same process name, a new life": {"one", 2200 * time.Millisecond, 30 - 2 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := New(limits)
			if err != nil {
				t.Fatal(err)
			}
			a.Add(begin("one", -second, 0, permit(1, 0, 40), permit(2, 0, 30)), false)
			first := begin("one", -second, second)
			first.Settlements = []*ledgerv1.Settlement{settled(1, 0, second, 10)}
			a.Add(first, false)
			next := begin(test.successor, second, second, permit(3, test.began, 1))
			next.Peaks = []*ledgerv1.Peak{{Calls: 100, Tank: &ledgerv1.Tank{Refill: 10, Per: durationpb.New(second), Points: true}}}
			a.Add(next, false)
			last := begin(test.successor, second, 6*second)
			last.Settlements = []*ledgerv1.Settlement{settled(3, test.began, test.began, 1)}
			a.Add(last, false)
			if s := a.Report(epoch.Add(time.Hour)).Limits[0]; s.Largest != test.want || s.Last != 0 {
				t.Errorf("a level of at most %d, and %d after an hour, want %d and 0", s.Largest, s.Last, test.want)
			}
		})
	}
}
