package inventoryreconciler

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/stock"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// dispatch plays the throttle-dispatcher until ctx is done: each connector's
// deliveries one after the other, each with one result.
func (w *world) dispatch(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	queues, seen := map[string]chan *bus.Incoming{}, map[string]bool{}
	// A message that got lost with a connection comes again at once.
	options := bus.ConsumerOptions{Stream: bus.StreamDispatch, Durable: "dispatcher", Reset: true}
	err := w.bus.Consume(ctx, options, func(_ context.Context, m *bus.Incoming) {
		d := &dispatchv1.Delivery{}
		if err := proto.Unmarshal(m.Data, d); err != nil {
			w.t.Errorf("%s: %v", m.Subject, err)
			return
		}
		if seen[d.GetId()] {
			return
		}
		seen[d.GetId()] = true
		queue := queues[d.GetConnector()]
		if queue == nil {
			queue = make(chan *bus.Incoming, 1000)
			queues[d.GetConnector()] = queue
			workers.Go(func() {
				for {
					select {
					case m := <-queue:
						w.work(ctx, m)
					case <-ctx.Done():
						return
					}
				}
			})
		}
		w.change(func() {
			a := w.accounts[d.GetConnector()]
			a.asked++
			a.outstanding++
			a.most = max(a.most, a.outstanding)
		})
		queue <- m
	})
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) work(ctx context.Context, m *bus.Incoming) {
	d := &dispatchv1.Delivery{}
	_ = proto.Unmarshal(m.Data, d) // it was read once already
	a := w.accounts[d.GetConnector()]
	if !w.waitFor(ctx, func() bool { return !a.away }) {
		return
	}
	subject := bus.ResultSubject(d.GetRequester(), d.GetId())
	if _, err := w.bus.Last(ctx, bus.StreamResult, subject); !errors.Is(err, bus.ErrNotFound) {
		if ctx.Err() != nil {
			return
		}
		w.t.Errorf("delivery %s came again, or its result cannot be looked for: %v", d.GetId(), err)
		return
	}
	result := w.make(ctx, a, d)
	if result == nil {
		return
	}
	result.DeliveryId, result.Connector, result.Key = d.GetId(), d.GetConnector(), d.GetKey()
	result.Operation, result.Requester = d.GetOperation(), d.GetRequester()
	w.change(func() { a.outstanding-- })
	w.publish(subject, result, bus.Sequence(0))
	if err := m.Ack(ctx); err != nil && ctx.Err() == nil {
		w.t.Errorf("acknowledge %s: %v", d.GetId(), err)
	}
}

// make makes the call, and returns nil where ctx is done.
func (w *world) make(ctx context.Context, a *account, d *dispatchv1.Delivery) *dispatchv1.Result {
	if !time.Now().Before(d.GetExpiresAt().AsTime()) {
		return &dispatchv1.Result{Outcome: dispatchv1.Outcome_OUTCOME_EXPIRED}
	}
	// From here on it is claimed, and cannot expire any more.
	if !w.waitFor(ctx, func() bool { return !a.down }) {
		return nil
	}
	w.mu.Lock()
	called := a.called
	w.mu.Unlock()
	issued := time.Now()
	var result *dispatchv1.Result
	if called != nil {
		result = called(d)
	}
	if result == nil {
		result = w.call(a, d)
	}
	result.IssuedAt, result.SettledAt, result.Attempts = timestamppb.New(issued), timestamppb.Now(), 1
	return result
}

func (w *world) waitFor(ctx context.Context, holds func() bool) bool {
	for {
		w.mu.Lock()
		done, changed := holds(), w.changed
		w.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// call is the moment at which a call takes effect.
func (w *world) call(a *account, d *dispatchv1.Delivery) (result *dispatchv1.Result) {
	result = &dispatchv1.Result{Outcome: dispatchv1.Outcome_OUTCOME_DELIVERED}
	w.change(func() {
		switch d.GetOperation() {
		case connectors.OperationReadStock:
			read, err := stock.ParseRead(d.GetArguments())
			if err != nil {
				w.t.Error(err)
				return
			}
			a.reads++
			result.Value = w.read(d.GetConnector(), read)
		case connectors.OperationSetStock:
			set, err := stock.ParseSet(d.GetArguments())
			if err != nil {
				w.t.Error(err)
				return
			}
			if !w.set(d.GetConnector(), set) {
				a.conflicts++
				result.Outcome = dispatchv1.Outcome_OUTCOME_CONFLICT
				return
			}
			a.sets++
		default:
			w.t.Errorf("asked for %s", d.GetOperation())
		}
	})
	return result
}

// read needs the lock.
func (w *world) read(connector string, read stock.Read) *structpb.Struct {
	var figures []stock.Figure
	s := w.shops[connector]
	for _, sku := range read.SKUs {
		if s == nil {
			if available, known := w.erp[sku]; known {
				figures = append(figures, stock.Figure{SKU: sku, Available: available})
			}
		} else if available, known := s.available[sku]; known {
			figure := stock.Figure{SKU: sku, Available: available, Item: "item-" + sku}
			if committed := s.committed[sku]; s.counts {
				figure.Committed = &committed
			}
			figures = append(figures, figure)
		}
	}
	return stock.Value(figures)
}

// set needs the lock; it changes all or nothing.
func (w *world) set(connector string, set stock.Set) bool {
	s := w.shops[connector]
	for _, item := range set.Items {
		if item.Item != "item-"+item.SKU || item.Quantity == item.ChangeFrom || set.Reference != "peppasync://stock-pools/main" {
			w.t.Errorf("a set that says nothing: %+v", set)
		}
		if s.available[item.SKU] != item.ChangeFrom {
			return false
		}
	}
	for _, item := range set.Items {
		if free := w.free(item.SKU); w.judged && item.Quantity == 0 && free > 0 {
			w.t.Errorf("%s is set from %d to 0 of %s, though %d are free", connector, item.ChangeFrom, item.SKU, free)
		}
		s.available[item.SKU] = item.Quantity
		if item.SKU == mug {
			s.history = append(s.history, item.Quantity)
		}
	}
	return true
}
