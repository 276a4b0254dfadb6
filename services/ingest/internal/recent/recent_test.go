package recent

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func store(t *testing.T, x *Index, key Key, now time.Time) {
	t.Helper()
	attempt, own, stored := x.Begin(key, now)
	if stored || !own {
		t.Fatalf("key %v: own %v, stored %v; want a new attempt", key, own, stored)
	}
	x.End(key, attempt, nil, now)
}

func numbered(i int) Key { return Key{uint64(i), 1} }

func TestARepetitionIsKnownWhileItIsYoung(t *testing.T) {
	x := New(100, time.Hour)
	store(t, x, numbered(1), start)
	for _, later := range []time.Duration{0, 29 * time.Minute} {
		if _, _, stored := x.Begin(numbered(1), start.Add(later)); !stored {
			t.Errorf("after %v it is forgotten", later)
		}
	}
	if _, _, stored := x.Begin(numbered(1), start.Add(2*time.Hour)); stored {
		t.Error("after two hours it is still known")
	}
}

func TestRepetitionsWaitForTheFirst(t *testing.T) {
	x := New(100, time.Hour)
	first, own, _ := x.Begin(numbered(1), start)
	again, ownAgain, stored := x.Begin(numbered(1), start)
	if !own || ownAgain || stored || again != first {
		t.Fatal("the second does not wait for the first")
	}
	failure := errors.New("full")
	x.End(numbered(1), first, failure, start)
	<-again.Done()
	if !errors.Is(again.Err(), failure) {
		t.Errorf("error %v, want the first's", again.Err())
	}
	// What failed is tried anew.
	store(t, x, numbered(1), start)
}

func TestMemoryIsBounded(t *testing.T) {
	x := New(1000, time.Hour)
	for i := range 10_000 {
		store(t, x, numbered(i), start)
		if x.Len() > 1000 {
			t.Fatalf("%d are remembered, at most 1000 may be", x.Len())
		}
	}
	for i := 9_501; i < 10_000; i++ {
		if _, _, stored := x.Begin(numbered(i), start); !stored {
			t.Fatalf("event %d of the newest 500 is forgotten", i)
		}
	}
}

func TestEveryPartMakesAnotherKey(t *testing.T) {
	x := New(10, time.Hour)
	base := x.Key("shop", "orders/create", "1", []byte("{}"))
	if base != x.Key("shop", "orders/create", "1", []byte("{}")) {
		t.Error("the same event has two keys")
	}
	for name, other := range map[string]Key{
		"connector": x.Key("shop2", "orders/create", "1", []byte("{}")),
		"topic":     x.Key("shop", "orders/paid", "1", []byte("{}")),
		"id":        x.Key("shop", "orders/create", "2", []byte("{}")),
		"body":      x.Key("shop", "orders/create", "1", []byte("[]")),
		"shifted":   x.Key("shopo", "rders/create", "1", []byte("{}")),
	} {
		if other == base {
			t.Errorf("another %s has the same key", name)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	x := New(10, time.Hour)
	body := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		binary.LittleEndian.PutUint64(body, uint64(i))
		x.Key("shop", "orders/create", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043", body)
	}
}
