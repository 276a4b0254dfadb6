package throttledispatcher_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"
)

// BenchmarkLimiter is what the limiter costs a call at 1,000 a second under windows of
// a second, a minute and an hour: its permit and its settlement, both on record, and
// its part of the compare-and-set that stores a block of a tenth of a second. The CPU
// is that of the whole process, the store with its fsync included; the promise is 20
// us. Time is virtual, so that it is as fast as it can be.
func BenchmarkLimiter(b *testing.B) {
	const perBlock, parallel, promised = 100, 200, 20 * time.Microsecond
	store := bustest.Start(b)
	limits := budget.Limits{
		Windows: []budget.Window{
			{Name: "second", Calls: 1000, Per: time.Second, Headroom: 1, ArrivesWithin: 20 * time.Millisecond},
			{Name: "minute", Calls: 60_000, Per: time.Minute},
			{Name: "hour", Calls: 3_600_000, Per: time.Hour},
		},
		Concurrency: []budget.Concurrency{{Name: "parallel", Calls: 2 * parallel}},
	}
	limiter, err := budget.New(limits)
	if err != nil {
		b.Fatal(err)
	}
	record, err := ledger.NewRecorder(ledger.Identity{Connector: "erp", Owner: "test", Epoch: 1}, limits, ledger.State{})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	var flying []budget.Permit
	calls := 0
	block := func() {
		for len(flying) > parallel {
			limiter.Settle(flying[0].Number, now)
			record.Settle(ledger.Settlement{Number: flying[0].Number, SettledAt: now})
			flying = flying[1:]
		}
		permits := limiter.Reserve(now, time.Second, perBlock)
		for _, p := range permits {
			if err := record.Permit(p, ""); err != nil {
				b.Fatal(err)
			}
		}
		data, err := proto.Marshal(record.Build(now, limiter))
		if err != nil {
			b.Fatal(err)
		}
		last := record.LastSequence()
		ack, err := store.Publish(b.Context(), bus.Message{Subject: bus.LedgerSubject("erp"), Data: data, ExpectLast: &last})
		if err != nil {
			b.Fatal(err)
		}
		record.Committed(ack.Sequence)
		for _, p := range permits {
			limiter.Issued(p.Number, p.SendAt.Add(time.Microsecond))
		}
		flying = append(flying, permits...)
		calls += len(permits)
		now = now.Add(perBlock * time.Millisecond)
	}
	for range 100 { // the windows fill up
		block()
	}
	calls = 0
	before := processorTime(b)
	for b.Loop() {
		block()
	}
	cost := (processorTime(b) - before) / time.Duration(calls)
	b.ReportMetric(float64(cost.Nanoseconds())/1000, "cpu-us/call")
	b.ReportMetric(float64(calls)/float64(b.N), "calls/block")
	if cost > promised {
		b.Errorf("a call costs the limiter %v of CPU, want %v at most", cost, promised)
	}
}
