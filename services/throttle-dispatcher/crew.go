package throttledispatcher

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/lease"
)

// crew are the workers of this replica. It belongs to the goroutine that runs
// the tenure.
type crew struct {
	dispatcher *Dispatcher
	tenure     *tenure
	shards     int
	// stopping is done when the whole replica stops.
	stopping   context.Context //nolint:containedctx // what is looked at is whether it is done
	connectors map[string]*v1alpha1.Connector
	// workers are there until they have ended.
	workers map[string]*runningWorker
	ended   chan string
	group   sync.WaitGroup
}

// runningWorker is a worker's handle: newest holds the newest spec, of which the
// worker takes what is there when it looks.
type runningWorker struct {
	epoch     uint64
	connector *v1alpha1.Connector
	newest    chan *v1alpha1.Connector
	// stop lets calls that are under way end; cut does not.
	stop, cut context.CancelFunc
	// lost: the lease is another's.
	lost bool
}

func newCrew(stopping context.Context, d *Dispatcher, t *tenure, shards int) *crew {
	return &crew{
		dispatcher: d, tenure: t, shards: shards, stopping: stopping,
		connectors: map[string]*v1alpha1.Connector{}, workers: map[string]*runningWorker{}, ended: make(chan string),
	}
}

// running returns the connectors that there are workers for.
func (c *crew) running() map[string]bool {
	names := make(map[string]bool, len(c.workers))
	for name := range c.workers {
		names[name] = true
	}
	return names
}

// take takes in the connectors of the catalog.
func (c *crew) take(connectors map[string]*v1alpha1.Connector) {
	c.connectors = connectors
	c.tenure.machine.Connectors(time.Now(), slices.Collect(maps.Keys(connectors)))
	for name, w := range c.workers {
		// What an edit of another resource leaves as it was is no news.
		if newer := connectors[name]; newer != nil && !reflect.DeepEqual(newer.Spec, w.connector.Spec) {
			w.update(newer)
		}
	}
}

// follow starts and stops workers as decided.
func (c *crew) follow(d lease.Decision) {
	lost := 0
	for name, w := range c.workers {
		epoch, mine := d.Mine[name]
		if l, wanted := d.Run[name]; wanted && l.Epoch == w.epoch {
			continue
		}
		if !mine || epoch != w.epoch {
			// Another replica has its ledger: whatever it still sends is in doubt there.
			w.cut()
			if !w.lost {
				w.lost = true
				lost++
			}
		}
		w.stop()
	}
	if lost > 0 {
		c.dispatcher.config.Logger.Warn("other replicas took connectors over, since this one was not heard", "connectors", lost)
	}
	for name, l := range d.Run {
		if c.workers[name] == nil {
			c.workers[name] = c.start(c.connectors[name], l)
		}
	}
}

// cut ends all workers without regard to calls under way.
func (c *crew) cut() {
	for _, w := range c.workers {
		w.cut()
	}
}

// forget takes note of the end of a worker.
func (c *crew) forget(name string) { delete(c.workers, name) }

// wait returns when all workers have ended.
func (c *crew) wait() {
	c.cut()
	for _, w := range c.workers {
		w.stop()
	}
	for len(c.workers) > 0 {
		c.forget(<-c.ended)
	}
	c.group.Wait()
}

// update hands over a newer spec. Only the crew's goroutine sends, and it empties
// the channel first, so it never blocks.
func (w *runningWorker) update(connector *v1alpha1.Connector) {
	w.connector = connector
	select {
	case <-w.newest:
	default:
	}
	w.newest <- connector
}

// start runs a worker under a lease.
func (c *crew) start(connector *v1alpha1.Connector, l lease.Lease) *runningWorker {
	d, name := c.dispatcher, connector.Name
	ctx, stop := context.WithCancel(context.Background())
	revoked, cut := context.WithCancel(context.Background())
	handle := &runningWorker{epoch: l.Epoch, connector: connector, stop: stop, cut: cut, newest: make(chan *v1alpha1.Connector, 1)}
	desk := desk{
		config: d.config, records: d.records, results: d.results, board: d.board, grace: d.grace,
		askAfter: d.askAfter, shortWait: d.shortWait, lookAfter: d.lookAfter, calendar: d.calendar,
		binder: binder{records: d.records, catalog: d.config.Catalog, shards: c.shards},
		epoch:  l.Epoch, seizure: newSeizure(!l.HandedOver), stopping: c.stopping, revoked: revoked,
		carryAge: d.carryAge, predecessor: d.predecessor,
		holds: func(ctx context.Context) error { return c.tenure.holds(ctx, name, l.Epoch) },
	}
	logger := d.config.Logger.With("connector", name)
	c.group.Go(func() {
		defer func() { c.ended <- name }()
		defer cut()
		defer stop()
		again := false
		_ = run.Supervise(ctx, logger, "connector "+name, func(ctx context.Context) error {
			if again {
				// What ended it may have been another owner.
				if err := desk.holds(ctx); err != nil {
					return err
				}
			}
			again = true
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
