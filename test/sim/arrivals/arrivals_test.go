package arrivals_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peppasync/peppasync/test/sim/arrivals"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bruteLargest looks at every pair of arrivals and counts what lies between them.
func bruteLargest(at []time.Duration, length time.Duration) int {
	largest := 0
	for i := range at {
		for j := i; j < len(at); j++ {
			if at[j]-at[i] > length {
				continue
			}
			count := 0
			for _, t := range at {
				if t >= at[i] && t <= at[j] {
					count++
				}
			}
			largest = max(largest, count)
		}
	}
	return largest
}

func drawTimes(t *rapid.T) []time.Duration {
	at := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.IntRange(0, 60).Draw(t, "ms")) * time.Millisecond
	}), 0, 60).Draw(t, "at")
	slices.Sort(at)
	return at
}

func TestLargestWindowAgreesWithBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := drawTimes(t)
		length := time.Duration(rapid.IntRange(0, 30).Draw(t, "length")) * time.Millisecond
		if got, want := arrivals.LargestWindow(at, length), bruteLargest(at, length); got != want {
			t.Fatalf("LargestWindow(%v, %v) = %d, brute force says %d", at, length, got, want)
		}
	})
}

func TestLogCountsTheSameWhileArrivalsComeIn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		at := drawTimes(rt)
		lengths := []time.Duration{0, 7 * time.Millisecond, 20 * time.Millisecond}
		synctest.Test(t, func(*testing.T) {
			log := arrivals.NewLog(lengths...)
			for i, next := range at {
				time.Sleep(next - time.Since(log.Origin()))
				ticket := log.Arrive()
				for k, length := range lengths {
					want := 0
					for _, earlier := range at[:i+1] {
						if next-earlier <= length {
							want++
						}
					}
					if ticket.Counts[k] != want {
						rt.Fatalf("arrival %d at %v counts %d in %v, want %d", i, next, ticket.Counts[k], length, want)
					}
				}
			}
			for k, length := range lengths {
				if got, want := log.Largest()[k], bruteLargest(at, length); got != want {
					rt.Fatalf("largest of %v = %d, want %d", length, got, want)
				}
			}
		})
	})
}

func TestWindowIsClosedAtBothEnds(t *testing.T) {
	at := []time.Duration{0, time.Second, time.Second + 1}
	for length, want := range map[time.Duration]int{time.Second - 1: 2, time.Second: 2, time.Second + 1: 3} {
		if got := arrivals.LargestWindow(at, length); got != want {
			t.Errorf("LargestWindow(%v) = %d, want %d", length, got, want)
		}
	}
}

func TestRateLeavesOutPauses(t *testing.T) {
	var at []time.Duration
	for i := range 11 {
		at = append(at, time.Duration(i)*100*time.Millisecond)
	}
	for i := range 10 { // after a pause of 5 s
		at = append(at, 6*time.Second+time.Duration(i+1)*100*time.Millisecond)
	}
	overlapping := []arrivals.Pause{{From: 2 * time.Second, To: 6 * time.Second}, {From: time.Second + 1, To: 4 * time.Second}}
	got := arrivals.Rate(at, 0, 7*time.Second, overlapping)
	if got < 9.99 || got > 10.01 {
		t.Errorf("rate = %.3f a second, want 10", got)
	}
	if got := arrivals.Rate(at, 0, time.Second, []arrivals.Pause{{From: 0, To: time.Hour}}); got != 0 {
		t.Errorf("rate of no time = %v, want 0", got)
	}
}

func TestFirstWriteIsAcceptedAndNoRead(t *testing.T) {
	log := arrivals.NewLog()
	start := log.Origin()
	if at, ok := log.FirstWrite(start); ok {
		t.Errorf("an empty log has a write at %v", at)
	}
	log.Settle(log.Arrive(), arrivals.Accepted)
	log.SettleWrite(log.Arrive(), arrivals.Refused)
	log.SettleWrite(log.Arrive(), arrivals.Unavailable)
	log.Arrive()
	if at, ok := log.FirstWrite(start); ok {
		t.Errorf("a read or a refused write at %v counts as a write", at.Sub(start))
	}
	write := log.Arrive()
	log.SettleWrite(write, arrivals.Accepted)
	if at, ok := log.FirstWrite(start); !ok || !at.Equal(write.At) {
		t.Errorf("first write %v, %v; want %v", at, ok, write.At)
	}
	if at, ok := log.FirstWrite(write.At.Add(1)); ok {
		t.Errorf("a write at %v is after the last", at)
	}
	if all := log.Snapshot(); all[0].Write || !all[4].Write {
		t.Errorf("snapshot %+v", all)
	}
}

func TestPercentileIsAValueThatOccurred(t *testing.T) {
	values := make([]time.Duration, 0, 100)
	for i := range 100 {
		values = append(values, time.Duration(100-i))
	}
	for p, want := range map[float64]time.Duration{0.5: 50, 0.99: 99, 1: 100} {
		if got := arrivals.Percentile(values, p); got != want {
			t.Errorf("p%v = %d, want %d", p*100, got, want)
		}
	}
	if got := arrivals.Percentile(nil, 0.5); got != 0 {
		t.Errorf("percentile of nothing = %d, want 0", got)
	}
}

func TestConcurrentArrivalsAreOrdered(t *testing.T) {
	log := arrivals.NewLog(time.Hour)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				log.Settle(log.Arrive(), arrivals.Accepted)
			}
		})
	}
	wg.Wait()
	all := log.Snapshot()
	if !slices.IsSortedFunc(all, func(a, b arrivals.Arrival) int { return int(a.At - b.At) }) {
		t.Error("arrivals are not ordered by time")
	}
	if got := log.Largest()[0]; got != 4000 {
		t.Errorf("largest = %d, want 4000", got)
	}
	if got := log.Tally()["accepted"]; got != 4000 {
		t.Errorf("accepted = %d, want 4000", got)
	}
}
