// Package poller finds what webhooks miss. For each source that can be asked it lists
// the orders that changed, through the throttle-dispatcher and in a lane of its own,
// has those told that are not known, and watches that the source still sends webhooks.
// Of several replicas one asks at a time; two at once tell the same events.
package poller

import (
	"context"
	"crypto/rand"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/ingest/internal/reconcile"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/internal/run"
)

// Requester is whose results the answers are: the role's.
const Requester = "ingest"

// Gate is who reads what ingest stores: the role by which its consumers are named.
const Gate = "logic-gate"

// Config is what a Poller needs. All fields are required.
type Config struct {
	Bus     *bus.Bus
	Catalog *catalog.Store
	Set     connectors.Set
	// Commit stores an encoded event, of at most MaxEventBytes, and returns once it is
	// durable.
	Commit        func(ctx context.Context, event []byte) error
	MaxEventBytes int
	Logger        *slog.Logger
	Meter         metric.Meter
}

// Poller watches the sources of the catalog. It is safe for concurrent use.
type Poller struct {
	config Config
	// run names this run of the process, in leases and counts.
	run   string
	grace time.Duration
	// sealAfter is how long after a secret was seen to have changed webhooks are made with it:
	// every replica of ingest has to know it by then, and each reads it again within ten
	// seconds, from Kubernetes, or one, from files.
	sealAfter time.Duration
	meters    meters
	received  received
}

// New returns a poller that asks nobody until Run.
func New(config Config) (*Poller, error) {
	p := &Poller{config: config, run: rand.Text(), grace: reconcile.Grace, sealAfter: 15 * time.Second}
	p.received.byConnector = map[string]int64{}
	var err error
	p.meters, err = newMeters(config.Meter)
	return p, err
}

// watched is a source, and what follows from the catalog for it.
type watched struct {
	name string
	spec v1alpha1.ConnectorSpec
	// taken are the topics that flows take from it.
	taken []string
}

// Run works until ctx is done. Each source has a worker, which is started anew where
// what the catalog says of it has changed.
func (p *Poller) Run(ctx context.Context) {
	unregister := p.meters.observe()
	defer unregister()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { p.flushReceived(ctx) })
	type worker struct {
		of    watched
		stop  context.CancelFunc
		ended chan struct{}
	}
	workers := map[string]worker{}
	for {
		changed := p.config.Catalog.Changed()
		want := p.sources(p.config.Catalog.Current())
		for name, running := range workers {
			if !reflect.DeepEqual(running.of, want[name]) {
				running.stop()
				<-running.ended
			}
		}
		for name, of := range want {
			running, there := workers[name]
			if there && reflect.DeepEqual(running.of, of) {
				continue
			}
			working, stop := context.WithCancel(ctx)
			started := worker{of, stop, make(chan struct{})}
			workers[name] = started
			// A change may be the cure of what failed before.
			cured := there
			group.Go(func() {
				defer close(started.ended)
				defer stop()
				_ = run.Supervise(working, p.config.Logger.With("connector", name), "looking for what webhooks miss", func(ctx context.Context) error {
					return newSource(p, of).work(ctx, cured)
				})
			})
		}
		for name := range workers {
			if _, wanted := want[name]; !wanted {
				delete(workers, name)
				p.meters.forget(name)
			}
		}
		tidying, stopTidying := context.WithCancel(ctx)
		if p.config.Catalog.Current() != nil { // nothing is known of what is asked before
			group.Go(func() { p.tidyAll(tidying, want) })
		}
		select {
		case <-ctx.Done():
			stopTidying()
			for _, running := range workers {
				running.stop()
			}
			return
		case <-changed:
			stopTidying()
		}
	}
}

// sources returns those of a snapshot that are to be asked.
func (p *Poller) sources(snapshot *catalog.Snapshot) map[string]watched {
	found := map[string]watched{}
	if snapshot == nil {
		return found
	}
	for name, connector := range snapshot.Connectors {
		spec := connector.Spec
		r := spec.Reconcile
		if r == nil || r.Every == nil || r.Every.Duration <= 0 || spec.Endpoint == "" || spec.Webhook == nil {
			continue
		}
		if _, topical := p.config.Set.Sources[string(spec.System)].(connectors.Topical); !topical || !p.can(&spec, connectors.OperationListOrders) {
			continue
		}
		found[name] = watched{name, spec, snapshot.Topics(name)}
	}
	return found
}

func (p *Poller) can(spec *v1alpha1.ConnectorSpec, operation string) bool {
	system := p.config.Set.Systems[string(spec.System)]
	if system == nil {
		return false
	}
	_, ok := system.Operations(spec)[operation]
	return ok
}

// pause waits for a time; an error is ctx's.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
