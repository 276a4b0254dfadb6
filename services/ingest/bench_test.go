package ingest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/groupcommit"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// The figures are in services/docs/adr/0005-ingest-group-commit.md. Everything is
// on one machine, fsync on, senders included: what they take is missing on the
// other side.

const (
	// bodySize is what a small order of a shop has.
	bodySize = 4096
	// A spike is so many webhooks on so many connections.
	burst, connections = 1000, 64
)

func body(i int) []byte {
	return append(order(i), slices.Repeat([]byte(" "), bodySize-len(order(i)))...)
}

// latencies of what was done, and the quantiles of them.
type latencies []time.Duration

func (l latencies) at(quantile float64) float64 {
	sorted := slices.Sorted(slices.Values(l))
	return float64(sorted[int(quantile*float64(len(sorted)-1))]) / 1e6
}

// report replaces the time per operation by what senders see.
func (l latencies) report(b *testing.B, took time.Duration) {
	b.Helper()
	b.ReportMetric(float64(len(l))/took.Seconds(), "acks/s")
	b.ReportMetric(l.at(0.5), "p50-ms")
	b.ReportMetric(l.at(0.99), "p99-ms")
	b.ReportMetric(l.at(1), "max-ms")
	b.ReportMetric(0, "ns/op")
}

// spread runs work for 0 to n-1 on that many goroutines and returns how long
// each took.
func spread(n, goroutines int, work func(i int)) latencies {
	all := make(latencies, n)
	var next atomic.Int64
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				begin := time.Now()
				work(i)
				all[i] = time.Since(begin)
			}
		})
	}
	group.Wait()
	return all
}

// rawDisk appends to a file and syncs it: the least that a durable write can take.
type rawDisk struct{ file *os.File }

func newRawDisk(b *testing.B) rawDisk {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = file.Close() })
	return rawDisk{file}
}

// syncs does so n times, one after the other, with size bytes each.
func (d rawDisk) syncs(b *testing.B, n, size int) latencies {
	b.Helper()
	data := make([]byte, size)
	return spread(n, 1, func(int) {
		if _, err := d.file.Write(data); err != nil {
			b.Error(err)
		}
		if err := d.file.Sync(); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkBurst is the spike that the product is for: 1,000 signed webhooks on
// 64 connections, from the first byte sent to the 2xx, as the product runs by
// default. The disk's own fsync is measured between the bursts, because a shared
// machine has another disk every second.
func BenchmarkBurst(b *testing.B) {
	f := start(b, bustest.Start(b, bustest.WithTopology(bus.Topology{})), nil).ready(b)
	disk := newRawDisk(b)
	var all, raw latencies
	worst := 0.0
	for round := 0; b.Loop(); round++ {
		b.StopTimer()
		raw = append(raw, disk.syncs(b, 100, bodySize)...)
		requests := make([]*http.Request, burst)
		for i := range requests {
			requests[i] = f.request(b, fmt.Sprint("w", round, "-", i), body(i), nil)
		}
		b.StartTimer()
		one := spread(burst, connections, func(i int) {
			if got, err := f.send(requests[i]); err != nil || got.status != http.StatusOK {
				b.Errorf("%+v, error %v", got, err)
			}
		})
		all, worst = append(all, one...), max(worst, one.at(0.99))
	}
	all.report(b, b.Elapsed())
	b.ReportMetric(worst, "worst-p99-ms")
	b.ReportMetric(raw.at(0.5), "fsync-p50-ms")
	b.ReportMetric(raw.at(0.99), "fsync-p99-ms")
	b.ReportMetric(float64(len(all))/float64(max(f.Counts().Packs, 1)), "events/pack")
	b.ReportMetric(float64(len(all)/burst), "bursts")
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		b.Logf("load of the machine: %s", load)
	}
	if got := len(byID(stored(b, f.bus))); got != len(all) {
		b.Errorf("%d events are stored, %d were acknowledged", got, len(all))
	}
}

// BenchmarkAcknowledge is one webhook after the other on each connection, over
// the settings that could be otherwise.
func BenchmarkAcknowledge(b *testing.B) {
	for _, shards := range []int{1, 4} {
		for _, writers := range []int{1, 2} {
			for _, connections := range []int{1, connections} {
				b.Run(fmt.Sprintf("shards=%d/writers=%d/connections=%d", shards, writers, connections), func(b *testing.B) {
					topology := bus.Topology{IngestShards: shards, OrderShards: 1}
					f := start(b, bustest.Start(b, bustest.WithTopology(topology)), func(limits *bounds) { limits.writersPerShard = writers }).ready(b)
					requests := make([]*http.Request, b.N)
					for i := range requests {
						requests[i] = f.request(b, fmt.Sprint("w", i), body(i), nil)
					}
					b.ResetTimer()
					spread(b.N, connections, func(i int) {
						if got, err := f.send(requests[i]); err != nil || got.status != http.StatusOK {
							b.Errorf("%+v, error %v", got, err)
						}
					}).report(b, b.Elapsed())
					b.ReportMetric(float64(b.N)/float64(max(f.Counts().Packs, 1)), "events/pack")
				})
			}
		}
	}
}

// BenchmarkStore compares the ways in which events that are there at the same
// time can reach the disk: one message each, one atomic batch of messages, or one
// message for all. Nothing else is measured, no HTTP and no signature.
func BenchmarkStore(b *testing.B) {
	for _, way := range []struct {
		name    string
		grouped bool
		write   func(context.Context, *bus.Bus, []byte) error
	}{{"message", false, publishAlone}, {"batch", true, publishBatch}, {"pack", true, publishAlone}} {
		for _, writers := range []int{1, connections} {
			b.Run(fmt.Sprintf("%s/at-once=%d", way.name, writers), func(b *testing.B) {
				server := bustest.Start(b, bustest.WithTopology(bus.Topology{}))
				commit := func(ctx context.Context, data []byte) error { return way.write(ctx, server, data) }
				if way.grouped {
					commit = grouped(b, commit)
				}
				raw := newRawDisk(b).syncs(b, 100, bodySize)
				events := make([][]byte, b.N)
				for i := range events {
					events[i] = event(b, i)
				}
				b.ResetTimer()
				spread(b.N, writers, func(i int) {
					if err := commit(b.Context(), events[i]); err != nil {
						b.Error(err)
					}
				}).report(b, b.Elapsed())
				b.ReportMetric(raw.at(0.5), "fsync-p50-ms")
			})
		}
	}
}

// event returns an encoded event with its number as its id.
func event(b *testing.B, i int) []byte {
	b.Helper()
	data, err := proto.Marshal(&eventv1.Event{
		Connector: "shop", Topic: "orders/create", Id: fmt.Sprint("w", i), ReceivedAt: timestamppb.Now(), Body: body(i),
	})
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// grouped runs a committer as ingest does, with another way to write.
func grouped(b *testing.B, write func(ctx context.Context, pack []byte) error) func(context.Context, []byte) error {
	b.Helper()
	limits := defaultBounds()
	committer, err := groupcommit.New(groupcommit.Options{
		Writers: limits.writersPerShard, MaxEvents: limits.packEvents, MaxBytes: limits.packBytes,
		MaxQueued: int(limits.requests), WriteTimeout: patient,
		Write: func(ctx context.Context, _ int, pack []byte, _ int) error { return write(ctx, pack) },
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		committer.Run(ctx)
	}()
	b.Cleanup(func() {
		stop()
		<-ended
	})
	return func(_ context.Context, event []byte) error { return committer.Commit(time.Now().Add(patient), event) }
}

func publishAlone(ctx context.Context, b *bus.Bus, data []byte) error {
	_, err := b.Publish(ctx, bus.Message{Subject: bus.IngestSubject(0), ExpectStream: bus.IngestStream(0), Data: data})
	return err
}

// publishBatch writes the events of a pack as messages of their own, all or none.
// Only the streams of orders allow that today, and these take any subject of
// theirs.
func publishBatch(ctx context.Context, b *bus.Bus, data []byte) error {
	var pack eventv1.Pack
	if err := proto.Unmarshal(data, &pack); err != nil {
		return err
	}
	messages := make([]bus.Message, len(pack.GetEvents()))
	for i, event := range pack.GetEvents() {
		messages[i] = bus.Message{Subject: bus.OrderStateSubject(event.GetId()), Data: event.GetBody()}
	}
	_, err := b.PublishAtomic(ctx, messages)
	return err
}

// BenchmarkRawFsync is what the disk does beneath it: one after the other, with
// as many bytes as an event and as a full pack.
func BenchmarkRawFsync(b *testing.B) {
	for _, size := range []int{bodySize, 64 * bodySize} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			disk := newRawDisk(b)
			b.ResetTimer()
			disk.syncs(b, b.N, size).report(b, b.Elapsed())
		})
	}
}
