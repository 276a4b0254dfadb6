package logicgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// deadly stands between a gate and its records. Once it has let a number of
// writes through, the process is as good as dead: nothing it does has an effect
// any more.
type deadly struct {
	records
	writes atomic.Int64
	died   chan struct{}
	once   sync.Once
}

func deadlyAfter(writes int) *deadly {
	d := &deadly{died: make(chan struct{})}
	d.writes.Store(int64(writes))
	return d
}

func (d *deadly) before(r records) records {
	d.records = r
	return d
}

func (d *deadly) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if d.writes.Add(-1) < 0 {
		d.once.Do(func() { close(d.died) })
		<-ctx.Done()
		return bus.Ack{}, ctx.Err()
	}
	return d.records.Publish(ctx, m)
}

// Killed after any number of writes, a gate is followed by one that brings every
// order to the same end, each delivery in DISPATCH once.
func TestKilledBetweenAnyTwoWrites(t *testing.T) {
	const orders = 3
	for writes := range 2*orders + 2 {
		t.Run(fmt.Sprint("after ", writes, " writes"), func(t *testing.T) {
			w := newWorld(t, toERP())
			w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)), w.event("orders/create", shopOrder(2, 0, nil)), w.event("orders/create", shopOrder(3, 0, nil)))
			killer := deadlyAfter(writes)
			gate, kill := w.start(killer.before)
			if writes < 2*orders {
				<-killer.died
			} else {
				w.eventually("all events", func() bool { return gate.Stats().Events == orders })
			}
			kill()
			w.start(nil)
			for id := 1; id <= orders; id++ {
				key := fmt.Sprint("shopify_", id)
				w.becomes(key, "orders.erp.1 OPEN")
				w.eventually("the delivery of "+key, func() bool { return w.dispatched()[key+"_orders_erp_1"] != nil })
				if state := w.state(key); state.GetRevision() != 1 || len(state.GetEventIds()) != 1 {
					t.Errorf("%s has revision %d and events %v", key, state.GetRevision(), state.GetEventIds())
				}
			}
			if got := len(w.dispatched()); got != orders {
				t.Errorf("%d deliveries, want %d", got, orders)
			}
		})
	}
}

// Likewise between the state that a result writes and what it releases.
func TestKilledBetweenAResultAndItsRelease(t *testing.T) {
	w := newWorld(t, toBoth())
	_, stop := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)))
	w.eventually("the delivery to the WMS", func() bool { return w.dispatched()["shopify_1_orders_wms_1"] != nil })
	stop()
	killer := deadlyAfter(1)
	_, kill := w.start(killer.before)
	w.answer("shopify_1_orders_wms_1", delivered, 1)
	<-killer.died
	kill()
	w.becomes("shopify_1", "orders.wms.1 DELIVERED, orders.erp.1 OPEN")
	if w.dispatched()["shopify_1_orders_erp_1"] != nil {
		t.Fatal("the killed gate has published")
	}
	w.start(nil)
	w.eventually("the delivery to the ERP", func() bool { return w.dispatched()["shopify_1_orders_erp_1"] != nil })
}

// forgetful loses the answers to writes that took place, refuses others, and
// lets a second writer in between.
type forgetful struct {
	records
	mu     sync.Mutex
	random *rand.Rand
}

func (f *forgetful) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	f.mu.Lock()
	dice := f.random.IntN(6)
	f.mu.Unlock()
	switch dice {
	case 0:
		return bus.Ack{}, context.DeadlineExceeded
	case 1:
		if _, err := f.records.Publish(ctx, m); err != nil {
			return bus.Ack{}, err
		}
		return bus.Ack{}, context.DeadlineExceeded
	case 2:
		return bus.Ack{}, errors.New("an error that nobody has heard of")
	default:
		return f.records.Publish(ctx, m)
	}
}

// settledRevision is the newest revision that a step has delivered.
func settledRevision(deliveries []*orderv1.Delivery, step string) int64 {
	var revision int64
	for _, d := range deliveries {
		if d.GetStep() == step {
			revision = max(revision, d.GetDeliveredRevision())
		}
	}
	return revision
}

// Two gates with a bus that fails in all ways work on the same few orders, whose
// events come twice and out of order; results come as soon as deliveries do.
func TestNothingIsLostOnAFailingBus(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, toBoth())
	for n := range uint64(2) {
		w.start(func(r records) records { return &forgetful{records: r, random: rand.New(rand.NewPCG(seed, 2+n))} })
	}
	const orders, versions = 8, 4
	type arrival struct{ id, version int }
	var arrivals []arrival
	for id := 1; id <= orders; id++ {
		for version := range versions {
			arrivals = append(arrivals, arrival{id, version}, arrival{id, version})
		}
	}
	random.Shuffle(len(arrivals), func(i, j int) { arrivals[i], arrivals[j] = arrivals[j], arrivals[i] })
	for _, a := range arrivals {
		e := w.event("orders/updated", shopOrder(a.id, a.version, map[string]any{"note": fmt.Sprint(a.version)}))
		e.Id = fmt.Sprint(a.id, "-", a.version)
		w.capture(random.IntN(2), e)
	}
	answered := map[string]bool{}
	w.eventually("every order delivered in its newest version", func() bool {
		for id, d := range w.dispatched() {
			if answered[id] {
				continue
			}
			answered[id] = true
			w.answer(id, delivered, w.state(d.GetKey()).GetRevision())
		}
		for id := 1; id <= orders; id++ {
			state := w.state(fmt.Sprint("shopify_", id))
			if state.GetOrder().GetNote() != fmt.Sprint(versions-1) || settledRevision(state.GetDeliveries(), "erp") != state.GetRevision() {
				return false
			}
		}
		return true
	})
	for subject, hold := range w.holds() {
		// What nobody has heard of is tried eight times before a person has to look.
		t.Errorf("%s: %v", subject, hold.GetCause())
	}
}

// The server goes away and comes back; the log says so once each.
func TestTheBusGoesAwayAndComesBack(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)))
	w.becomes("shopify_1", "orders.erp.1 OPEN")
	w.eventually("the first event", func() bool { return gate.Stats().Events == 1 })
	for id := 2; id < 10; id++ {
		w.capture(0, w.event("orders/create", shopOrder(id, 0, nil)))
	}
	w.server.Restart(t)
	for id := 2; id < 10; id++ {
		w.becomes(fmt.Sprint("shopify_", id), "orders.erp.1 OPEN")
	}
	w.eventually("nine deliveries", func() bool { return len(w.dispatched()) == 9 })
	var lines int
	for _, line := range w.log.lines() {
		if strings.Contains(line, "the bus takes nothing") {
			lines++
		}
	}
	if lines > 1 {
		t.Errorf("one outage is worth one line: %q", w.log.lines())
	}
}

func TestPatienceTellsTheLogOnce(t *testing.T) {
	kept := &logs{}
	p := &patience{log: slog.New(kept)}
	for range 2 {
		failures := 3
		err := p.do(t.Context(), func(context.Context) error {
			if failures--; failures >= 0 {
				return context.DeadlineExceeded
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if lines := kept.lines(); len(lines) != 4 {
		t.Errorf("log %q, want a line at the beginning and at the end of each outage", lines)
	}
	own := errors.New("its own reason")
	if err := p.do(t.Context(), func(context.Context) error { return own }); !errors.Is(err, own) {
		t.Errorf("%v, want the error at once", err)
	}
}

// A full store answers reads, and takes some writes: that ends nothing for those
// that wait.
func TestWhatGetsThroughDoesNotEndTheTroubleOfOthers(t *testing.T) {
	kept := &logs{}
	p := &patience{log: slog.New(kept)}
	fine := func(context.Context) error { return nil }
	failures := 5
	err := p.do(t.Context(), func(ctx context.Context) error {
		if failures--; failures < 0 {
			return nil
		}
		if err := p.do(ctx, fine); err != nil {
			t.Error(err)
		}
		return context.DeadlineExceeded
	})
	if lines := kept.lines(); err != nil || len(lines) != 2 {
		t.Errorf("%v and log %q, want a line at the beginning and one at the end", err, lines)
	}
}

// A gate that died before it published is healed by the event that comes again,
// for a sender that gives its events no ids too.
func TestKilledBeforePublishingWhatAnEventWithoutAnIDAskedFor(t *testing.T) {
	w := newWorld(t, toERP())
	create := w.event("orders/create", shopOrder(1, 0, nil))
	create.Id = ""
	w.capture(0, create)
	killer := deadlyAfter(1)
	_, kill := w.start(killer.before)
	<-killer.died
	kill()
	w.start(nil)
	w.eventually("the delivery", func() bool { return w.dispatched()["shopify_1_orders_erp_1"] != nil })
}

// A delivery that was closed at the dispatcher leaves DISPATCH; the pack of a
// gate that died before its acknowledgment comes again after that.
func TestRepeatedPackAfterItsDeliveryWasClosed(t *testing.T) {
	w := newWorld(t, toERP())
	gate, _ := w.start(nil)
	create := w.event("orders/create", shopOrder(1, 0, nil))
	w.capture(0, create)
	w.becomes("shopify_1", "orders.erp.1 OPEN")
	w.answer("shopify_1_orders_erp_1", delivered, 1)
	w.becomes("shopify_1", "orders.erp.1 DELIVERED")
	before := gate.Stats().Deliveries
	w.capture(0, create)
	w.eventually("the repeated event", func() bool { return gate.Stats().Repeated == 1 && gate.Stats().Events == 2 })
	if got := gate.Stats().Deliveries; got != before {
		t.Errorf("a closed delivery was published again")
	}
}

func TestADeliveryIsPublishedInTheTraceOfItsEvent(t *testing.T) {
	w := newWorld(t, toBoth())
	w.start(nil)
	create := w.event("orders/create", shopOrder(1, 0, nil))
	create.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w.capture(0, create)
	w.becomes("shopify_1", "orders.wms.1 OPEN, orders.erp.1 WAITING")
	w.answer("shopify_1_orders_wms_1", delivered, 1)
	w.eventually("both deliveries", func() bool { return len(w.dispatched()) == 2 })
	for _, id := range []string{"shopify_1_orders_wms_1", "shopify_1_orders_erp_1"} {
		if got := w.headers(id)["traceparent"]; !strings.Contains(got, "0af7651916cd43dd8448eb211c80319c") {
			t.Errorf("%s has traceparent %q, want the trace of its event", id, got)
		}
	}
	for _, d := range w.state("shopify_1").GetDeliveries() {
		if !strings.Contains(d.GetTraceparent(), "0af7651916cd43dd8448eb211c80319c") {
			t.Errorf("%s remembers traceparent %q", d.GetId(), d.GetTraceparent())
		}
	}
	if !proto.Equal(w.dispatched()["shopify_1_orders_erp_1"].GetOrderStep(), &dispatchv1.OrderStep{Flow: "orders", Step: "erp", Revision: 1}) {
		t.Error("the released delivery is not the step that waited")
	}
}

// inProcess loses the first write of a kind of records, and refuses the next ones
// as a cluster does while that one is in process. Then it comes to nothing.
type inProcess struct {
	records
	prefix string
	writes atomic.Int64
}

func (p *inProcess) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if strings.HasPrefix(m.Subject, p.prefix) {
		switch p.writes.Add(1) {
		case 1:
			return bus.Ack{}, context.DeadlineExceeded
		case 2, 3, 4:
			return bus.Ack{}, bustest.Refusal(m.Subject)
		}
	}
	return p.records.Publish(ctx, m)
}

// That a write is refused while an earlier attempt is in process does not say
// that it is stored: states and deliveries are written until they are.
func TestWhatIsInProcessIsNotThere(t *testing.T) {
	for _, prefix := range []string{"order.state.v1.", "dispatch.v1."} {
		t.Run(prefix, func(t *testing.T) {
			w := newWorld(t, toERP())
			w.start(func(r records) records { return &inProcess{records: r, prefix: prefix} })
			w.capture(0, w.event("orders/create", shopOrder(1, 0, nil)))
			w.becomes("shopify_1", "orders.erp.1 OPEN")
			w.eventually("the delivery", func() bool { return w.dispatched()["shopify_1_orders_erp_1"] != nil })
		})
	}
}
