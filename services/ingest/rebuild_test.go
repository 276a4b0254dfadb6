package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/ingest/internal/recent"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func (f *fixture) rebuiltAll(t testing.TB) *fixture {
	t.Helper()
	f.eventually(t, "all read back", func() bool { return f.rebuilt.share() == 1 })
	return f
}

// A sender that repeats after a restart what was acknowledged before gets its 2xx,
// and nothing is stored again.
func TestRepetitionsAreKnownAfterARestart(t *testing.T) {
	b := bustest.Start(t)
	const events = 40
	before := start(t, b, nil).ready(t)
	for i := range events {
		before.deliver(t, fmt.Sprint("w", i), order(i), nil)
	}
	before.end(t)
	after := start(t, b, nil).ready(t).rebuiltAll(t)
	for i := range events {
		if got := after.deliver(t, fmt.Sprint("w", i), order(i), nil); got.status != http.StatusOK {
			t.Errorf("repetition %d: %+v", i, got)
		}
	}
	after.deliver(t, "new", order(events), nil)
	after.deliver(t, "w1", order(2), nil) // the same id with something else is something else
	if c := after.Counts(); c.Stored != 2 || c.Duplicates != events {
		t.Errorf("counts %+v, want 2 stored and %d duplicates", c, events)
	}
	if n := len(stored(t, b)); n != events+2 {
		t.Errorf("%d events are stored, want %d", n, events+2)
	}
}

// While it is read back what was stored, old and new events are taken in like ever:
// every one that was acknowledged is in the streams, a repetition at most twice.
func TestEventsDuringTheRebuildAreNotLost(t *testing.T) {
	b := bustest.Start(t)
	const events = 300
	before := start(t, b, nil).ready(t)
	for i := range events {
		before.deliver(t, fmt.Sprint("w", i), order(i), nil)
	}
	before.end(t)
	after := start(t, b, nil).ready(t)
	var senders sync.WaitGroup
	for part := range 8 {
		senders.Go(func() {
			for i := part; i < 2*events; i += 8 { // the first half repeats
				if got, err := after.send(after.request(t, fmt.Sprint("w", i), order(i), nil)); err != nil || got.status != http.StatusOK {
					t.Errorf("event %d: %+v, error %v", i, got, err)
				}
			}
		})
	}
	senders.Wait()
	c := after.rebuiltAll(t).Counts()
	counts := byID(stored(t, b))
	for i := range 2 * events {
		most := 1
		if i < events {
			most = 2
		}
		if n := counts[fmt.Sprint("w", i)]; n < 1 || n > most {
			t.Errorf("event %d is stored %d times", i, n)
		}
	}
	if c.Stored+c.Duplicates != 2*events || c.Stored < events {
		t.Errorf("counts %+v", c)
	}
	t.Logf("%d of %d repetitions were known while it was read back", c.Duplicates, events)
	for i := range 2 * events {
		after.deliver(t, fmt.Sprint("w", i), order(i), nil)
	}
	if d := after.Counts().Duplicates - c.Duplicates; d != 2*events {
		t.Errorf("%d of %d repetitions are known after it", d, 2*events)
	}
}

// tape stands for the bus: records by stream, some of which are gone.
type tape struct {
	mu      sync.Mutex
	records map[string][]bus.Record // from sequence 1
	first   map[string]uint64
	read    []string
	// fail is what the next reads end with.
	fail []error
}

func (t *tape) add(stream string, at time.Time, ids ...string) {
	pack := &eventv1.Pack{}
	for _, id := range ids {
		pack.Events = append(pack.Events, &eventv1.Event{Id: id})
	}
	data, _ := proto.Marshal(pack)
	n := uint64(len(t.records[stream]) + 1)
	t.records[stream] = append(t.records[stream], bus.Record{Stream: stream, Sequence: n, Time: at, Data: data})
}

func (t *tape) At(_ context.Context, stream string, sequence uint64) (bus.Record, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.fail) > 0 {
		err := t.fail[0]
		t.fail = t.fail[1:]
		return bus.Record{}, err
	}
	t.read = append(t.read, fmt.Sprint(stream, " ", sequence))
	if sequence < t.first[stream] || t.records[stream][sequence-1].Data == nil {
		return bus.Record{}, bus.ErrNotFound
	}
	return t.records[stream][sequence-1], nil
}

func (t *tape) Extent(_ context.Context, stream string) (bus.Extent, error) {
	return bus.Extent{First: max(1, t.first[stream]), Last: uint64(len(t.records[stream]))}, nil
}

func newTape() *tape { return &tape{records: map[string][]bus.Record{}, first: map[string]uint64{}} }

func (t *tape) rebuild(index *recent.Index) (*rebuild, *progress) {
	p := &progress{}
	return newRebuild(t, index, time.Hour, 2, func() bool { return false }, p), p
}

func known(x *recent.Index, id string) bool {
	key := x.Key("", "", id, nil)
	attempt, _, stored := x.Begin(key, time.Now())
	if !stored {
		x.End(key, attempt, errors.New("only looked"), time.Now())
	}
	return stored
}

// What was stored last is read first, of all streams; what is too old is not read.
func TestTheNewestAreReadBackFirst(t *testing.T) {
	tape, now := newTape(), time.Now()
	ago := func(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }
	tape.add("INGEST_0", ago(200), "ancient")
	tape.add("INGEST_0", ago(90), "old")
	tape.add("INGEST_0", ago(40), "a", "b")
	tape.add("INGEST_0", ago(10), "c")
	tape.add("INGEST_1", ago(30), "d")
	tape.add("INGEST_1", ago(20), "e")
	index := recent.New(1000, time.Hour)
	r, p := tape.rebuild(index)
	if p.share() != 0 {
		t.Errorf("progress %v before it begins", p.share())
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"INGEST_0 4", "INGEST_1 2", "INGEST_0 3", "INGEST_1 1", "INGEST_0 2"}
	if !slices.Equal(tape.read, want) {
		t.Errorf("read %v, want %v", tape.read, want)
	}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		if !known(index, id) {
			t.Errorf("%s is not known", id)
		}
	}
	if known(index, "old") || known(index, "ancient") {
		t.Error("what is too old is known")
	}
	if p.share() != 1 {
		t.Errorf("progress %v in the end", p.share())
	}
}

func TestARebuildStopsWhereTheIndexIsFull(t *testing.T) {
	tape, index := newTape(), recent.New(3, time.Hour)
	for i := range 6 {
		tape.add("INGEST_0", time.Now().Add(-time.Duration(6-i)*time.Minute), fmt.Sprint("event ", i))
	}
	r, p := tape.rebuild(index)
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if got := known(index, fmt.Sprint("event ", i)); got != (i > 2) {
			t.Errorf("event %d is known: %v", i, got)
		}
	}
	if p.share() != 1 || len(tape.read) != 4 {
		t.Errorf("progress %v after reading %v", p.share(), tape.read)
	}
}

// The streams go on while it reads: their oldest records go, one cannot be read, the
// bus is away for a moment.
func TestARebuildGoesOnWhereItWas(t *testing.T) {
	tape, index := newTape(), recent.New(1000, time.Hour)
	for i := range 8 {
		tape.add("INGEST_0", time.Now().Add(-time.Duration(8-i)*time.Minute), fmt.Sprint("event ", i))
	}
	tape.records["INGEST_0"][6].Data = []byte{0xff} // no pack
	tape.records["INGEST_0"][5].Data = nil          // missing among others
	away := errors.New("away")
	tape.fail = []error{away}
	r, p := tape.rebuild(index)
	if err := r.run(t.Context()); !errors.Is(err, away) || p.share() != 0 {
		t.Fatalf("error %v, progress %v", err, p.share())
	}
	tape.first["INGEST_0"] = 4
	if err := r.run(t.Context()); err != nil || p.share() != 1 || p.done.Load() != 8 {
		t.Fatalf("error %v, progress %v, %d done", err, p.share(), p.done.Load())
	}
	for i := range 8 {
		if got := known(index, fmt.Sprint("event ", i)); got != (i >= 3 && i != 5 && i != 6) {
			t.Errorf("event %d is known: %v", i, got)
		}
	}
	// Stopping ends it.
	ctx, stop := context.WithCancel(t.Context())
	stop()
	again, _ := tape.rebuild(index)
	if err := again.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped, it ends with %v", err)
	}
}

// many stores 200,000 events of 1 KiB in packs as a spike makes them.
const many = 200_000

func storeMany(b *testing.B, server *bus.Bus) {
	b.Helper()
	const inPack = 256
	for first := 0; first < many; first += inPack {
		pack := &eventv1.Pack{}
		for i := first; i < min(many, first+inPack); i++ {
			pack.Events = append(pack.Events, &eventv1.Event{
				Connector: "shop", Topic: "orders/create", Id: fmt.Sprint("w", i), Body: body(i)[:1024],
			})
		}
		data, err := proto.Marshal(pack)
		if err == nil {
			_, err = server.Publish(b.Context(), bus.Message{Subject: bus.IngestSubject(first / inPack % 2), Data: data})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRebuild says what it takes to know 200,000 events again after a start: how
// long, at the pace that a rebuild has, and how much memory.
func BenchmarkRebuild(b *testing.B) {
	server := bustest.Start(b)
	storeMany(b, server)
	limits := defaultBounds()
	for b.Loop() {
		index := recent.New(limits.recentEvents, limits.recentAge)
		r := newRebuild(server, index, limits.recentAge, 2, func() bool { return false }, &progress{})
		if err := r.run(b.Context()); err != nil || index.Len() != many {
			b.Fatalf("%d events are known: %v", index.Len(), err)
		}
		b.ReportMetric(float64(index.Bytes())/many, "B/id")
	}
	b.ReportMetric(many*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRequestsWhileReadingBack says what senders see of a rebuild: requests one
// after the other, while it runs and when it is over, on the same machine.
func BenchmarkRequestsWhileReadingBack(b *testing.B) {
	server := bustest.Start(b)
	storeMany(b, server)
	for b.Loop() {
		f := start(b, server, nil).ready(b)
		n := 0
		deliver := func(until func() bool) latencies {
			var all latencies
			for !until() {
				n++
				r := f.request(b, fmt.Sprint(b.N, "-", n, time.Now()), body(n), nil)
				began := time.Now()
				if got, err := f.send(r); err != nil || got.status != http.StatusOK {
					b.Fatalf("%+v, error %v", got, err)
				}
				all = append(all, time.Since(began))
			}
			return all
		}
		during := deliver(func() bool { return f.rebuilt.share() == 1 })
		after := deliver(func() bool { return n >= 2*len(during) })
		b.ReportMetric(during.at(0.5), "p50-ms-during")
		b.ReportMetric(during.at(0.99), "p99-ms-during")
		b.ReportMetric(after.at(0.5), "p50-ms-after")
		b.ReportMetric(after.at(0.99), "p99-ms-after")
		b.ReportMetric(float64(len(during)), "requests-during")
		f.end(b)
	}
}
