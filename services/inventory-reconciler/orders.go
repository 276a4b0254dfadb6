package inventoryreconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
	"github.com/peppasync/peppasync/services/inventory-reconciler/internal/allocation"
)

const (
	orderStates = "order.state.v1.>"
	// ordersPrefetch hides the round trips of reading every order at a start.
	ordersPrefetch = 256
	// syncPatience is how long one state is waited for until the end of the
	// stream is looked up again: the state may have been replaced meanwhile.
	syncPatience = time.Second
)

// orders is the ledger of commitments, kept up to date from the order streams.
// It is safe for concurrent use.
type orders struct {
	bus     *bus.Bus
	log     *slog.Logger
	sources map[string]bool

	mu     sync.Mutex
	ledger *allocation.Ledger
	// handled is the newest sequence of each shard that the ledger contains;
	// moved is closed and replaced whenever one moves.
	handled []uint64
	moved   chan struct{}
	// unreadable are the subjects of orders whose newest state is no state.
	unreadable map[string]bool
}

func newOrders(config Config, shards int, pools map[string]*v1alpha1.StockPool) *orders {
	o := &orders{
		bus: config.Bus, log: config.Logger, sources: map[string]bool{},
		handled: make([]uint64, shards), moved: make(chan struct{}),
		unreadable: map[string]bool{},
	}
	described := make([]allocation.Pool, 0, len(pools))
	for name, pool := range pools {
		p := allocation.Pool{Name: name, Source: pool.Spec.Source.Connector, SKUs: pool.Spec.SKUs}
		for _, channel := range pool.Spec.Channels {
			p.Channels = append(p.Channels, channel.Connector)
		}
		described = append(described, p)
		o.sources[p.Source] = true
	}
	o.ledger = allocation.New(described)
	return o
}

// follow reads every order of a shard, and then each change.
func (o *orders) follow(ctx context.Context, shard int) error {
	return o.bus.Consume(ctx, bus.ConsumerOptions{
		Stream: bus.OrderStream(shard), Filters: []string{orderStates},
		LastPerSubject: true, Ephemeral: true, Prefetch: ordersPrefetch,
	}, func(ctx context.Context, m *bus.Incoming) {
		state := &orderv1.State{}
		err := proto.Unmarshal(m.Data, state)
		if err != nil {
			// Its units cannot be held back, nor does it tell whose they are: no
			// channel is raised until it can be read. A state is only ever written
			// whole by the logic-gate, so this takes damage or a person.
			o.log.ErrorContext(ctx, "an order's state cannot be read, so no channel's stock is raised: replace it, or purge its subject and start again",
				"stream", m.Stream, "subject", m.Subject, "sequence", m.Sequence, "error", err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if err == nil {
			delete(o.unreadable, m.Subject)
			o.ledger.Observe(observed(state, m.Sequence))
		} else {
			o.unreadable[m.Subject] = true
		}
		o.handled[shard] = m.Sequence
		close(o.moved)
		o.moved = make(chan struct{})
	})
}

// accept takes in the result of a delivery of an order; see Ledger.Accept.
func (o *orders) accept(result *dispatchv1.Result) {
	if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED || result.GetSettledAt() == nil || !o.sources[result.GetConnector()] {
		return
	}
	key, delivery, err := order.SplitDispatchID(result.GetDeliveryId())
	if err != nil {
		return
	}
	a := allocation.Acceptance{Key: key, Delivery: delivery, Revision: result.GetRevision(), SettledAt: result.GetSettledAt().AsTime()}
	if result.GetAttempts() == 1 && result.GetIssuedAt() != nil {
		a.IssuedAt = result.GetIssuedAt().AsTime()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.Accept(a)
}

// sync returns when the ledger contains every state that was in the streams when
// it was called.
func (o *orders) sync(ctx context.Context) error {
	for shard := range o.handled {
		for {
			newest, err := o.bus.Last(ctx, bus.OrderStream(shard), orderStates)
			if errors.Is(err, bus.ErrNotFound) {
				break
			}
			if err != nil {
				return fmt.Errorf("looking up the newest order: %w", err)
			}
			reached, err := o.wait(ctx, shard, newest.Sequence)
			if err != nil {
				return err
			}
			if reached {
				break
			}
		}
	}
	return nil
}

// wait reports whether the ledger reached a sequence within syncPatience.
func (o *orders) wait(ctx context.Context, shard int, sequence uint64) (bool, error) {
	timeout := time.NewTimer(syncPatience)
	defer timeout.Stop()
	for {
		o.mu.Lock()
		reached, moved := o.handled[shard] >= sequence, o.moved
		o.mu.Unlock()
		if reached {
			return true, nil
		}
		select {
		case <-moved:
		case <-timeout.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// observed is what the ledger needs of a state.
func observed(state *orderv1.State, sequence uint64) allocation.Order {
	o := state.GetOrder()
	observed := allocation.Order{
		Key: state.GetKey(), Channel: o.GetSource(), Version: sequence, Revision: state.GetRevision(),
		Wanted: map[string]int64{}, Cancelled: o.GetCancelledAt() != nil, Test: o.GetTest(),
		Fulfilled: o.GetFulfillmentStatus() == "fulfilled" || o.GetFulfillmentStatus() == "restocked",
	}
	for _, line := range o.GetLines() {
		if line.GetSku() != "" && line.GetQuantity() > 0 {
			// Neither the line nor the sum may go beyond what a sum of many holds.
			observed.Wanted[line.GetSku()] += min(line.GetQuantity(), allocation.MaxUnits)
		}
	}
	for _, d := range state.GetDeliveries() {
		delivery := allocation.Delivery{
			ID: d.GetId(), Step: d.GetFlow() + "/" + d.GetStep(), Connector: d.GetConnector(),
			Asked: asked(d), Revision: d.GetRevision(), Status: statusOf(d.GetStatus()), DeliveredRevision: d.GetDeliveredRevision(),
		}
		if d.GetSettledAt() != nil {
			delivery.SettledAt = d.GetSettledAt().AsTime()
		}
		observed.Deliveries = append(observed.Deliveries, delivery)
	}
	return observed
}

// asked returns the revision that first asked for a delivery, which its id ends
// with; the field holds a newer one where edits have joined it.
func asked(d *orderv1.Delivery) int64 {
	id := d.GetId()
	revision, err := strconv.ParseInt(id[strings.LastIndexByte(id, '.')+1:], 10, 64)
	if err != nil {
		return d.GetRevision()
	}
	return revision
}

func statusOf(status orderv1.DeliveryStatus) allocation.Status {
	switch status {
	case orderv1.DeliveryStatus_DELIVERY_STATUS_DELIVERED:
		return allocation.Delivered
	case orderv1.DeliveryStatus_DELIVERY_STATUS_SUPERSEDED, orderv1.DeliveryStatus_DELIVERY_STATUS_SKIPPED:
		return allocation.Closed
	default:
		return allocation.Pending
	}
}

// changes returns what is closed at the next order that moves.
func (o *orders) changes() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.moved
}

// open returns, by SKU, the units of these connectors' open orders.
func (o *orders) open(connectors, skus []string) map[string]int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	units := make(map[string]int64, len(skus))
	for _, sku := range skus {
		for _, connector := range connectors {
			units[sku] += o.ledger.Open(connector, sku)
		}
	}
	return units
}

// moment is what the ledger says at one moment about a pool, by SKU.
type moment struct {
	// committed is what the newest reading may not contain; outstanding and before
	// are what it and the one before do not contain.
	committed, outstanding, before map[string]int64
	// open is Ledger.Open by connector.
	open map[string]map[string]int64
	// blind: the state of some order cannot be read, and its units are in none of
	// these.
	blind bool
}

// now asks the ledger about everything at once, so that no order is in one figure
// and not in the other. before may be nil.
func (o *orders) now(pool string, newest, before *reading, connectors, skus []string) moment {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := moment{
		committed:   o.ledger.Committed(pool, newest.issued),
		outstanding: o.ledger.Outstanding(pool, newest.settled),
		open:        make(map[string]map[string]int64, len(connectors)),
		blind:       len(o.unreadable) > 0,
	}
	if before != nil {
		m.before = o.ledger.Outstanding(pool, before.settled)
	}
	for _, connector := range connectors {
		m.open[connector] = make(map[string]int64, len(skus))
		for _, sku := range skus {
			m.open[connector][sku] = o.ledger.Open(connector, sku)
		}
	}
	return m
}

// unrouted is Ledger.Unrouted.
func (o *orders) unrouted(pool string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ledger.Unrouted(pool)
}

// release is Ledger.Release.
func (o *orders) release(pool string, asOf time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.Release(pool, asOf)
}
