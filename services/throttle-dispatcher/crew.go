package throttledispatcher

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/lease"
)

const (
	// takeoverLasts is for how long a ledger that others write may be a takeover: the
	// owner before goes on until the new one's first block is in, or it hears of it.
	// Longer than that, two write at the same time, and somebody has to look.
	takeoverLasts = 10 * time.Second
	// takeoverOver is how long after the last sign of it a takeover is over.
	takeoverOver = time.Minute
	// takeoverRetry is the mean pause before the ledger is read anew.
	takeoverRetry = 100 * time.Millisecond
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
	lost := int64(0)
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
		c.dispatcher.lost.Add(lost)
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
		var others takenOver
		_ = run.Supervise(ctx, logger, "connector "+name, func(ctx context.Context) error {
			for {
				// What ended the one before may have been another owner.
				if err := others.wait(ctx, desk.holds); err != nil {
					return err
				}
				var err error
				connector, err = work(ctx, desk, connector, handle.newest)
				if !others.tell(ctx, logger, err) {
					return err
				}
			}
		})
	})
	return handle
}

// work runs workers, one for each spec, until one ends for another reason than its spec.
func work(ctx context.Context, desk desk, connector *v1alpha1.Connector, newest <-chan *v1alpha1.Connector) (*v1alpha1.Connector, error) {
	for {
		select {
		case connector = <-newest:
		default:
		}
		worker, err := newWorker(ctx, desk, connector, newest)
		if err != nil {
			return connector, err
		}
		if connector, err = worker.run(ctx); !errors.Is(err, errRespecified) {
			return connector, err
		}
	}
}

// takenOver tells the takeover of a connector, which its owner mostly finds out by the
// ledger, from two who write it at the same time. Its zero value has seen none.
type takenOver struct {
	began       bool
	first, last time.Time
}

// wait returns when it is certain that the connector is this replica's, at once before
// the first worker.
func (t *takenOver) wait(ctx context.Context, holds func(context.Context) error) error {
	if !t.began {
		t.began = true
		return nil
	}
	return holds(ctx)
}

// met takes in that another wrote the ledger, and reports whether a takeover begins or
// goes on.
func (t *takenOver) met(now time.Time) (begins, goesOn bool) {
	if begins = t.last.IsZero() || now.Sub(t.last) > takeoverOver; begins {
		t.first = now
	}
	t.last = now
	return begins, now.Sub(t.first) < takeoverLasts
}

// tell tells of why a worker ended. It returns false for what is more than a takeover.
func (t *takenOver) tell(ctx context.Context, log *slog.Logger, err error) bool {
	if ctx.Err() != nil || !errors.Is(err, errTakenOver) {
		return false
	}
	begins, goesOn := t.met(time.Now())
	if begins {
		log.WarnContext(ctx, "another replica has taken this connector over, or is handing it over and wrote once more; "+
			"this one sends nothing until the lease is known to be its own", "error", err)
	}
	if goesOn {
		select {
		case <-time.After(takeoverRetry/2 + rand.N(takeoverRetry)):
		case <-ctx.Done():
		}
	}
	return goesOn
}
