package inventoryreconciler

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	deadline  = 30 * time.Second
	readEvery = 40 * time.Millisecond
	mug       = "MUG"
)

// world is an ERP and some shops behind a dispatcher, on a real bus, with the
// truth about every unit. The test is the logic-gate.
type world struct {
	t     testing.TB
	bus   *bus.Bus
	store *catalog.Store
	log   *slog.Logger
	// metrics are those of the newest reconciler.
	metrics http.Handler

	mu sync.Mutex
	// changed is closed and replaced at every change of the world.
	changed chan struct{}
	// received are the units that ever came in, erp what the ERP has available.
	received, erp map[string]int64
	shops         map[string]*shop
	sales         []*sale
	accounts      map[string]*account
	// judged: a shop that shows more than is free breaks a promise, and so does
	// whoever takes its last units off sale though units are free.
	judged bool
}

// shop is what a shop shows, and counts of its open orders.
type shop struct {
	available, committed map[string]int64
	// counts: it says how many units its open orders have.
	counts bool
	// history are the figures of MUG that were written from outside.
	history []int64
}

// account is what the dispatcher knows of a connector, and what it saw.
type account struct {
	// down: calls find nobody and wait. away: the dispatcher itself is not there.
	down, away bool
	// called is run before a call takes effect, without the lock; a result that
	// it returns is the call's.
	called func(*dispatchv1.Delivery) *dispatchv1.Result
	// reads, sets and conflicts count calls; asked counts deliveries.
	reads, sets, conflicts, asked int
	// outstanding are deliveries without a result; most is how many there were at
	// any time.
	outstanding, most int
}

// sale is an order as the shop has it, with what the engine was told.
type sale struct {
	shop      string
	quantity  int64
	state     *orderv1.State
	cancelled bool
	// heard: the engine knows of it. taken: the ERP has it. settled: the dispatcher
	// has said so. closed: the order's state says so.
	heard, taken, settled, closed bool
	issued, done                  time.Time
}

func newWorld(t testing.TB, units int64, shops ...string) *world {
	t.Helper()
	w := &world{
		t: t, bus: bustest.Start(t), log: slog.New(slog.DiscardHandler), changed: make(chan struct{}), judged: true,
		received: map[string]int64{mug: units}, erp: map[string]int64{mug: units},
		shops: map[string]*shop{}, accounts: map[string]*account{"erp": {}},
	}
	snapshot := &catalog.Snapshot{Connectors: map[string]*v1alpha1.Connector{}, StockPools: map[string]*v1alpha1.StockPool{}}
	for _, name := range shops {
		w.shops[name] = &shop{available: map[string]int64{mug: units}, committed: map[string]int64{}, counts: true}
		w.accounts[name] = &account{}
	}
	snapshot.StockPools["main"] = pool(shops, mug)
	w.store = catalog.NewStore(snapshot)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { w.dispatch(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return w
}

func pool(shops []string, skus ...string) *v1alpha1.StockPool {
	p := &v1alpha1.StockPool{Spec: v1alpha1.StockPoolSpec{
		SKUs: skus, Lane: "express",
		Source: v1alpha1.StockSource{Connector: "erp", Location: "1", ReadEvery: metav1.Duration{Duration: readEvery}},
	}}
	for _, name := range shops {
		p.Spec.Channels = append(p.Spec.Channels, v1alpha1.StockChannel{Connector: name, Location: "gid://location/1"})
	}
	return p
}

// start runs a reconciler until the returned function is called.
func (w *world) start() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	tracing, err := telemetry.Setup(ctx, telemetry.Options{Service: Role, Prometheus: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.metrics = tracing.Metrics()
	r, err := New(Config{Bus: w.bus, Catalog: w.store, Logger: w.log, Telemetry: tracing})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// change changes the world under its lock and tells everybody who waits.
func (w *world) change(edit func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	edit()
	w.judge()
	close(w.changed)
	w.changed = make(chan struct{})
}

// judge needs the lock. With several shops, each shows units until it hears that
// another has sold them.
func (w *world) judge() {
	if !w.judged {
		return
	}
	for name, s := range w.shops {
		for sku, shown := range s.available {
			free := w.free(sku)
			if shown > max(0, free) && len(w.shops) == 1 {
				w.t.Errorf("%s shows %d of %s, and %d are free", name, shown, sku, free)
			}
		}
	}
}

// free needs the lock: what is there and promised to nobody.
func (w *world) free(sku string) int64 {
	free := w.received[sku]
	for _, s := range w.sales {
		if sku == mug && !s.cancelled {
			free -= s.quantity
		}
	}
	return free
}

// owed needs the lock: what was sold and is not at the ERP.
func (w *world) owed() int64 {
	owed := int64(0)
	for _, s := range w.sales {
		if !s.taken && !s.cancelled {
			owed += s.quantity
		}
	}
	return owed
}

// eventually waits until a condition, which is asked under the lock, holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	timeout := time.NewTimer(deadline)
	defer timeout.Stop()
	for {
		w.mu.Lock()
		done, changed := holds(), w.changed
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			w.mu.Lock()
			state := w.String()
			w.mu.Unlock()
			w.t.Fatalf("waited in vain for %s: %s", what, state)
		}
	}
}

// String needs the lock.
func (w *world) String() string {
	text := fmt.Sprintf("erp %d, owed %d", w.erp[mug], w.owed())
	for name, s := range w.shops {
		text += fmt.Sprintf(", %s shows %d", name, s.available[mug])
	}
	for name, a := range w.accounts {
		text += fmt.Sprintf(", %s: %d asked, %d reads, %d sets, %d conflicts", name, a.asked, a.reads, a.sets, a.conflicts)
	}
	return text
}

// readings waits for so many more readings of a connector.
func (w *world) readings(connector string, n int) {
	w.t.Helper()
	w.mu.Lock()
	a := w.accounts[connector]
	until := a.reads + n
	w.mu.Unlock()
	w.eventually(fmt.Sprintf("%d readings of %s", n, connector), func() bool { return a.reads >= until })
}

// inStep waits until every shop shows what the ERP has less what is owed.
func (w *world) inStep() {
	w.t.Helper()
	w.eventually("shops in step", func() bool {
		for _, s := range w.shops {
			if s.available[mug] != max(0, w.erp[mug]-w.owed()) {
				return false
			}
		}
		return true
	})
}

// sell sells at a shop, if it shows enough, and returns nil where it does not.
func (w *world) sell(name string, quantity int64) *sale {
	s := &sale{shop: name, quantity: quantity}
	w.change(func() {
		at := w.shops[name]
		if at.available[mug] < quantity {
			s = nil
			return
		}
		at.available[mug] -= quantity
		at.committed[mug] += quantity
		id := fmt.Sprint(5000 + len(w.sales))
		key := order.Key(name, id)
		s.state = &orderv1.State{
			Key: key, Revision: 1,
			Order: &orderv1.Order{Source: name, Id: id, Name: "#" + id, FinancialStatus: "paid", Lines: []*orderv1.Line{{Sku: mug, Quantity: quantity}}},
			Deliveries: []*orderv1.Delivery{{
				Id: order.DeliveryID("orders", "erp", 1), Flow: "orders", Step: "erp", Connector: "erp", Lane: "standard",
				Operation: "upsertSalesOrder", Revision: 1, Status: orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN,
			}},
		}
		w.sales = append(w.sales, s)
	})
	return s
}

// sold is sell where the shop has to have enough.
func (w *world) sold(name string, quantity int64) *sale {
	w.t.Helper()
	s := w.sell(name, quantity)
	if s == nil {
		w.t.Fatalf("the shop refuses to sell %d", quantity)
	}
	return s
}

// hear lets the engine know of a sale, as it stands.
func (w *world) hear(s *sale) {
	w.publish(bus.OrderStateSubject(s.state.GetKey()), s.state, nil)
	w.change(func() { s.heard = true })
}

// take lets the ERP accept a sale, without anybody knowing yet.
func (w *world) take(s *sale) {
	s.issued = time.Now()
	w.change(func() {
		s.taken = true
		w.erp[mug] -= s.quantity
	})
}

// settle lets the dispatcher say that the ERP has accepted.
func (w *world) settle(s *sale) {
	d := s.state.GetDeliveries()[0]
	s.done = time.Now()
	id := order.DispatchID(s.state.GetKey(), d.GetId())
	w.publish(bus.ResultSubject("logic-gate", id), &dispatchv1.Result{
		DeliveryId: id, Connector: "erp", Key: s.state.GetKey(), Operation: "upsertSalesOrder", Requester: "logic-gate",
		Outcome: dispatchv1.Outcome_OUTCOME_DELIVERED, Revision: 1, Attempts: 1,
		IssuedAt: timestamppb.New(s.issued), SettledAt: timestamppb.New(s.done),
	}, bus.Sequence(0))
	w.change(func() { s.settled = true })
}

// close puts the acceptance into the order's state.
func (w *world) close(s *sale) {
	d := s.state.GetDeliveries()[0]
	d.Status, d.DeliveredRevision = orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED, 1
	d.SettledAt = timestamppb.New(s.done)
	w.hear(s)
	w.change(func() { s.closed = true })
}

// accept is take, settle and close.
func (w *world) accept(s *sale) {
	w.take(s)
	w.settle(s)
	w.close(s)
}

// cancel cancels a sale at the shop, which puts its units back.
func (w *world) cancel(s *sale) {
	w.change(func() {
		s.cancelled = true
		w.shops[s.shop].available[mug] += s.quantity
		w.shops[s.shop].committed[mug] -= s.quantity
	})
	s.state.Revision++
	s.state.Order.CancelledAt = timestamppb.Now()
}

// receive books goods in at the ERP.
func (w *world) receive(units int64) {
	w.change(func() {
		w.received[mug] += units
		w.erp[mug] += units
	})
}

func (w *world) publish(subject string, m proto.Message, expect *uint64) {
	data, err := proto.Marshal(m)
	if err != nil {
		w.t.Error(err)
		return
	}
	if _, err := w.bus.Publish(context.Background(), bus.Message{Subject: subject, Data: data, ExpectLast: expect}); err != nil && !bus.IsConflict(err) {
		w.t.Errorf("publish on %s: %v", subject, err)
	}
}

// written are the figures of MUG that were written to a shop.
func (w *world) written(name string) []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.shops[name].history)
}
