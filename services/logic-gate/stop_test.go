package logicgate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// never is an AckWait that no test lives to see: what comes again comes for another reason.
const never = time.Hour

// open returns how many packs of a shard are not settled, those behind one included.
func (w *world) open(shard int) uint64 {
	w.t.Helper()
	backlog, err := w.bus.Backlog(context.Background(), bus.IngestStream(shard), bus.Consumer(Role))
	if err != nil {
		w.t.Fatal(err)
	}
	return backlog.Newest() - backlog.Acknowledged
}

// A gate that stops has been handed many packs and results, of which it works on some, has
// others in line and the rest in the client. Whoever reads next has them at once, and each
// event and result is settled once, by the one or the other.
func TestWhatAStoppingGateHasNotSettledIsThereAtOnce(t *testing.T) {
	const orders = 60
	for name, replica := range map[string]bool{"at the next start": false, "at a replica that runs": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, toERP())
			w.ackWait = never
			first, stop := w.start(nil)
			for id := 1; id <= orders/4; id++ {
				w.capture(id%2, w.event("orders/create", shopOrder(id, 0, nil)))
			}
			w.eventually("the orders that have results", func() bool { return len(w.dispatched()) == orders/4 && first.Stats().Events == orders/4 })
			stop()

			// Half way through the next packs and the results nothing is written any more.
			stuck := deadlyAfter(orders / 2)
			middle, stop := w.start(stuck.before)
			for id := orders/4 + 1; id <= orders; id++ {
				w.capture(id%2, w.event("orders/create", shopOrder(id, 0, nil)))
			}
			for id := 1; id <= orders/4; id++ {
				w.answer(fmt.Sprintf("shopify_%d_orders_erp_1", id), delivered, 1)
			}
			<-stuck.died
			gates := []*Gate{first, middle}
			if replica {
				other, _ := w.start(nil)
				gates = append(gates, other)
			}
			stop()
			if !replica {
				next, _ := w.start(nil)
				gates = append(gates, next)
			}
			counted := func() (events, results int64) {
				for _, g := range gates {
					events, results = events+g.Stats().Events, results+g.Stats().Results
				}
				return events, results
			}
			w.eventually("all events and results", func() bool {
				events, results := counted()
				return events >= orders && results >= orders/4
			})
			w.eventually("all deliveries", func() bool { return len(w.dispatched()) == orders })
			for id := 1; id <= orders; id++ {
				want := "orders.erp.1 OPEN"
				if id <= orders/4 {
					want = "orders.erp.1 DELIVERED"
				}
				w.becomes(fmt.Sprint("shopify_", id), want)
			}
			w.eventually("an input without open messages", func() bool { return w.open(0) == 0 && w.open(1) == 0 })
			if events, results := counted(); events != orders || results != orders/4 {
				t.Errorf("settled %d events and %d results, want %d and %d: each by one gate", events, results, orders, orders/4)
			}
			if n := w.log.count("could not be given back"); n > 0 {
				t.Errorf("%d times something could not be given back: %q", n, w.log.lines())
			}
		})
	}
}

// scripted has its own tasks for each message.
type scripted func(sequence uint64) []task

func (s scripted) split(_ context.Context, m *bus.Incoming) []task { return s(m.Sequence) }

// Given back is what was in work, in line, or not begun. What is settled is not, nor what
// failed: it waits for its AckWait also if other parts of it were in work.
func TestWhatFailedIsNotGivenBack(t *testing.T) {
	w := newWorld(t, toERP())
	queue := newKeyed()
	working, stop := context.WithCancel(t.Context())
	defer stop()
	var failures atomic.Int64
	begun := make(chan struct{})
	succeeds := func(context.Context) error { return nil }
	// A worker may take up one more task before it hears that it is over.
	neverBegun := func(ctx context.Context) error { return ctx.Err() }
	fails := func(context.Context) error { return errors.New("broken") }
	isInWork := func(ctx context.Context) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	scripts := map[uint64][]task{
		1: {{"a", succeeds}},
		2: {{"a", fails}},
		3: {{"a", fails}, {"a", isInWork}, {"a", neverBegun}},
		4: {{"b", succeeds}, {"b", isInWork}},
		5: {{"b", neverBegun}},
		6: {{"b", neverBegun}},
	}
	in := newInput(w.bus, bus.IngestStream(0), never, queue, nil)
	in.splitter = scripted(func(sequence uint64) []task { return scripts[sequence] })
	in.failed = func(*bus.Incoming, error) { failures.Add(1) }
	for range scripts {
		w.capture(0)
	}
	worked, read := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(worked)
		queue.run(working, 2)
	}()
	go func() { read <- in.run(working) }()
	<-begun
	<-begun
	w.eventually("all messages in line", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.unsettled[uint64(len(scripts))] != nil
	})
	stop()
	<-worked
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if err := in.giveBack(working); err != nil {
		t.Fatal(err)
	}
	want, last := []uint64{4, 5, 6}, uint64(len(scripts))+1
	var got []uint64
	reading, end := context.WithTimeout(t.Context(), deadline)
	defer end()
	options := in.options
	options.Leftover = nil
	err := w.bus.Consume(reading, options, func(_ context.Context, m *bus.Incoming) {
		switch got = append(got, m.Sequence); {
		case m.Sequence == last:
			end()
		case len(got) == len(want):
			w.capture(0) // behind all that is given back
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if want = append(want, last); !slices.Equal(got, want) {
		t.Errorf("the next reader was handed %d, want %d", got, want)
	}
	if n := failures.Load(); n != 2 {
		t.Errorf("%d failures were told, want 2", n)
	}
}

// A gate whose server is gone ends all the same, and says what that costs.
func TestAStopWithoutAServerEnds(t *testing.T) {
	w := newWorld(t, toERP())
	w.ackWait = never
	stuck := deadlyAfter(0)
	_, stop := w.start(stuck.before)
	w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)))
	<-stuck.died
	w.server.Stop()
	begin := time.Now()
	stop()
	if took := time.Since(begin); took > deadline {
		t.Errorf("it took %v", took)
	}
	if n := w.log.count("could not be given back"); n != 1 {
		t.Errorf("it said %d times that something could not be given back, want once: %q", n, w.log.lines())
	}
	w.server.StartAgain(t)
}
