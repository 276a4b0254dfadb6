// Package backlog counts what NATS holds for each Connector and has not been delivered:
// in its lanes, put off until later, and on hold.
package backlog

import (
	"context"
	"fmt"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/operator/internal/status"
)

// subjectsPerSecond is how many subjects may be counted for each second between two
// counts, so that a backlog of a million is counted once in a minute and not each second.
const subjectsPerSecond = 20_000

// connectorPart is where subjects of deliveries name the Connector: dispatch.v1.<connector>.
const connectorPart = 3

// Counter counts again and again, and only what has changed. One goroutine uses it.
type Counter struct {
	bus      *bus.Bus
	dispatch tally
	waiting  tally
	holds    *holds
}

// NewCounter returns a counter over a bus.
func NewCounter(b *bus.Bus) *Counter {
	return &Counter{
		bus:      b,
		dispatch: tally{stream: bus.StreamDispatch, filter: "dispatch.v1.>"},
		waiting:  tally{stream: bus.StreamWaiting, filter: "waiting.v1.>"},
		holds:    newHolds(b, bus.HoldFilter),
	}
}

// Count returns what there is for each Connector that has anything.
func (c *Counter) Count(ctx context.Context, now time.Time) (map[string]status.Counts, error) {
	if err := c.dispatch.count(ctx, c.bus, now); err != nil {
		return nil, err
	}
	if err := c.waiting.count(ctx, c.bus, now); err != nil {
		return nil, err
	}
	held, err := c.holds.count(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]status.Counts{}
	for name, n := range c.dispatch.by {
		entry := counts[name]
		entry.Queued = n
		counts[name] = entry
	}
	for name, n := range c.waiting.by {
		entry := counts[name]
		entry.Deferred = n
		counts[name] = entry
	}
	for name, n := range held {
		entry := counts[name]
		entry.Held = n
		counts[name] = entry
	}
	return counts, nil
}

// Refusals returns what the external systems refuse for good as sources, by Connector, as of
// the last Count.
func (c *Counter) Refusals() map[string][]status.Refusal {
	by := map[string][]status.Refusal{}
	for subject, refusal := range c.holds.refusals {
		name := bus.SubjectPart(subject, connectorPart)
		by[name] = append(by[name], refusal)
	}
	return by
}

// tally is the number of records of a stream by Connector.
type tally struct {
	stream, filter string
	records        uint64
	at             time.Time
	by             map[string]int64
}

func (t *tally) count(ctx context.Context, b *bus.Bus, now time.Time) error {
	bounded := time.Duration(t.records) * time.Second / subjectsPerSecond //nolint:gosec // no stream holds that many
	if t.by != nil && now.Sub(t.at) < bounded {
		return nil
	}
	by, records, err := tallied(ctx, b, t.stream, t.filter)
	if err != nil {
		return err
	}
	t.by, t.records, t.at = by, records, now
	return nil
}

func tallied(ctx context.Context, b *bus.Bus, stream, filter string) (map[string]int64, uint64, error) {
	by := map[string]int64{}
	var records uint64
	err := b.EachSubject(ctx, stream, filter, func(subject string, n uint64) {
		by[bus.SubjectPart(subject, connectorPart)] += int64(n) //nolint:gosec // no stream holds that many
		records += n
	})
	return by, records, err
}

// Of returns what there is for one Connector as of the call: for who decides by it.
func Of(ctx context.Context, b *bus.Bus, connector string) (status.Counts, error) {
	var counts status.Counts
	queued, _, err := tallied(ctx, b, bus.StreamDispatch, bus.DispatchConnectorFilter(connector))
	if err != nil {
		return counts, err
	}
	deferred, _, err := tallied(ctx, b, bus.StreamWaiting, bus.WaitingFilter(connector))
	if err != nil {
		return counts, err
	}
	held, err := newHolds(b, bus.HoldConnectorFilter(connector)).count(ctx)
	if err != nil {
		return counts, err
	}
	counts.Queued, counts.Deferred, counts.Held = queued[connector], deferred[connector], held[connector]
	return counts, nil
}

// Obstacles returns why a Connector cannot go, as sentences; none where it can. names are
// what speaks of it, as Kind/name.
func Obstacles(connector string, counts status.Counts, names []string) []string {
	var obstacles []string
	if n := counts.Queued + counts.Deferred; n > 0 {
		obstacles = append(obstacles, fmt.Sprintf("%s to be delivered there: let that happen first (kubectl get connector %s shows when)",
			counted(n, "order waits", "orders wait"), connector))
	}
	if n := counts.Held; n > 0 {
		obstacles = append(obstacles, counted(n, "order is", "orders are")+` on hold there: see "peppasync holds", and let go by "peppasync release"`)
	}
	for _, name := range names {
		obstacles = append(obstacles, name+" speaks of it: change or delete that first, or what it takes in would lead nowhere")
	}
	return obstacles
}

func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
