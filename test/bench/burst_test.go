package bench

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peppasync/peppasync/test/runner"
	"github.com/peppasync/peppasync/test/runner/scene"
	"github.com/peppasync/peppasync/test/sim/arrivals"
)

// orders is the size of one burst.
const orders = 1000

// BenchmarkBurst sells 1,000 orders over 64 connections, again and again, and
// reports how long the shop waited for each 2xx. The promise is a p99 under
// 100 ms on two cores. The raw fsync of the same disk stands beside it: an
// acknowledgment contains at least one.
func BenchmarkBurst(b *testing.B) {
	raw := fsyncs(b, b.TempDir())
	root, err := runner.Root()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	binary, err := runner.Build(ctx, root, b.TempDir(), false)
	if err != nil {
		b.Fatal(err)
	}
	script := scene.Saturday()
	script.Units = 1_000_000
	stage, err := scene.Open(ctx, scene.Options{
		Script: script, Binary: binary, Manifests: filepath.Join(root, "deploy", "demo"), Folder: b.TempDir(),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := stage.Close(); err != nil {
			b.Error(err)
		}
	})
	var waits []time.Duration
	for b.Loop() {
		waits = append(waits, burst(ctx, b, stage)...)
	}
	report(b, waits, "ack")
	report(b, raw, "fsync")
	b.ReportMetric(float64(len(waits))/b.Elapsed().Seconds(), "orders/s")
}

// burst sells and returns how long each order's webhook took.
func burst(ctx context.Context, b *testing.B, stage *scene.Stage) []time.Duration {
	b.Helper()
	before := len(stage.World.Shop.Deliveries())
	act := scene.Burst()
	if err := act.Do(ctx, stage); err != nil {
		b.Fatal(err)
	}
	err := runner.Until(ctx, time.Millisecond, "every order of the burst is tried", func() bool {
		return stage.World.Shop.Report().Webhooks.Attempts >= before+orders
	})
	if err != nil {
		b.Fatal(err)
	}
	var waits []time.Duration
	for _, d := range stage.World.Shop.Deliveries()[before:] {
		if d.Acknowledged == nil || d.Attempts != 1 {
			b.Fatalf("order %s is not acknowledged at the first attempt: %d %s", d.Order, d.Status, d.Problem)
		}
		waits = append(waits, time.Duration(d.AcknowledgedMs*float64(time.Millisecond)))
	}
	return waits
}

// fsyncs writes the size of a webhook and fsyncs, one after the other.
func fsyncs(b *testing.B, folder string) []time.Duration {
	b.Helper()
	file, err := os.Create(filepath.Join(folder, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	page := make([]byte, 4096)
	var waits []time.Duration
	for range 500 {
		begin := time.Now()
		if _, err := file.Write(page); err != nil {
			b.Fatal(err)
		}
		if err := file.Sync(); err != nil {
			b.Fatal(err)
		}
		waits = append(waits, time.Since(begin))
	}
	return waits
}

func report(b *testing.B, waits []time.Duration, what string) {
	b.Helper()
	slices.Sort(waits)
	for name, share := range map[string]float64{"p50": 0.5, "p99": 0.99} {
		b.ReportMetric(float64(arrivals.Percentile(waits, share))/float64(time.Millisecond), what+"-"+name+"-ms")
	}
}
