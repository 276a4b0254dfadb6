package inventoryreconciler

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

const (
	// orderRequester is who reads the results of orders' deliveries; they are
	// read here too, to learn of acceptances early.
	orderRequester  = "logic-gate"
	resultsPrefetch = 256
	// lookEvery is how often a result that does not come is looked for.
	lookEvery = 3 * time.Second
)

// question is a call that somebody is to make.
type question struct {
	connector, lane, key, operation string
	arguments                       *structpb.Struct
	// expires is when the answer is of no more use.
	expires time.Time
}

// records is where deliveries are written, and results looked for: a Bus.
type records interface {
	Last(ctx context.Context, stream, subject string) (bus.Record, error)
	Publish(ctx context.Context, m bus.Message) (bus.Ack, error)
}

// asker publishes deliveries and hands out their results. It is safe for
// concurrent use.
type asker struct {
	bus     *bus.Bus
	records records
	log     *slog.Logger

	mu      sync.Mutex
	waiting map[string]chan *dispatchv1.Result
}

func newAsker(config Config) *asker {
	return &asker{bus: config.Bus, records: config.Bus, log: config.Logger, waiting: map[string]chan *dispatchv1.Result{}}
}

// listen reads results until ctx is done: those for this role for whoever waits,
// and those of orders for accept. One consumer reads both, in the order in which
// they were published, so that an acceptance which was published before the
// answer to a read is known when that read is looked at.
func (a *asker) listen(ctx context.Context, accept func(*dispatchv1.Result)) error {
	return a.bus.Consume(ctx, bus.ConsumerOptions{
		Stream: bus.StreamResult, Durable: bus.Consumer(Role), Prefetch: resultsPrefetch,
		Filters: []string{bus.ResultFilter(Role), bus.ResultFilter(orderRequester)},
	}, func(ctx context.Context, m *bus.Incoming) {
		result := &dispatchv1.Result{}
		switch err := proto.Unmarshal(m.Data, result); {
		case err != nil:
			a.log.ErrorContext(ctx, "a result cannot be read; it is left out", "subject", m.Subject, "sequence", m.Sequence, "error", err)
		case result.GetRequester() == Role:
			a.hand(result)
		default:
			accept(result)
		}
		if err := m.AckAsync(); err != nil {
			a.log.DebugContext(ctx, "a result could not be acknowledged; it comes again, which does no harm", "subject", m.Subject, "error", err)
		}
	})
}

func (a *asker) hand(result *dispatchv1.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if waiting, ok := a.waiting[result.GetDeliveryId()]; ok {
		delete(a.waiting, result.GetDeliveryId())
		waiting <- result
	}
}

// ask has a call made and returns what became of it. There is no way to take a
// delivery back, so it waits for the result however long it takes, and whoever
// asks one thing at a time has at most one delivery outstanding, outage or not.
// An error only when ctx is done or the delivery cannot be written.
func (a *asker) ask(ctx context.Context, q question) (*dispatchv1.Result, error) {
	d := &dispatchv1.Delivery{
		Id: rand.Text(), Connector: q.connector, Lane: q.lane, Key: q.key, Operation: q.operation, Requester: Role,
		CreatedAt: timestamppb.Now(), ExpiresAt: timestamppb.New(q.expires),
		Content: &dispatchv1.Delivery_Arguments{Arguments: q.arguments},
	}
	data, err := proto.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode %s for %s: %w", q.operation, q.connector, err)
	}
	answer := make(chan *dispatchv1.Result, 1)
	a.mu.Lock()
	a.waiting[d.GetId()] = answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, d.GetId())
		a.mu.Unlock()
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for published := false; ; {
		if !published {
			published, err = a.publish(ctx, d, data)
			if err != nil {
				return nil, err
			}
		}
		select {
		case result := <-answer:
			return result, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-look.C:
			result, err := a.look(ctx, d.GetId())
			if result != nil || err != nil {
				return result, err
			}
			// Long past its time a delivery that is not there any more would be
			// waited for in vain; while it is there this changes nothing.
			published = published && time.Now().Before(q.expires.Add(lookEvery))
		}
	}
}

// publish reports whether the delivery is in DISPATCH. That it is there already
// is as good.
func (a *asker) publish(ctx context.Context, d *dispatchv1.Delivery, data []byte) (bool, error) {
	m := bus.Message{
		Subject: bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId()),
		Data:    data, ExpectLast: bus.Sequence(0), ExpectStream: bus.StreamDispatch,
	}
	_, err := a.records.Publish(ctx, m)
	if bus.IsConflict(err) {
		_, err = bus.Instead(ctx, a.records, bus.StreamDispatch, m, err)
	}
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case bus.IsUnavailable(err) || bus.IsFull(err):
		a.log.DebugContext(ctx, "a delivery could not be written; it is tried again", "delivery", d.GetId(), "error", err)
		return false, nil
	}
	return false, fmt.Errorf("ask %s of %s: %w", d.GetOperation(), d.GetConnector(), err)
}

// look reads a result from the stream, nil where it is not there: this process
// may have missed it, or another one of this role may have been handed it.
func (a *asker) look(ctx context.Context, id string) (*dispatchv1.Result, error) {
	record, err := a.records.Last(ctx, bus.StreamResult, bus.ResultSubject(Role, id))
	if err != nil {
		if !errors.Is(err, bus.ErrNotFound) {
			a.log.DebugContext(ctx, "a result could not be looked for; it is tried again", "delivery", id, "error", err)
		}
		return nil, nil //nolint:nilnil // no result yet is no error
	}
	result := &dispatchv1.Result{}
	if err := proto.Unmarshal(record.Data, result); err != nil {
		return nil, fmt.Errorf("result of %s: %w", id, err)
	}
	return result, nil
}
