package ingest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// bodySize is what a small order of a shop has.
const bodySize = 4096

func bodies(n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = append(order(i), slices.Repeat([]byte(" "), bodySize-len(order(i)))...)
	}
	return all
}

// report adds the throughput and the quantiles of the latencies.
func report(b *testing.B, latencies []time.Duration) {
	b.Helper()
	slices.Sort(latencies)
	at := func(q float64) float64 { return float64(latencies[int(q*float64(len(latencies)-1))]) / 1e6 }
	b.ReportMetric(float64(len(latencies))/b.Elapsed().Seconds(), "acks/s")
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
	b.ReportMetric(0, "ns/op")
}

// spread runs work for 0 to n-1 on that many goroutines and returns how long
// each took.
func spread(n, goroutines int, work func(i int)) []time.Duration {
	latencies := make([]time.Duration, n)
	var next atomic.Int64
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				begin := time.Now()
				work(i)
				latencies[i] = time.Since(begin)
			}
		})
	}
	group.Wait()
	return latencies
}

// BenchmarkAcknowledge is signed webhooks of 4 KiB over loopback, with fsync on
// and the sender on the same machine. A run of 1,000 is the burst of a spike:
// go test -bench Acknowledge -benchtime 1000x.
func BenchmarkAcknowledge(b *testing.B) {
	for _, shards := range []int{1, 2, 4} {
		for _, writers := range []int{1, 2} {
			for _, connections := range []int{1, 64} {
				b.Run(fmt.Sprintf("shards=%d/writers=%d/connections=%d", shards, writers, connections), func(b *testing.B) {
					topology := bus.Topology{IngestShards: shards, OrderShards: 1}
					f := start(b, bustest.Start(b, bustest.WithTopology(topology)), func(limits *bounds) { limits.writersPerShard = writers }).ready(b)
					all := bodies(b.N)
					requests := make([]*http.Request, b.N)
					for i, body := range all {
						requests[i] = f.request(b, fmt.Sprint("w", i), body, nil)
					}
					b.ResetTimer()
					latencies := spread(b.N, connections, func(i int) {
						if got, err := f.send(requests[i]); err != nil || got.status != http.StatusOK {
							b.Errorf("%+v, error %v", got, err)
						}
					})
					report(b, latencies)
					b.ReportMetric(float64(b.N)/float64(max(f.Counts().Packs, 1)), "events/pack")
				})
			}
		}
	}
}

// BenchmarkRawFsync is what the disk does beneath it: 4 KiB appended and synced,
// one after the other.
func BenchmarkRawFsync(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	body := bodies(1)[0]
	b.ResetTimer()
	report(b, spread(b.N, 1, func(int) {
		if _, err := file.Write(body); err != nil {
			b.Error(err)
		}
		if err := file.Sync(); err != nil {
			b.Error(err)
		}
	}))
}
