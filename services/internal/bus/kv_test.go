package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestPutAndGet(t *testing.T) {
	b := bustest.Start(t)
	if _, err := b.Get(t.Context(), bus.BucketCatalog, "current"); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("Get of nothing: %v, want ErrNotFound", err)
	}
	if _, err := b.Get(t.Context(), "nothing", "current"); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("Get from a bucket that is not there: %v, want ErrNotFound", err)
	}
	first, err := b.Put(t.Context(), bus.BucketCatalog, "current", []byte("1"), bus.Sequence(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), bus.BucketCatalog, "current", []byte("x"), bus.Sequence(0)); !bus.IsConflict(err) {
		t.Fatalf("a second creation gave %v, want a conflict", err)
	}
	second, err := b.Put(t.Context(), bus.BucketCatalog, "current", []byte("2"), &first)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Get(t.Context(), bus.BucketCatalog, "current")
	if err != nil || string(got.Data) != "2" || got.Sequence != second {
		t.Fatalf("Get = %+v, %v; want revision %d", got, err, second)
	}
}

// watch runs Watch until the test ends.
func watch(t *testing.T, b *bus.Bus, bucket, key string) <-chan bus.Record {
	t.Helper()
	records := make(chan bus.Record)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.Watch(ctx, bucket, key, func(r bus.Record) {
			select {
			case records <- r:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch returned %v, want nil once its context is done", err)
		}
	})
	return records
}

func receiveRecord(t *testing.T, records <-chan bus.Record) bus.Record {
	t.Helper()
	select {
	case r := <-records:
		return r
	case <-time.After(patience):
		t.Fatalf("no record within %v", patience)
		return bus.Record{}
	}
}

func TestWatchBeginsWithTheCurrentValueAndRidesOverARestart(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	put := func(data string) {
		t.Helper()
		poll(t, "put "+data, func() bool {
			_, err := b.Put(t.Context(), bus.BucketCatalog, "current", []byte(data), nil)
			return err == nil
		})
	}
	put("old")
	put("1")
	records := watch(t, b, bus.BucketCatalog, "current")
	if r := receiveRecord(t, records); string(r.Data) != "1" {
		t.Fatalf("the first value is %q, want the current one", r.Data)
	}
	for i := range 3 {
		s.Restart(t)
		put(fmt.Sprint(i + 2))
		if r := receiveRecord(t, records); string(r.Data) != fmt.Sprint(i+2) {
			t.Fatalf("after restart %d the watcher got %q, want %d and nothing twice", i, r.Data, i+2)
		}
	}
}

func TestWatchHearsOfALeaseThatRanOut(t *testing.T) {
	b := bustest.Start(t)
	records := watch(t, b, bus.BucketLease, "netsuite")
	if _, err := b.Publish(t.Context(), bus.Message{
		Subject: bus.KeyValueSubject(bus.BucketLease, "netsuite"), Data: []byte("owner"), ExpectLast: bus.Sequence(0), TTL: time.Second,
	}); err != nil {
		t.Fatal(err)
	}
	if r := receiveRecord(t, records); r.Deleted() || string(r.Data) != "owner" {
		t.Fatalf("got %+v, want the lease", r)
	}
	if r := receiveRecord(t, records); !r.Deleted() {
		t.Fatalf("got %+v, want the end of the lease", r)
	}
	if _, err := b.Get(t.Context(), bus.BucketLease, "netsuite"); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("Get of a lease that ran out: %v, want ErrNotFound", err)
	}
}
