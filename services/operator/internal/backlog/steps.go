package backlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	orderv1 "github.com/peppasync/peppasync/proto/peppasync/order/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/order"
	logicgate "github.com/peppasync/peppasync/services/logic-gate"
)

// Where subjects name an order's key: dispatch.v1.<connector>.<lane>.<key>,
// waiting.v1.<connector>.<key>, hold.v1.<connector>.<key>; and a result its requester and
// its delivery: result.v1.<requester>.<delivery>.
const (
	dispatchKeyPart    = 5
	waitingKeyPart     = 4
	holdKeyPart        = 4
	resultRequester    = 3
	resultDeliveryPart = 4
)

// mostResults bounds how many results are read that logic-gate has not applied yet: it
// applies thousands in a second.
const mostResults = 20_000

// mostFound bounds how many of the orders that have such a step are remembered and looked
// at again; the others are only counted. A million of them, each with what it waits for,
// would be as much memory as the operator has. Once all that are remembered have moved on,
// it is looked at all orders anew, which is 2,000 in a second.
const mostFound = 10_000

// Steps finds the orders that have something to deliver at one Connector only after another
// step. That is in the order's state alone. But a step waits only for a call of its order
// that is open or on hold, so not a million states have to be read to find them: only those
// of the orders that have a call somewhere, each once. No order can come to such a step
// later, as long as no Flow names the Connector, and nothing is queued or on hold there: who
// lets a Connector go by what Steps found begins anew where that was not so.
//
// One goroutine uses it.
type Steps struct {
	bus       *bus.Bus
	results   results
	connector string
	shards    int
	begun     bool
	// left are the keys of orders that were not looked at; found those of the orders that
	// have such a step, with what each waits for, and looked is the last of them that was
	// looked at again. Where there are more than most, more is how many were found beside.
	left   keys
	found  map[string]string
	looked string
	most   int
	more   int
}

// results tells how long RESULT is, and how far who reads it is in it.
type results interface {
	Extent(ctx context.Context, stream string) (bus.Extent, error)
	Backlog(ctx context.Context, stream, durable string) (bus.Backlog, error)
}

// NewSteps returns Steps that have looked at nothing.
func NewSteps(b *bus.Bus, connector string) *Steps {
	return &Steps{bus: b, results: b, connector: connector, found: map[string]string{}, most: mostFound}
}

// Look looks at most orders that were not looked at yet; once there are none left, again at
// those that it found.
func (s *Steps) Look(ctx context.Context, most int) error {
	if !s.begun {
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	if s.left.count > 0 {
		turn, left := s.left.first(most)
		if err := s.look(ctx, turn); err != nil {
			return err
		}
		s.left = left
		return nil
	}
	turn := turnOf(s.found, s.looked, most)
	if len(turn) > 0 {
		s.looked = turn[len(turn)-1]
	}
	if err := s.look(ctx, turn); err != nil || len(s.found) > 0 || s.more == 0 {
		return err
	}
	// Which the others are is not known any more.
	return s.begin(ctx)
}

// Left is how many orders were not looked at yet, of those that may have such a step.
func (s *Steps) Left() int { return s.left.count }

// Orders is how many orders were found, and are not known to have moved on.
func (s *Steps) Orders() int { return len(s.found) + s.more }

// Obstacle is why the Connector cannot go for the orders that were found, as a sentence;
// empty where there are none.
func (s *Steps) Obstacle() string {
	if len(s.found) == 0 {
		return ""
	}
	least := ""
	switch {
	case s.left.count > 0:
		least = "at least "
	case s.more > 0:
		least = "up to " // those that are only counted may have moved on
	}
	first := s.found[slices.Min(slices.Collect(maps.Keys(s.found)))]
	return fmt.Sprintf("%s%s another step, such as %s: let that be delivered first, or let it go by \"peppasync release\" where it is on hold",
		least, counted(int64(s.Orders()), "order has a step there that waits for", "orders have a step there that waits for"), first)
}

// begin collects the orders that have a call somewhere. What moves meanwhile is not missed:
// a call that has ended since left its result in RESULT, which is read from where logic-gate
// was before, and one that was put off since is found by the second look at WAITING.
func (s *Steps) begin(ctx context.Context) error {
	var err error
	if s.shards, err = s.bus.Shards(ctx, bus.PrefixOrder); err != nil {
		return err
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return err
	}
	var found keys
	for _, from := range []struct {
		stream, filter string
		part           int
	}{
		{bus.StreamWaiting, "waiting.v1.>", waitingKeyPart},
		{bus.StreamDispatch, "dispatch.v1.>", dispatchKeyPart},
		{bus.StreamWaiting, "waiting.v1.>", waitingKeyPart},
		{bus.StreamErrorHold, bus.HoldFilter, holdKeyPart},
	} {
		err := s.bus.EachSubject(ctx, from.stream, from.filter, func(subject string, _ uint64) { found.add(bus.SubjectPart(subject, from.part)) })
		if err != nil {
			return err
		}
	}
	if err := s.unapplied(ctx, applied, &found); err != nil {
		return err
	}
	s.left, s.more, s.begun = found.distinct(), 0, true
	return nil
}

// applied returns the sequence up to which logic-gate has applied every result.
func (s *Steps) applied(ctx context.Context) (uint64, error) {
	// Before logic-gate is asked: a result that is stored between the two questions would
	// count as applied otherwise, and its call has left DISPATCH.
	extent, err := s.results.Extent(ctx, bus.StreamResult)
	if err != nil {
		return 0, err
	}
	backlog, err := s.results.Backlog(ctx, bus.StreamResult, bus.Consumer(logicgate.Role))
	switch {
	case errors.Is(err, bus.ErrNotFound):
		return 0, nil // it has never run
	case err != nil:
		return 0, err
	case backlog.Pending == 0 && backlog.Delivered == backlog.Acknowledged:
		// All of its own; what is behind them is of others, however long it is.
		return max(extent.Last, backlog.Acknowledged), nil
	}
	return backlog.Acknowledged, nil
}

// unapplied adds the orders of the results after a sequence: their call has left DISPATCH,
// and what waits for it had not come there.
func (s *Steps) unapplied(ctx context.Context, applied uint64, found *keys) error {
	extent, err := s.bus.Extent(ctx, bus.StreamResult)
	if err != nil {
		return err
	}
	first := max(applied+1, extent.First)
	if extent.Last < first {
		return nil
	}
	n := extent.Last + 1 - first
	if n > mostResults {
		return fmt.Errorf("logic-gate has up to %d results to apply, and which orders they are of is not looked at before: see that it runs", n)
	}
	var mu sync.Mutex
	return s.each(ctx, int(n), func(ctx context.Context, i int) error {
		record, err := s.bus.At(ctx, bus.StreamResult, first+uint64(i)) //nolint:gosec // an index
		if errors.Is(err, bus.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if bus.SubjectPart(record.Subject, resultRequester) != logicgate.Role {
			return nil
		}
		// The id of a call that reads an order is none of a step's, and none waits for it.
		if key, _, err := order.SplitDispatchID(bus.SubjectPart(record.Subject, resultDeliveryPart)); err == nil {
			mu.Lock()
			defer mu.Unlock()
			found.add(key)
		}
		return nil
	})
}

func (s *Steps) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(statesAtOnce)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

func (s *Steps) look(ctx context.Context, keys []string) error {
	owed := make([]string, len(keys))
	err := s.each(ctx, len(keys), func(ctx context.Context, i int) error {
		record, err := s.bus.Last(ctx, bus.OrderStream(bus.OrderShard(keys[i], s.shards)), bus.OrderStateSubject(keys[i]))
		if errors.Is(err, bus.ErrNotFound) {
			return nil // it is the key of another role's calls
		}
		if err != nil {
			return fmt.Errorf("read order %s: %w", keys[i], err)
		}
		state := &orderv1.State{}
		if err := proto.Unmarshal(record.Data, state); err != nil {
			owed[i] = fmt.Sprintf("order %s, whose state cannot be read", keys[i])
			return nil //nolint:nilerr // nobody knows what it is owed
		}
		owed[i] = owedAt(state, s.connector)
		return nil
	})
	if err != nil {
		return err
	}
	for i, key := range keys {
		s.note(key, owed[i])
	}
	return nil
}

// note remembers what an order is owed, or that it is owed nothing.
func (s *Steps) note(key, owed string) {
	_, known := s.found[key]
	switch {
	case owed == "":
		delete(s.found, key)
	case known || len(s.found) < s.most:
		s.found[key] = owed
	default:
		s.more++
	}
}

// owedAt says what an order has to deliver at a connector, and what that waits for; it is
// empty where there is nothing. What is open there counts too: what waited when the lanes
// were counted may have been set free since.
func owedAt(state *orderv1.State, connector string) string {
	name := state.GetOrder().GetName()
	if name == "" {
		name = state.GetKey()
	}
	for _, d := range state.GetDeliveries() {
		if d.GetConnector() != connector {
			continue
		}
		switch d.GetStatus() {
		case orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN:
			return fmt.Sprintf("%s, whose %s goes now", name, d.GetStep())
		case orderv1.DeliveryStatus_DELIVERY_STATUS_WAITING:
			return fmt.Sprintf("%s, whose %s waits%s", name, d.GetStep(), blockers(state))
		default:
		}
	}
	return ""
}

// blockers says what the waiting steps of an order wait for in the end.
func blockers(state *orderv1.State) string {
	var all []string
	for _, d := range state.GetDeliveries() {
		switch d.GetStatus() {
		case orderv1.DeliveryStatus_DELIVERY_STATUS_OPEN:
			all = append(all, fmt.Sprintf("%s at %s", d.GetStep(), d.GetConnector()))
		case orderv1.DeliveryStatus_DELIVERY_STATUS_HELD:
			all = append(all, fmt.Sprintf("%s at %s, which is on hold", d.GetStep(), d.GetConnector()))
		default:
		}
	}
	if len(all) == 0 {
		return ""
	}
	return " for " + strings.Join(all, " and ")
}
