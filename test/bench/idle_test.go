package bench

import (
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
)

const (
	idleConnectors = 200
	// idleSettled is how long the dispatcher has been at rest when it is measured:
	// what it looks at every ten seconds has had its first turn.
	idleSettled = 15 * time.Second
	idleSpan    = 5 * time.Second

	// What is promised: a share of a core, and a resident size.
	idleCore   = 0.02
	idleMemory = 150 << 20
)

// BenchmarkIdle is what a throttle-dispatcher with 200 connectors of three lanes
// each takes of the machine while nothing is to be done, as the system counts it;
// NATS, a process of its own, stands beside it. BENCHTIME=30s measures 30 s.
func BenchmarkIdle(b *testing.B) {
	p := product(b)
	for i := range idleConnectors {
		p.write(erpFile, name(i), "http://127.0.0.1:1", 100)
	}
	p.start()
	p.until("every connector is fed", func() bool {
		fed, err := p.Fed(b.Context())
		return err == nil && fed == idleConnectors
	})
	<-time.After(idleSettled)
	started := time.Now()
	dispatcher, nats := p.usage()
	for b.Loop() {
		<-time.After(idleSpan)
	}
	b.StopTimer()
	took := time.Since(started)
	dispatcherNow, natsNow := p.usage()
	share := func(before, now runner.Usage) float64 { return (now.CPU - before.CPU).Seconds() / took.Seconds() }
	used := share(dispatcher, dispatcherNow)
	b.ReportMetric(100*used, "dispatcher-%core")
	b.ReportMetric(100*share(nats, natsNow), "nats-%core")
	b.ReportMetric(float64(dispatcherNow.Peak)/(1<<20), "dispatcher-peak-MB")
	b.ReportMetric(float64(natsNow.Peak)/(1<<20), "nats-peak-MB")
	b.ReportMetric(took.Seconds(), "s")
	if used > idleCore || dispatcherNow.Peak > idleMemory {
		b.Logf("idle, the dispatcher uses %.2f%% of a core and %d MB, promised are %.0f%% and %d MB",
			100*used, dispatcherNow.Peak>>20, 100*idleCore, idleMemory>>20)
	}
}
