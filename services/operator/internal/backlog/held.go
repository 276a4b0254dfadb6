package backlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
	"github.com/peppasync/peppasync/services/operator/internal/status"
)

const (
	// statesAtOnce is how many orders are looked up side by side.
	statesAtOnce = 16
	// looksAtOnce bounds how many of those on hold are looked at again in one count; the
	// others have their turn in the next.
	looksAtOnce = 500
)

// holds follows the Error Hold: what is there, less what was settled since, which only the
// order's state tells.
type holds struct {
	bus    *bus.Bus
	filter string
	read   uint64
	open   map[string]*dispatchv1.Hold
	// refusals are what sources refuse for good, by the subject of their hold.
	refusals map[string]status.Refusal
	// looks bounds how many are looked at again in one turn; looked is the last of them.
	looks  int
	looked string
	// complete says that each was looked at once. Before that, what was settled weeks ago
	// would be counted as if it were on hold, and no Connector could be deleted that ever
	// had more than one turn of them.
	complete bool
}

func newHolds(b *bus.Bus, filter string) *holds {
	return &holds{bus: b, filter: filter, looks: looksAtOnce, open: map[string]*dispatchv1.Hold{}, refusals: map[string]status.Refusal{}}
}

func (h *holds) count(ctx context.Context) (map[string]int64, error) {
	if err := h.news(ctx); err != nil {
		return nil, err
	}
	turns := 1
	if !h.complete {
		turns = len(h.open)/h.looks + 1
	}
	for range turns {
		if err := h.settle(ctx); err != nil {
			return nil, err
		}
	}
	h.complete = true
	by := map[string]int64{}
	for _, hold := range h.open {
		by[hold.GetDelivery().GetConnector()]++
	}
	return by, nil
}

// news reads what was put on hold since the last count.
func (h *holds) news(ctx context.Context) error {
	extent, err := h.bus.Extent(ctx, bus.StreamErrorHold)
	if err != nil {
		return err
	}
	if extent.Last <= h.read {
		return nil
	}
	for record, err := range h.bus.Read(ctx, bus.StreamErrorHold, h.filter, h.read+1) {
		if err != nil {
			return fmt.Errorf("read the Error Hold: %w", err)
		}
		hold := &dispatchv1.Hold{}
		// One that cannot be read waits for a person too, but for nobody knows which Connector.
		if err := proto.Unmarshal(record.Data, hold); err != nil {
			continue
		}
		h.read = max(h.read, record.Sequence)
		if connectors.IsRefusal(hold) {
			h.refused(record.Subject, hold)
			continue
		}
		// Calls that no order asked for are asked for anew by their roles.
		if hold.GetDelivery().GetRequester() != logicgate.Role {
			continue
		}
		h.open[record.Subject] = hold
	}
	h.read = max(h.read, extent.Last)
	return nil
}

// refused takes in the newest record of a refusal. Its subject says whose it is, of which
// there is one for each operation: ingest, which strangers reach, writes the rest.
func (h *holds) refused(subject string, hold *dispatchv1.Hold) {
	d := hold.GetDelivery()
	if subject != bus.HoldSubject(bus.SubjectPart(subject, connectorPart), d.GetKey(), d.GetId()) {
		return
	}
	if hold.GetRelease() != nil {
		delete(h.refusals, subject)
		return
	}
	h.refusals[subject] = status.Refusal{
		Operation: d.GetOperation(), Since: hold.GetHeldAt().AsTime(), Cause: hold.GetCause().GetCode(), Detail: hold.GetCause().GetDetail(),
		Advice: hold.GetAdvice(), Orders: connectors.UnreadOrders(hold),
	}
}

// settle forgets what was settled since, of a part of those that are open.
func (h *holds) settle(ctx context.Context) error {
	if len(h.open) == 0 {
		return nil
	}
	shards, err := h.bus.Shards(ctx, bus.PrefixOrder)
	if err != nil {
		return err
	}
	turn := h.turn()
	settled := make([]bool, len(turn))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(statesAtOnce)
	for i, subject := range turn {
		group.Go(func() error {
			state, err := h.state(ctx, shards, h.open[subject])
			settled[i] = err == nil && order.HoldSettled(h.open[subject], state)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, subject := range turn {
		if settled[i] {
			delete(h.open, subject)
		}
	}
	return nil
}

// turn returns the subjects whose turn it is.
func (h *holds) turn() []string {
	turn := turnOf(h.open, h.looked, h.looks)
	h.looked = turn[len(turn)-1]
	return turn
}

// turnOf returns the next of those that are looked at again and again, behind the last one
// that was and from the first again after the last.
func turnOf[V any](open map[string]V, after string, most int) []string {
	all := slices.Sorted(maps.Keys(open))
	first, found := slices.BinarySearch(all, after)
	if found {
		first++
	}
	all = append(all[first:], all[:first]...)
	return all[:min(len(all), most)]
}

// state reads an order's state; an empty one where there is none, or none that can be read.
func (h *holds) state(ctx context.Context, shards int, hold *dispatchv1.Hold) (*orderv1.State, error) {
	state := &orderv1.State{}
	if order.HoldsEvent(hold) {
		return state, nil
	}
	key := hold.GetDelivery().GetKey()
	record, err := h.bus.Last(ctx, bus.OrderStream(bus.OrderShard(key, shards)), bus.OrderStateSubject(key))
	if errors.Is(err, bus.ErrNotFound) {
		return state, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read order %s: %w", key, err)
	}
	if err := proto.Unmarshal(record.Data, state); err != nil {
		return &orderv1.State{}, nil //nolint:nilerr // what cannot be read is not settled
	}
	return state, nil
}
