package backlog

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
)

const isWaiting = orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING

func at(connector, step string, is orderv1.DeliveryStatus) *orderv1.Delivery {
	return &orderv1.Delivery{Id: order.DeliveryID("orders", step, 1), Flow: "orders", Step: step, Connector: connector, Status: is}
}

// result is one that logic-gate has not applied: nobody consumes here.
func (w *world) result(requester, key string, d *orderv1.Delivery) {
	w.t.Helper()
	w.publish(bus.ResultSubject(requester, order.DispatchIDOf(key, d)), &dispatchv1.Result{})
}

func (w *world) look(s *Steps) {
	w.t.Helper()
	if err := s.Look(w.t.Context(), 1000); err != nil {
		w.t.Fatal(err)
	}
}

// What waits for another step of its order is found wherever the call is that it waits for:
// in a lane, put off, on hold, or with its result on the way to logic-gate.
func TestStepsThatWaitForOthersAreFound(t *testing.T) {
	t.Parallel()
	open := at("erp", "erp", isOpen)
	for name, put := range map[string]func(w *world){
		"in a lane": func(w *world) {
			w.publish(bus.DispatchSubject("erp", "bulk", "shop_1", "a"), &dispatchv1.Delivery{})
		},
		"put off": func(w *world) { w.publish(bus.WaitingSubject("erp", "shop_1", "a"), &dispatchv1.Delivery{}) },
		"on hold": func(w *world) { w.hold("erp", "shop_1", "a", logicgate.Role) },
		"with its result": func(w *world) {
			w.result("inventory-reconciler", "shop_9", open)
			w.result(logicgate.Role, "shop_1", open)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			put(w)
			w.state("shop_1", open, at("wms", "ship", isWaiting))
			w.state("shop_2", at("wms", "ship", isDone))
			s := NewSteps(w.bus, "wms")
			w.look(s)
			if s.Orders() != 1 || s.Left() != 0 {
				t.Fatalf("found %d, %d left, want 1 and none", s.Orders(), s.Left())
			}
			if want := "1 order has a step there that waits for another step, such as shop_1, whose ship waits for erp at erp"; !strings.HasPrefix(s.Obstacle(), want) {
				t.Errorf("it says %q, want %q", s.Obstacle(), want)
			}
			other := NewSteps(w.bus, "tms")
			if w.look(other); other.Orders() != 0 || other.Obstacle() != "" {
				t.Errorf("a connector that nothing is owed: %q", other.Obstacle())
			}
			// What it waited for has arrived, and it goes now: it is still owed.
			w.state("shop_1", at("erp", "erp", isDone), at("wms", "ship", isOpen))
			if w.look(s); s.Orders() != 1 {
				t.Error("one that goes now is not owed any more")
			}
			w.state("shop_1", at("erp", "erp", isDone), at("wms", "ship", isDone))
			if w.look(s); s.Orders() != 0 || s.Obstacle() != "" {
				t.Errorf("after it was delivered: %q", s.Obstacle())
			}
		})
	}
}

// between is RESULT of which one record more is stored after the first question about it.
type between struct {
	*bus.Bus
	once  sync.Once
	store func()
}

func (b *between) Extent(ctx context.Context, stream string) (bus.Extent, error) {
	defer b.once.Do(b.store)
	return b.Bus.Extent(ctx, stream)
}

func (b *between) Backlog(ctx context.Context, stream, durable string) (bus.Backlog, error) {
	defer b.once.Do(b.store)
	return b.Bus.Backlog(ctx, stream, durable)
}

// A result that is stored between the two questions, how long RESULT is and how far
// logic-gate is in it, does not count as applied: its call has left DISPATCH, and what waits
// for it is in no lane yet.
func TestAResultThatComesBetweenIsNotApplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := at("erp", "erp", isOpen)
	w.result(logicgate.Role, "shop_0", open)
	// logic-gate has applied all that there is.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	err := w.bus.Consume(ctx, bus.ConsumerOptions{
		Stream: bus.StreamResult, Durable: bus.Consumer(logicgate.Role), Filters: []string{bus.ResultFilter(logicgate.Role)},
	}, func(ctx context.Context, m *bus.Incoming) {
		if err := m.Ack(ctx); err != nil {
			t.Error(err)
		}
		stop()
	})
	if err != nil {
		t.Fatal(err)
	}
	w.state("shop_1", open, at("wms", "ship", isWaiting))
	s := NewSteps(w.bus, "wms")
	s.results = &between{Bus: w.bus, store: func() { w.result(logicgate.Role, "shop_1", open) }}
	if w.look(s); s.Orders() != 1 {
		t.Errorf("found %d orders whose step comes later, want that of the result", s.Orders())
	}
}

// Many are looked at in turns, each once, and those that were found again by turns; until
// all were seen, it says so.
func TestStepsAreLookedAtInTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const orders = 30
	write := func(is orderv1.DeliveryStatus, which ...int) {
		for _, i := range which {
			key := fmt.Sprintf("shop_%02d", i)
			w.publish(bus.DispatchSubject("erp", "bulk", key, "a"), &dispatchv1.Delivery{})
			w.state(key, at("erp", "erp", isOpen), at("wms", "ship", is))
		}
	}
	for i := range orders {
		write(isWaiting, i)
	}
	s := NewSteps(w.bus, "wms")
	for turn := range 3 {
		if err := s.Look(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if s.Orders() != 10*(turn+1) || s.Left() != orders-10*(turn+1) {
			t.Errorf("after turn %d: found %d, %d left", turn, s.Orders(), s.Left())
		}
		if least := strings.HasPrefix(s.Obstacle(), "at least "); least != (s.Left() > 0) {
			t.Errorf("with %d left it says %q", s.Left(), s.Obstacle())
		}
	}
	write(isDone, 25)
	for range 3 {
		if err := s.Look(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	if s.Orders() != orders-1 {
		t.Errorf("%d are owed after one of %d was delivered", s.Orders(), orders)
	}
}

// More orders than are remembered are counted, and nobody lets the Connector go before each
// of them was seen to have moved on: once all that were remembered have, all are looked at
// again.
func TestMoreStepsThanAreRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const orders = 30
	write := func(is orderv1.DeliveryStatus, from, to int) {
		for i := from; i < to; i++ {
			key := fmt.Sprintf("shop_%02d", i)
			w.publish(bus.DispatchSubject("erp", "bulk", key, "a"), &dispatchv1.Delivery{})
			w.state(key, at("erp", "erp", isOpen), at("wms", "ship", is))
		}
	}
	write(isWaiting, 0, orders)
	s := NewSteps(w.bus, "wms")
	s.most = 5
	w.look(s)
	for delivered := 0; ; delivered += 5 {
		if want := fmt.Sprintf("up to %d orders have a step there", orders-delivered); s.Orders() != orders-delivered || len(s.found) != 5 ||
			orders-delivered > 5 && !strings.HasPrefix(s.Obstacle(), want) {
			t.Fatalf("after %d were delivered it remembers %d and says %q", delivered, len(s.found), s.Obstacle())
		}
		if delivered == orders-5 {
			break
		}
		write(isDone, delivered, delivered+5)
		if w.look(s); s.Left() != orders {
			t.Fatalf("all that it remembered have moved on, and it has %d to look at, want all %d", s.Left(), orders)
		}
		w.look(s)
	}
	write(isDone, orders-5, orders)
	if w.look(s); s.Orders() != 0 || s.Left() != 0 || s.Obstacle() != "" {
		t.Errorf("after all were delivered: %d, %d left, %q", s.Orders(), s.Left(), s.Obstacle())
	}
}

// A state that cannot be read may hold anything: its order stands in the way, by its name.
func TestAStateThatCannotBeReadStandsInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(bus.DispatchSubject("erp", "bulk", "shop_1", "a"), &dispatchv1.Delivery{})
	if _, err := w.bus.Publish(t.Context(), bus.Message{Subject: bus.OrderStateSubject("shop_1"), Data: []byte{0xff}}); err != nil {
		t.Fatal(err)
	}
	s := NewSteps(w.bus, "wms")
	if w.look(s); !strings.Contains(s.Obstacle(), "order shop_1, whose state cannot be read") {
		t.Errorf("it says %q", s.Obstacle())
	}
}
