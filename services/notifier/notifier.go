// Package notifier is the role that tells people what needs them. It reads the
// Error Hold and publishes one text for each hold and recipient to DISPATCH, as
// the notification policies of the catalog say. It publishes, then acknowledges,
// and a text is named after its hold, so that a crash anywhere is healed by
// reading the same hold again and nobody is told twice.
package notifier

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/internal/telemetry"
)

// Role is the name of this role, as requesters, consumers and logs spell it.
const Role = "notifier"

const (
	// defaultAckWait bounds what a crash costs in time.
	defaultAckWait = 5 * time.Second
	// defaultTellWithin is how old a hold may be for a text. It has to be less
	// than the week for which RESULT remembers that a text was sent: older holds
	// come again when the consumer is lost, and nobody could say any more whether
	// they were told.
	defaultTellWithin = 6 * 24 * time.Hour
)

// Config is what a notifier needs. All fields are required.
type Config struct {
	Bus       *bus.Bus
	Catalog   *catalog.Store
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
}

// records is what the notifier reads and writes: *bus.Bus.
type records interface {
	Last(ctx context.Context, stream, subject string) (bus.Record, error)
	Publish(ctx context.Context, m bus.Message) (bus.Ack, error)
}

// Notifier is the role. Any number of them may run on one bus.
type Notifier struct {
	bus        *bus.Bus
	records    records
	catalog    *catalog.Store
	log        *slog.Logger
	tracer     trace.Tracer
	durable    string
	ackWait    time.Duration
	tellWithin time.Duration
	// late: that some holds are too old to be told was said.
	late atomic.Bool
}

// New returns a notifier that does nothing until Run.
func New(config Config) (*Notifier, error) {
	if config.Bus == nil || config.Catalog == nil || config.Logger == nil || config.Telemetry == nil {
		return nil, errors.New("notifier: Bus, Catalog, Logger and Telemetry are required")
	}
	return &Notifier{
		bus: config.Bus, records: config.Bus, catalog: config.Catalog, log: config.Logger,
		tracer: config.Telemetry.Tracer(Role), durable: bus.Consumer(Role), ackWait: defaultAckWait, tellWithin: defaultTellWithin,
	}, nil
}

// Run tells of holds until ctx is done and then returns nil; what is not told by
// then is not acknowledged and comes again. A bus that is away is waited for.
func (n *Notifier) Run(ctx context.Context) error {
	return run.Supervise(ctx, n.log, "reader of "+bus.StreamErrorHold, func(ctx context.Context) error {
		// The whole stream: there is nothing but holds in it.
		return n.bus.Consume(ctx, bus.ConsumerOptions{
			Stream: bus.StreamErrorHold, Durable: n.durable, AckWait: n.ackWait,
		}, n.take)
	})
}

// take tells of one hold and acknowledges it. It goes on until that is done or
// ctx is: the holds behind it would meet the same trouble.
func (n *Notifier) take(ctx context.Context, m *bus.Incoming) {
	trying, stop := context.WithCancel(ctx)
	defer stop()
	told := false
	_ = run.Supervise(trying, n.log, "texts for "+m.Subject, func(ctx context.Context) error {
		err := n.hold(ctx, m)
		if err == nil {
			told = true
			stop()
		}
		return err
	})
	if !told {
		return
	}
	if err := m.AckAsync(); err != nil {
		n.log.DebugContext(ctx, "a hold could not be acknowledged; it comes again, and its texts are known", "subject", m.Subject, "error", err)
	}
}
