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
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/expr"
	"github.com/peppasync/peppasync/services/internal/run"
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

// Dispatcher runs one worker for each connector of the catalog.
type Dispatcher struct {
	config  Config
	records records
	board   *board
	grace   time.Duration
	// calendar returns a connector's maintenance windows.
	calendar func(*v1alpha1.Connector) (maintenance.Calendar, error)
}

// New returns a dispatcher that does nothing until Run.
func New(config Config) (*Dispatcher, error) {
	if config.Bus == nil || config.Catalog == nil || config.Secrets == nil || config.Logger == nil || config.Telemetry == nil {
		return nil, errors.New("throttle-dispatcher: Bus, Catalog, Secrets, Logger and Telemetry are required")
	}
	if len(config.Systems) == 0 || config.Owner == "" {
		return nil, errors.New("throttle-dispatcher: Systems and Owner are required")
	}
	return &Dispatcher{config: config, records: busRecords{config.Bus}, board: &board{}, grace: stopGrace, calendar: calendarOf}, nil
}

// Run works until ctx is done, then lets calls that are under way end, records
// what became of them, and returns nil. Connectors come and go with the
// catalog; a worker that fails is started again from the ledger.
func (d *Dispatcher) Run(ctx context.Context) error {
	shards, err := d.config.Bus.Shards(ctx, bus.PrefixOrder)
	if err != nil {
		return fmt.Errorf("throttle-dispatcher: counting the order shards: %w", err)
	}
	stopServing := d.serve()
	defer stopServing()
	running := map[string]*runningWorker{}
	// leaving holds the end of workers that were stopped: one that comes again
	// under the same name waits for it, because they would share a ledger.
	leaving := map[string]<-chan struct{}{}
	var group sync.WaitGroup
	defer group.Wait()
	for {
		changed := d.config.Catalog.Changed()
		named := d.config.Catalog.Connectors()
		for name, worker := range running {
			if _, kept := named[name]; !kept {
				worker.stop()
				leaving[name] = worker.done
				delete(running, name)
			}
		}
		for name, connector := range named {
			if worker, ok := running[name]; ok {
				worker.update(connector)
				continue
			}
			running[name] = d.start(ctx, &group, connector, shards, leaving[name])
			delete(leaving, name)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// runningWorker is a worker's handle: newest holds the newest spec, of which
// the worker takes what is there when it looks; done is closed when the worker
// has ended.
type runningWorker struct {
	stop   context.CancelFunc
	newest chan *v1alpha1.Connector
	done   chan struct{}
}

// update hands over a newer spec. Only Run's goroutine sends, and it empties the
// channel first, so it never blocks.
func (r *runningWorker) update(connector *v1alpha1.Connector) {
	select {
	case <-r.newest:
	default:
	}
	r.newest <- connector
}

// start runs a worker after the end of the one before it, if there was one.
func (d *Dispatcher) start(ctx context.Context, group *sync.WaitGroup, connector *v1alpha1.Connector, shards int, after <-chan struct{}) *runningWorker {
	ctx, stop := context.WithCancel(ctx)
	handle := &runningWorker{stop: stop, newest: make(chan *v1alpha1.Connector, 1), done: make(chan struct{})}
	logger := d.config.Logger.With("connector", connector.Name)
	desk := desk{
		config: d.config, records: d.records, board: d.board, grace: d.grace, calendar: d.calendar,
		binder: binder{records: d.records, catalog: d.config.Catalog, shards: shards},
	}
	group.Go(func() {
		defer close(handle.done)
		defer stop()
		if after != nil {
			<-after
		}
		_ = run.Supervise(ctx, logger, "connector "+connector.Name, func(ctx context.Context) error {
			for {
				select {
				case connector = <-handle.newest:
				default:
				}
				worker, err := newWorker(ctx, desk, connector, handle.newest)
				if err != nil {
					return err
				}
				connector, err = worker.run(ctx)
				if !errors.Is(err, errRespecified) {
					return err
				}
			}
		})
	})
	return handle
}
