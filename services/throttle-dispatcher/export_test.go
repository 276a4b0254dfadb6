package throttledispatcher

import (
	"context"
	"log/slog"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

// Records is what a worker reads and writes beside its intake.
type Records = records

// Through puts something between the dispatcher and its records.
func Through(wrap func(Records) Records) func(*Dispatcher) {
	return func(d *Dispatcher) { d.records = wrap(d.records) }
}

// Abrupt makes a stop cut off calls soon.
func Abrupt(d *Dispatcher) { d.grace = 300 * time.Millisecond }

// AskOften makes deliveries that wait for the catalog look at their orders often.
func AskOften(d *Dispatcher) { d.askAfter = 50 * time.Millisecond }

// Maintained gives every connector these windows; cron knows only whole minutes.
func Maintained(calendar maintenance.Calendar) func(*Dispatcher) {
	return func(d *Dispatcher) {
		d.calendar = func(*v1alpha1.Connector) (maintenance.Calendar, error) { return calendar, nil }
	}
}

// CarryOften writes open claims into the ledger again when they are as old as that.
func CarryOften(age time.Duration) func(*Dispatcher) {
	return func(d *Dispatcher) { d.carryAge = age }
}

// Apart lets the dispatcher meet others on another bus than it works on: where
// nobody else is there, it takes itself for the owner of everything.
func Apart(leases *bus.Bus) func(*Dispatcher) {
	return func(d *Dispatcher) { d.leases = leases }
}

// ShortWait changes the longest wait that a delivery spends in its lane.
func ShortWait(d time.Duration) func(*Dispatcher) {
	return func(dispatcher *Dispatcher) { dispatcher.shortWait = d }
}

// LookOften makes a dispatcher look often for what others put into WAITING.
func LookOften(d *Dispatcher) { d.lookAfter = 50 * time.Millisecond }

// Calling changes what systems there are.
func Calling(systems map[string]connectors.System) func(*Dispatcher) {
	return func(d *Dispatcher) { d.config.Systems = systems }
}

// PlacesPerLane is how many deliveries a lane of a connector holds beside so many
// connectors.
func PlacesPerLane(connectors int, connector *v1alpha1.Connector) (int, error) {
	limits, err := limitsOf(connector)
	return placesPerLane(connectors, limits), err
}

// Together publishes together what comes at the same time.
type Together = together

// NewTogether returns one that writes to records.
func NewTogether(records Records, log *slog.Logger) *Together {
	return &together{records: records, log: log}
}

// Publish is publish.
func (t *Together) Publish(ctx context.Context, m bus.Message) error { return t.publish(ctx, m) }

// Wait returns when nothing is being published.
func (t *Together) Wait() { t.wait() }

// Waiting is how many messages wait for what is being published.
func (t *Together) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}

// OnBus are the records on the bus itself.
func OnBus(b *bus.Bus) Records { return busRecords{b} }

// Holds reports whether the dispatcher has a delivery in line.
func (d *Dispatcher) Holds(ctx context.Context, connector, id string) bool {
	here, _, err := d.board.slot(connector).hold(ctx, connector, id)
	return err == nil && here != nil
}

// MayAsk reports whether a delivery may be on a subject.
func MayAsk(subject string, d *dispatchv1.Delivery) bool { return refusal(subject, d) == "" }

// ReadDelivery is readDelivery.
var ReadDelivery = readDelivery
