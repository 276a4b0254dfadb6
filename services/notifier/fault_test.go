package notifier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

var errKilled = errors.New("killed")

// killed is the bus of a notifier that dies at its nth call, before or after
// that has its effect.
type killed struct {
	records
	left  atomic.Int64
	after bool
	dead  chan struct{}
}

func newKilled(r records, at int64, after bool) *killed {
	k := &killed{records: r, after: after, dead: make(chan struct{})}
	k.left.Store(at)
	return k
}

// call reports whether the call has its effect, and whether its caller lives to
// see it.
func (k *killed) call() (effect, alive bool) {
	left := k.left.Add(-1)
	return left > 0 || left == 0 && k.after, left > 0
}

// die makes known that the notifier is dead.
func (k *killed) die() {
	if k.left.Load() == 0 {
		close(k.dead)
	}
}

func (k *killed) Last(ctx context.Context, stream, subject string) (bus.Record, error) {
	if _, alive := k.call(); !alive {
		k.die()
		return bus.Record{}, errKilled
	}
	return k.records.Last(ctx, stream, subject)
}

func (k *killed) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	effect, alive := k.call()
	var ack bus.Ack
	err := errKilled
	if effect {
		ack, err = k.records.Publish(ctx, m)
	}
	if !alive {
		k.die()
		return bus.Ack{}, errKilled
	}
	return ack, err
}

// A notifier that is killed at any call, before or after its effect, tells
// nobody twice and leaves nobody out, whether its texts are sent at once or only
// when it is back.
func TestKilledAnywhere(t *testing.T) {
	// For two recipients: the order's name, and for each DISPATCH, WAITING, RESULT,
	// write.
	const calls = 1 + 2*4
	for _, meanwhile := range []bool{false, true} {
		t.Run(fmt.Sprintf("sent meanwhile %v", meanwhile), func(t *testing.T) {
			w := newWorld(t, policy("operations", boss, deputy))
			stopDispatch := func() {}
			want := make(map[string]int)
			order := 0
			for at := int64(1); at <= calls; at++ {
				for _, after := range []bool{false, true} {
					if meanwhile {
						stopDispatch = w.dispatch()
					}
					order++
					w.killAt(fmt.Sprint(order), at, after)
					want[fmt.Sprint(boss, " ", order)], want[fmt.Sprint(deputy, " ", order)] = 1, 1
					stop := w.start()
					if !meanwhile {
						stopDispatch = w.dispatch()
					}
					w.told(2 * order)
					stop()
					stopDispatch()
				}
			}
			w.start()
			w.dispatch()
			if diff := cmp.Diff(want, w.replayed(2*order)); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			// Nor did anything come into DISPATCH for the dispatcher to drop.
			for i, s := range w.texts() {
				if s.record.Sequence != uint64(i+1) {
					t.Errorf("text %d is message %d of DISPATCH", i+1, s.record.Sequence)
				}
			}
		})
	}
}

// killAt holds an order without a name and has a notifier die over it.
func (w *world) killAt(order string, at int64, after bool) {
	w.t.Helper()
	w.hold(order, func(h *dispatchv1.Hold) { h.OrderName = "" })
	k := newKilled(w.bus, at, after)
	stop := w.start(func(n *Notifier) { n.records = k })
	w.eventually("the notifier dies", func() bool {
		select {
		case <-k.dead:
			return true
		default:
			return false
		}
	})
	stop()
}

// A policy that is edited while its notifier is down sends nobody a second text
// by its new way.
func TestEditedBetweenDeathAndRedelivery(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.killAt("1", 5, true)
	other := policy("managers", boss, deputy)
	other.Spec.Through.Connector = "pager"
	w.store.Replace(snapshot(other))
	w.start()
	w.dispatch()
	if diff := cmp.Diff(map[string]int{boss + " 1": 1, deputy + " 1": 1}, w.told(2)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	for _, s := range w.texts() {
		if want := map[string]string{boss: "twilio", deputy: "pager"}[s.to()]; s.delivery.GetConnector() != want {
			t.Errorf("%s was told through %s, want %s", s.to(), s.delivery.GetConnector(), want)
		}
	}
}

// A text that waits for its next attempt has left DISPATCH and is sent nevertheless:
// nobody gets a second one, by whatever way.
func TestATextThatWaitsIsNotSentTwice(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.killAt("1", 5, true)
	text, err := w.bus.Last(t.Context(), bus.StreamDispatch, "dispatch.v1.>")
	if err != nil {
		t.Fatal(err)
	}
	d := &dispatchv1.Delivery{}
	if err := proto.Unmarshal(text.Data, d); err != nil {
		t.Fatal(err)
	}
	// As the dispatcher does.
	w.put(bus.Message{Subject: bus.WaitingSubject(d.GetConnector(), d.GetKey(), d.GetId())}, &dispatchv1.Waiting{Delivery: d, Attempts: 1, Position: text.Sequence})
	if err := w.bus.Remove(t.Context(), bus.StreamDispatch, text.Subject); err != nil {
		t.Fatal(err)
	}
	other := policy("managers", boss)
	other.Spec.Through.Connector = "pager"
	w.store.Replace(snapshot(other))
	w.start(fresh) // which reads the first hold before the second
	w.dispatch()
	w.hold("2")
	if diff := cmp.Diff(map[string]int{boss + " #2": 1}, w.told(1)); diff != "" {
		t.Errorf("told besides the one that waits (-want +got):\n%s", diff)
	}
}

// A hold is acknowledged only when all of its texts are written, however long
// the bus refuses them.
func TestTheBusIsAwayAtTheWrite(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.dispatch()
	refuse := &refusing{records: w.bus}
	refuse.left.Store(3)
	w.start(func(n *Notifier) { n.records = refuse })
	w.hold("1")
	w.hold("2")
	if diff := cmp.Diff(map[string]int{boss + " #1": 1, boss + " #2": 1}, w.told(2)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if n := w.count("ERROR a part stopped", "texts for hold.v1.wms.shopify_1"); n != 1 {
		t.Errorf("%d lines about one trouble, want 1:\n%v", n, w.log.lines())
	}
}

// refusing writes only after a number of refusals.
type refusing struct {
	records
	left atomic.Int64
}

func (r *refusing) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if r.left.Add(-1) >= 0 {
		return bus.Ack{}, context.DeadlineExceeded
	}
	return r.records.Publish(ctx, m)
}

// Two replicas that both saw that a text is not there write it once.
func TestTwoReplicasAtTheSameWrite(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	var both sync.WaitGroup
	both.Add(2)
	var written atomic.Int64
	together := func(n *Notifier) { n.records = &waiting{records: n.records, both: &both, written: &written} }
	w.start(together)
	w.start(together, fresh)
	w.hold("1")
	w.eventually("both have written", func() bool { return written.Load() == 2 })
	w.dispatch()
	if diff := cmp.Diff(map[string]int{boss + " #1": 1}, w.replayed(1)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	texts := w.texts()
	if last := texts[len(texts)-1]; last.record.Sequence != 2 {
		t.Errorf("the second text is message %d of DISPATCH, want 2", last.record.Sequence)
	}
}

// waiting lets the first write wait for that of the other replica.
type waiting struct {
	records
	once    sync.Once
	both    *sync.WaitGroup
	written *atomic.Int64
}

func (r *waiting) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	r.once.Do(func() {
		r.both.Done()
		r.both.Wait()
	})
	ack, err := r.records.Publish(ctx, m)
	r.written.Add(1)
	return ack, err
}

// A cluster refuses a write while an earlier attempt is in process; where that
// comes to nothing, the text is written all the same.
func TestATextInProcessIsWrittenAgain(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.dispatch()
	w.start(func(n *Notifier) { n.records = &inProcess{records: w.bus} })
	w.hold("1")
	if diff := cmp.Diff(map[string]int{boss + " #1": 1}, w.told(1)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// inProcess loses the first write, and refuses the second as if the first were in
// process.
type inProcess struct {
	records
	writes atomic.Int64
}

func (p *inProcess) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	switch p.writes.Add(1) {
	case 1:
		return bus.Ack{}, context.DeadlineExceeded
	case 2:
		return bus.Ack{}, bustest.Refusal(m.Subject)
	}
	return p.records.Publish(ctx, m)
}
