package bus_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// The figures mean something only beside BenchmarkRawFsync of the same run, on a
// disk: set TMPDIR where the default temporary folder is in memory.

// percentiles reports p50 and p99 of what was measured.
func percentiles(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkRawFsync appends 1 KiB to a file and syncs it: the floor.
func BenchmarkRawFsync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 1<<10)
	var took []time.Duration
	for b.Loop() {
		started := time.Now()
		if _, err := f.Write(data); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(started))
	}
	percentiles(b, took)
}

// BenchmarkPublish is one writer that waits for each ack, 1 KiB a message.
func BenchmarkPublish(b *testing.B) {
	s := bustest.Start(b)
	m := bus.Message{Subject: bus.LedgerSubject("netsuite"), Data: make([]byte, 1<<10)}
	var took []time.Duration
	for b.Loop() {
		started := time.Now()
		if _, err := s.Publish(b.Context(), m); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(started))
	}
	percentiles(b, took)
}

// BenchmarkPublishConcurrent is 32 writers on one stream and on the shards of
// one prefix.
func BenchmarkPublishConcurrent(b *testing.B) {
	for _, shards := range []int{1, 4} {
		b.Run(fmt.Sprintf("streams=%d", shards), func(b *testing.B) {
			s := bustest.Start(b, bustest.WithTopology(bus.Topology{IngestShards: shards}))
			var turn atomic.Int64
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				subject := bus.IngestSubject(int(turn.Add(1)) % shards)
				for pb.Next() {
					if _, err := s.Publish(b.Context(), bus.Message{Subject: subject, Data: make([]byte, 1<<10)}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkPublishAtomic writes an order's state and timer in one batch.
func BenchmarkPublishAtomic(b *testing.B) {
	s := bustest.Start(b)
	var took []time.Duration
	for b.Loop() {
		batch := written(fmt.Sprintf("shop_%d", len(took)), bus.Sequence(0), time.Now().Add(time.Hour))
		started := time.Now()
		if _, err := s.PublishAtomic(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(started))
	}
	percentiles(b, took)
}

// BenchmarkLast reads one record from the leader.
func BenchmarkLast(b *testing.B) {
	s := bustest.Start(b)
	subject := bus.LedgerSubject("netsuite")
	if _, err := s.Publish(b.Context(), bus.Message{Subject: subject, Data: make([]byte, 1<<10)}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Last(b.Context(), bus.StreamLedger, subject); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead reads 1,000 records as a new owner of a ledger does.
func BenchmarkRead(b *testing.B) {
	s := bustest.Start(b, bustest.WithTopology(bus.Topology{OrderShards: 1}))
	batch := make([]bus.Message, bus.MaxBatch)
	for i := range batch {
		batch[i] = bus.Message{Subject: bus.OrderStateSubject(fmt.Sprintf("shop_%d", i)), Data: make([]byte, 1<<10)}
	}
	if _, err := s.PublishAtomic(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		for _, err := range s.Read(b.Context(), bus.OrderStream(0), bus.OrderStateFilter, 0) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != len(batch) {
			b.Fatalf("read %d of %d", n, len(batch))
		}
	}
}

// BenchmarkConsume hands out messages that are acknowledged without waiting.
func BenchmarkConsume(b *testing.B) {
	for _, prefetch := range []int{8, 256} {
		b.Run(fmt.Sprintf("prefetch=%d", prefetch), func(b *testing.B) {
			s := bustest.Start(b, bustest.WithTopology(bus.Topology{OrderShards: 1}))
			for n := 0; n < b.N; n += bus.MaxBatch {
				batch := make([]bus.Message, bus.MaxBatch)
				for i := range batch {
					batch[i] = bus.Message{Subject: bus.OrderStateSubject(fmt.Sprintf("shop_%d", n+i)), Data: make([]byte, 1<<10)}
				}
				if _, err := s.PublishAtomic(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			n := 0
			b.ResetTimer()
			err := s.Consume(ctx, bus.ConsumerOptions{Stream: bus.OrderStream(0), Durable: "x", Prefetch: prefetch},
				func(_ context.Context, m *bus.Incoming) {
					if err := m.AckAsync(); err != nil {
						b.Error(err)
					}
					if n++; n == b.N {
						cancel()
					}
				})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
