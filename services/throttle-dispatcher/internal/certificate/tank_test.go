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

// What a call of an owner before left is in what the next block carries, or still in
// flight for the reader, never both: at a takeover the level is later by the skew, and a
// call that was later by it already ends before that.
func TestWhatABlockCarriesIsCountedOnce(t *testing.T) {
	const ms, skew = int64(time.Millisecond), 100 * int64(time.Millisecond)
	k := &tank{Bucket: Bucket{Refill: 10, Per: int64(time.Second), Points: true}}
	k.begin(span{began: 1, until: 1000 * ms, cost: 5, spent: 5})
	k.takeOver(skew)
	k.begin(span{began: 1050 * ms, until: 3000 * ms, cost: 2, spent: 2})
	k.takeOver(skew)
	k.restart(1040 * ms)
	writer, reader := k.clone(), k.clone()
	writer.advance(1140 * ms)
	reader.carry(writer.carries())
	for _, at := range []int64{1140, 1150, 1250, 2000} {
		if got, want := reader.levelAt(at*ms), writer.levelAt(at*ms); got != want {
			t.Errorf("at %d ms a level of %+v for the reader, %+v for who wrote it", at, got, want)
		}
	}
	fresh := &tank{Bucket: k.Bucket}
	fresh.carry(writer.carries())
	fresh.catchUp()
	if got, want := fresh.levelAt(1200*ms), (amount{4, int64(time.Second) / 2}); got != want {
		t.Errorf("a level of %+v for who read nothing else, want %+v", got, want)
	}
}

// Two owners in turn that do nothing hand on what they read, without one call.
func TestAnIdleOwnerHandsTheLevelOn(t *testing.T) {
	limits := budget.Limits{Buckets: []budget.Bucket{{Name: "points", Capacity: 100, Refill: 1, Per: time.Minute, Weighted: true}}}
	a, err := New(limits)
	if err != nil {
		t.Fatal(err)
	}
	for n, owner := range []string{"one", "one", "two"} {
		when := time.Duration(n) * time.Second
		a.Add(&ledgerv1.Block{Owner: owner, RestoredAt: at(when), WrittenAt: at(when), Peaks: []*ledgerv1.Peak{{Calls: 100, Tank: &ledgerv1.Tank{
			Refill: 1, Per: durationpb.New(time.Minute), Points: true, Level: 40, AsOf: at(0),
		}}}}, false)
	}
	if k := a.Peaks()[0].GetTank(); k.GetLevel() < 39 || k.GetLevel() > 40 {
		t.Errorf("the next block says %v, want the 40 points that were read, less what drained in 2 s", k)
	}
}
