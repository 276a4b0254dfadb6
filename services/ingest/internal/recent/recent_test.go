package recent

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func store(t testing.TB, x *Index, key Key, now time.Time) {
	t.Helper()
	attempt, own, stored := x.Begin(key, now)
	if stored || !own {
		t.Fatalf("key %v: own %v, stored %v; want a new attempt", key, own, stored)
	}
	x.End(key, attempt, nil, now)
}

// knows looks without leaving an attempt.
func knows(x *Index, key Key, now time.Time) bool {
	attempt, _, stored := x.Begin(key, now)
	if !stored {
		x.End(key, attempt, errors.New("only looked"), now)
	}
	return stored
}

// numbered is spread like a hash.
func numbered(i int) Key {
	n := uint64(i) + 1
	return Key{n * 0x9E3779B97F4A7C15, n * 0xD1342543DE82EF95}
}

func TestARepetitionIsKnownWhileItIsYoung(t *testing.T) {
	x := New(100, time.Hour)
	store(t, x, numbered(1), start)
	for _, later := range []time.Duration{0, 29 * time.Minute, 60 * time.Minute} {
		if !knows(x, numbered(1), start.Add(later)) {
			t.Errorf("after %v it is forgotten", later)
		}
	}
	for _, later := range []time.Duration{66 * time.Minute, 2 * time.Hour, 1000 * time.Hour} {
		if knows(x, numbered(1), start.Add(later)) {
			t.Errorf("after %v it is still known", later)
		}
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
	for name, most := range map[string]int{"one shard": 1000, "many shards": 4 * shardEvents} {
		t.Run(name, func(t *testing.T) {
			x := New(most, time.Hour)
			count := 4 * most
			at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Hour / time.Duration(2*count)) }
			for i := range count {
				store(t, x, numbered(i), at(i))
				if i%97 == 0 && x.Len() > most {
					t.Fatalf("%d are remembered, at most %d may be", x.Len(), most)
				}
			}
			for i := count - most/2 + 1; i < count; i++ {
				if !knows(x, numbered(i), at(count)) {
					t.Fatalf("event %d of the newest %d is forgotten", i, most/2)
				}
			}
			if n := x.Len(); n < most*8/10 || n > most {
				t.Errorf("%d are remembered of at most %d", n, most)
			}
		})
	}
}

// What is read back from the streams has its own age, and takes no place from what
// came in since.
func TestWhatIsRememberedLaterKeepsItsAge(t *testing.T) {
	x := New(1000, time.Hour)
	now := start.Add(time.Hour)
	for range 2 {
		if !x.Remember(numbered(1), start.Add(10*time.Minute), now) {
			t.Error("an event of 50 minutes ago is not taken in")
		}
	}
	if x.Remember(numbered(2), start.Add(-time.Minute), now) || x.Remember(numbered(3), time.Unix(0, 0), now) {
		t.Error("one of more than an hour ago is")
	}
	if !knows(x, numbered(1), start.Add(70*time.Minute)) || knows(x, numbered(1), start.Add(80*time.Minute)) || x.Len() != 0 {
		t.Error("it is not forgotten an hour after it was stored")
	}
	// A clock that is ahead of this one's.
	if !x.Remember(numbered(4), now.Add(24*time.Hour), now) || !knows(x, numbered(4), now) {
		t.Error("an event of tomorrow is not taken in")
	}
}

func TestWhatIsRememberedLaterDisplacesNothing(t *testing.T) {
	x := New(1000, time.Hour)
	now := start.Add(30 * time.Minute)
	for i := range 999 {
		store(t, x, numbered(i), now)
	}
	if !x.Remember(numbered(2000), start, now) || x.Remember(numbered(2001), start, now) {
		t.Error("one more has a place, and then no other")
	}
	store(t, x, numbered(3000), now.Add(time.Second))
	if knows(x, numbered(2000), now) || !knows(x, numbered(3000), now) {
		t.Error("what is new has not taken the place of the oldest")
	}
	// An eighth has gone, and yet what is older than that has no place.
	if x.Remember(numbered(2001), start, now) {
		t.Error("an older event takes a place that was made for new ones")
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

// Whatever comes when, an event of the last hour is known where there was room, one
// that never came is not, and a clock that goes back changes neither.
func TestItKnowsWhatAMapWouldKnow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, came := New(100_000, time.Hour), map[int]time.Time{}
		now, latest := start, start
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-60, 1800).Draw(t, "seconds")) * time.Second)
			if now.After(latest) {
				latest = now
			}
			key := rapid.IntRange(0, 30).Draw(t, "key")
			at, known := came[key]
			switch got := knows(x, numbered(key), now); {
			case !known && got:
				t.Fatalf("%d never came and is known", key)
			case known && !got && latest.Sub(at) <= time.Hour:
				t.Fatalf("%d came %v ago and is forgotten", key, now.Sub(at))
			case known && got && latest.Sub(at) > 2*time.Hour:
				t.Fatalf("%d came %v ago and is known", key, now.Sub(at))
			case !got && rapid.Bool().Draw(t, "earlier"):
				stored := now.Add(-time.Duration(rapid.IntRange(0, 3600).Draw(t, "ago")) * time.Second)
				if !x.Remember(numbered(key), stored, now) && latest.Sub(stored) <= time.Hour {
					t.Fatalf("%d of %v ago is not taken in", key, now.Sub(stored))
				}
				came[key] = stored
			case !got:
				attempt, _, _ := x.Begin(numbered(key), now)
				x.End(numbered(key), attempt, nil, now)
				came[key] = now
			}
		}
	})
}

func BenchmarkKey(b *testing.B) {
	x := New(10, time.Hour)
	body := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		binary.LittleEndian.PutUint64(body, uint64(i))
		x.Key("shop", "orders/create", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043", body)
	}
}

// BenchmarkMemory says what an event takes, spread over a week, as the index fills.
func BenchmarkMemory(b *testing.B) {
	const most, week = 2_000_000, 7 * 24 * time.Hour
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for b.Loop() {
		before := heap()
		x := New(most, week)
		worst := 0.0
		for i := range most * 5 / 4 {
			store(b, x, numbered(i), start.Add(week/most*time.Duration(i)))
			if i > 0 && i%100_000 == 0 {
				worst = max(worst, (heap()-before)/float64(x.Len()))
			}
		}
		b.ReportMetric((heap()-before)/float64(x.Len()), "B/id")
		b.ReportMetric(worst, "worst-B/id")
		b.ReportMetric((heap()-before)/(1<<20), "MB")
		runtime.KeepAlive(x)
	}
}

func BenchmarkBegin(b *testing.B) {
	x := New(2_000_000, 7*24*time.Hour)
	for i := range 1_900_000 {
		store(b, x, numbered(i), start)
	}
	for i := 0; b.Loop(); i++ {
		knows(x, numbered(i), start)
	}
}

// BenchmarkForget is how long the requests of one shard wait for it to make room.
func BenchmarkForget(b *testing.B) {
	filled := table{most: shardEvents}
	for i := range shardEvents {
		filled.add(numbered(i), int64(i)%sweepEvery)
	}
	for b.Loop() {
		full := filled
		full.makeRoom()
	}
}
