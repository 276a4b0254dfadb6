// Package throttledispatcher is the role that makes every call to every
// external system: one worker per connector takes what waits for it in
// DISPATCH, claims it in the ledger, sends it at exactly the pace that the
// connector's limits allow, and tells the requester what became of it.
package throttledispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/expr"
	"github.com/peppasync/peppasync/services/internal/secrets"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
)

// Role is the name of this role, as requesters, consumers and logs spell it.
const Role = "throttle-dispatcher"

// Catalog is what a dispatcher needs to know of the configuration. It changes
// as a whole; implementations are safe for concurrent use.
type Catalog interface {
	// Connectors returns the connectors as of now, by name; not to be changed.
	Connectors() map[string]*v1alpha1.Connector
	// Step returns what a step of a flow evaluates, or false where the catalog
	// has no such step with a mapping. When is nil for every order.
	Step(flow, step string) (when *expr.Condition, mapping *expr.Mapping, ok bool)
	// Changed returns a channel that is closed at the next change.
	Changed() <-chan struct{}
}

// Config is what a dispatcher needs. All fields but Listener are required.
type Config struct {
	Bus     *bus.Bus
	Catalog Catalog
	// Systems by the name that a Connector's spec.system gives.
	Systems map[string]connectors.System
	Secrets secrets.Resolver
	// Owner names this process in the ledger, such as a pod's name.
	Owner string
	// Listener is where it serves DispatcherService, health and reflection over
	// gRPC, without TLS. Run closes it. Nil for nowhere.
	Listener  net.Listener
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
}

// handoverTimeout is how long a replica that stops waits for the bus to take
// down that its connectors are free. Without that others wait until it is silent.
const handoverTimeout = 2 * time.Second

// Dispatcher is one replica: it runs one worker for each connector of the catalog
// that is its share.
type Dispatcher struct {
	config  Config
	records records
	// results are published through it, those of all connectors.
	results *together
	board   *board
	grace   time.Duration
	// askAfter is awaitedAgain.
	askAfter time.Duration
	// shortWait is the longest wait that a delivery spends in its lane.
	shortWait time.Duration
	// lookAfter is lookAgainAfter.
	lookAfter time.Duration
	// calendar returns a connector's maintenance windows.
	calendar func(*v1alpha1.Connector) (maintenance.Calendar, error)
	// predecessor is the name whose permits are of a process that is gone: its own,
	// and none once it took over from a session of that name that may live.
	predecessor string
	// carryAge replaces that of the ledger where it is not 0.
	carryAge time.Duration
	// leases is where the replicas meet.
	leases *bus.Bus
	// lost counts the connectors that others took over.
	lost atomic.Int64
}

// New returns a dispatcher that does nothing until Run.
func New(config Config) (*Dispatcher, error) {
	if config.Bus == nil || config.Catalog == nil || config.Secrets == nil || config.Logger == nil || config.Telemetry == nil {
		return nil, errors.New("throttle-dispatcher: Bus, Catalog, Secrets, Logger and Telemetry are required")
	}
	if len(config.Systems) == 0 || config.Owner == "" {
		return nil, errors.New("throttle-dispatcher: Systems and Owner are required")
	}
	return &Dispatcher{
		config: config, records: busRecords{config.Bus}, board: &board{}, grace: stopGrace,
		askAfter: awaitedAgain, shortWait: shortWait, lookAfter: lookAgainAfter, calendar: calendarOf, leases: config.Bus,
		predecessor: config.Owner,
	}, nil
}

// Run works until ctx is done, then lets calls that are under way end, records
// what became of them, hands its connectors over to other replicas, and returns
// nil. Connectors come and go with the catalog and with the number of replicas; a
// worker that fails is started again from the ledger.
func (d *Dispatcher) Run(ctx context.Context) error {
	shards, err := d.config.Bus.AwaitShards(ctx, bus.PrefixOrder)
	if ctx.Err() != nil {
		return nil // told to stop before it had begun
	}
	if err != nil {
		return fmt.Errorf("throttle-dispatcher: counting the order shards: %w", err)
	}
	stopMeasuring, err := d.measure()
	if err != nil {
		return err
	}
	defer stopMeasuring()
	stopServing := d.serve()
	defer stopServing()
	d.results = &together{records: d.records, log: d.config.Logger}
	defer d.results.wait()
	for d.work(ctx, shards) {
		d.config.Logger.ErrorContext(ctx, "another dispatcher runs under this one's name, and this one stands by until it is free; give each its own --owner",
			"owner", d.config.Owner)
		free, silent := d.standBy(ctx)
		if !free {
			break
		}
		if silent {
			d.predecessor = ""
			d.config.Logger.WarnContext(ctx, "the other dispatcher of this name has fallen silent, and this one takes its connectors; "+
				"calls that it may have under way are waited for", "owner", d.config.Owner)
		}
	}
	return nil
}

// connectors returns those that can be called, by name; nil where there is no catalog
// yet.
func (d *Dispatcher) connectors() map[string]*v1alpha1.Connector { return callable(d.config.Catalog) }

func callable(c Catalog) map[string]*v1alpha1.Connector {
	all := c.Connectors()
	if all == nil {
		return nil
	}
	found := make(map[string]*v1alpha1.Connector, len(all))
	for name, connector := range all {
		if !connector.Spec.OnlySends() {
			found[name] = connector
		}
	}
	return found
}

// work works as one of the replicas until ctx is done, or until another session
// takes this one's name; then it returns true.
func (d *Dispatcher) work(ctx context.Context, shards int) (superseded bool) {
	t := newTenure(d.leases, d.config.Logger, d.config.Owner)
	defer t.end()
	c := newCrew(ctx, d, t, shards)
	defer c.wait()
	stopped := ctx.Done()
	replaced := t.replaced
	var cutOff, giveUp <-chan time.Time
	changed := d.config.Catalog.Changed()
	c.take(d.connectors())
	for due := true; ; {
		if due {
			decision := t.decide(c.running())
			c.follow(decision)
			if len(c.workers) == 0 {
				switch {
				case decision.Superseded:
					return true
				case stopped == nil && len(decision.Mine) == 0:
					return false
				case stopped == nil && giveUp == nil:
					giveUp = time.After(handoverTimeout)
				}
			}
		}
		due = true
		select {
		case r := <-t.heard:
			due = t.record(r)
		case <-replaced:
			replaced = nil
			t.machine.Supersede()
		case w := <-t.written:
			t.wrote(w)
		case name := <-c.ended:
			c.forget(name)
		case <-changed:
			changed = d.config.Catalog.Changed()
			c.take(d.connectors())
		case <-stopped:
			stopped = nil
			t.leave()
			cutOff = time.After(d.grace + flushTime)
		case <-cutOff:
			c.cut()
		case <-giveUp:
			return false
		}
	}
}
