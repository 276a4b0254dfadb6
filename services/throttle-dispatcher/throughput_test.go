package throttledispatcher_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkBacklog measures what a delivery of a backlog costs in all, from the
// stream to its result, its order bound, claimed, sent and closed, with the store and
// the external system in the same process: CPU and deliveries a second.
func BenchmarkBacklog(b *testing.B) {
	w := newWorld(b, 1_000_000, time.Minute)
	var group sync.WaitGroup
	slots := make(chan struct{}, 32)
	for n := range b.N {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			w.want(n, "")
		})
	}
	group.Wait()
	before := processorTime(b)
	b.ResetTimer()
	begun := time.Now()
	w.start()
	w.eventually(fmt.Sprint(b.N, " results"), func() bool {
		w.account.mu.Lock()
		defer w.account.mu.Unlock()
		return len(w.account.arrivals) >= b.N
	})
	took := time.Since(begun)
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/took.Seconds(), "deliveries/s")
}

// processorTime returns what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
