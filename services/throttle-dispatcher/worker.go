package throttledispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/backoff"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/outage"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/transport"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

const (
	// blockHorizon is how far ahead send times are handed out. What a crash
	// leaves unused of it is lost to the pace, so it is short; each block costs
	// an fsync, so it is not shorter.
	blockHorizon = 250 * time.Millisecond
	// blockLead is how long before the next send time its block is written. A
	// send time that passes before its block is on disk is lost to the pace, so
	// the lead covers a slow fsync.
	blockLead = 100 * time.Millisecond
	// flushEvery bounds how often closes alone cause a block.
	flushEvery = 40 * time.Millisecond
	// blockTimeout is how long a block's write may take until the worker starts
	// again from the ledger to learn what became of it.
	blockTimeout = 5 * time.Second
	// throttleWait is the pause after a throttled reply that names none.
	throttleWait = 5 * time.Second
	// authWait is how often refused credentials are tried again; somebody has
	// to change them first.
	authWait = 30 * time.Second
	// stopGrace is how long calls under way may go on after a stop was asked.
	stopGrace = 10 * time.Second
	// ackWait is how long JetStream waits for a sign of life of a message that is
	// waiting here.
	ackWait = time.Minute
	// maxPerBlock bounds a block: 128 claims with payloads of some kB stay well
	// under the largest message.
	maxPerBlock  = 128
	probeTimeout = 900 * time.Millisecond
	probeEvery   = 500 * time.Millisecond
)

// worker is the one writer of a connector's ledger. All of its state belongs to
// the goroutine of run; calls and bus traffic run beside it and report by
// channels.
type worker struct {
	config  Config
	log     *slog.Logger
	tracer  trace.Tracer
	spec    *v1alpha1.Connector
	newest  <-chan *v1alpha1.Connector
	system  connectors.System
	binder  binder
	client  *transport.Transport
	budget  *budget.Budget
	ledger  *ledger.Recorder
	queue   *queue.Queue[*job]
	breaker *outage.Breaker
	random  *rand.Rand

	jobs map[string]*job
	// open are claims that an earlier owner left; each is taken up when its
	// message comes again.
	open map[string]*ledgerv1.Claim
	// closed are closes whose message is not acknowledged yet.
	closed map[string]*ledgerv1.Close
	// grant is how many send times the last block asked for were given: the
	// next one binds a few more deliveries than that, not the whole backlog.
	grant int
	// quietUntil: no call before it, for a reason that the budget does not know
	// (refused credentials).
	quietUntil time.Time
	lastBlock  time.Time
	flying     int
	probing    bool

	incoming chan *bus.Incoming
	outcomes chan outcome
	issued   chan issue
	finished chan string

	finishers sync.WaitGroup
	// finishing bounds how many closes are made known at the same time.
	finishing chan struct{}
}

func newWorker(ctx context.Context, config Config, connector *v1alpha1.Connector, shards int, newest <-chan *v1alpha1.Connector) (*worker, error) {
	system, ok := config.Systems[string(connector.Spec.System)]
	if !ok {
		return nil, fmt.Errorf("connector %s: no system %q in this build", connector.Name, connector.Spec.System)
	}
	w := &worker{
		config: config, spec: connector, newest: newest, system: system,
		log:    config.Logger.With("connector", connector.Name),
		tracer: config.Telemetry.Tracer(Role),
		binder: binder{bus: config.Bus, catalog: config.Catalog, shards: shards},
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), //nolint:gosec // spreads retries, keeps no secret
		jobs:   map[string]*job{}, open: map[string]*ledgerv1.Claim{}, closed: map[string]*ledgerv1.Close{},
		queue: queue.New[*job](lanesOf(connector)), breaker: outage.New(outageSettings(connector)),
		grant:    1,
		incoming: make(chan *bus.Incoming), outcomes: make(chan outcome), issued: make(chan issue, 1024), finished: make(chan string),
		finishing: make(chan struct{}, 16),
	}
	limits, err := limitsOf(connector)
	if err != nil {
		return nil, err
	}
	if w.budget, err = budget.New(limits); err != nil {
		return nil, fmt.Errorf("connector %s: %w", connector.Name, err)
	}
	if w.client, err = w.newClient(limits); err != nil {
		return nil, err
	}
	if err := w.restore(ctx, limits); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *worker) newClient(limits budget.Limits) (*transport.Transport, error) {
	return transport.New(transport.Config{
		Endpoint: w.spec.Spec.Endpoint, MaxConnections: maxConcurrency(w.spec), CallTimeout: limits.CallTimeout,
		Issued: func(number int64, at time.Time) {
			// It shortens how long a permit counts where arrivesWithin is declared;
			// without it the permit counts until it is settled. So it may be lost, and
			// must not hold up the call.
			select {
			case w.issued <- issue{number: number, at: at}:
			default:
			}
		},
	})
}

// issue says that a permit's first bytes were with the kernel by at.
type issue struct {
	number int64
	at     time.Time
}

// restore learns from the ledger what earlier owners handed out, claimed and
// closed.
func (w *worker) restore(ctx context.Context, limits budget.Limits) error {
	state, err := readLedger(ctx, w.config.Bus, w.spec.Name)
	if err != nil {
		return fmt.Errorf("connector %s: reading its ledger: %w", w.spec.Name, err)
	}
	w.budget.Restore(time.Now(), state.History())
	identity := ledger.Identity{Connector: w.spec.Name, Owner: w.config.Owner}
	if w.ledger, err = ledger.NewRecorder(identity, limits, state); err != nil {
		return fmt.Errorf("connector %s: %w", w.spec.Name, err)
	}
	for _, claim := range state.Claims {
		w.open[claim.GetDelivery().GetId()] = claim.Claim
	}
	for _, closing := range state.Closes {
		w.closed[closing.GetResult().GetDeliveryId()] = closing.Close
	}
	return nil
}

// readLedger folds what the newest block says is still needed.
func readLedger(ctx context.Context, b *bus.Bus, connector string) (ledger.State, error) {
	subject := bus.LedgerSubject(connector)
	last, err := b.Last(ctx, bus.StreamLedger, subject)
	if errors.Is(err, bus.ErrNotFound) {
		return ledger.State{}, nil
	}
	if err != nil {
		return ledger.State{}, err
	}
	newest, err := ledger.Decode(last.Data)
	if err != nil {
		return ledger.State{}, fmt.Errorf("sequence %d: %w", last.Sequence, err)
	}
	from := newest.GetReadFrom()
	if from == 0 {
		from = last.Sequence
	}
	folder := ledger.NewFolder()
	for record, err := range b.Read(ctx, bus.StreamLedger, subject, from) {
		if err != nil {
			return ledger.State{}, err
		}
		block, err := ledger.Decode(record.Data)
		if err != nil {
			return ledger.State{}, fmt.Errorf("sequence %d: %w", record.Sequence, err)
		}
		if err := folder.Add(ledger.Record{Sequence: record.Sequence, Block: block}); err != nil {
			return ledger.State{}, err
		}
	}
	return folder.State(), nil
}

// errRespecified ends a worker whose connector changed in a way that it cannot
// take in while it runs.
var errRespecified = errors.New("the connector's spec changed")

// run is the worker's life. It returns the newest spec it has seen, for the one
// that starts after it, with nil after a stop or the reason why it must start
// again from the ledger.
func (w *worker) run(ctx context.Context) (*v1alpha1.Connector, error) {
	// Calls outlive the wish to stop, by stopGrace: cutting them would leave
	// their outcomes unknown.
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer w.client.Close()
	intake, stopIntake := context.WithCancel(ctx)
	intakeDone := w.startIntake(intake)
	err := w.loop(ctx, calls)
	stopIntake()
	<-intakeDone
	if err == nil || errors.Is(err, errRespecified) {
		if drained := w.drain(calls); drained != nil {
			err = drained
		}
	}
	cut()
	w.awaitCalls()
	if ctx.Err() != nil || errors.Is(err, errRespecified) {
		return w.spec, nil
	}
	return w.spec, err
}

func (w *worker) loop(ctx, calls context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	beat := time.NewTicker(ackWait / 3)
	defer beat.Stop()
	for {
		if err := w.step(calls); err != nil {
			return err
		}
		timer.Reset(w.untilNext(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case spec := <-w.newest:
			if err := w.respec(spec); err != nil {
				return err
			}
		case m := <-w.incoming:
			w.take(calls, m)
		case o := <-w.outcomes:
			w.settle(o)
		case i := <-w.issued:
			w.budget.Issued(i.number, i.at)
		case id := <-w.finished:
			w.forget(id)
		case <-beat.C:
			w.keepAlive()
		case <-timer.C:
		}
		w.takeWhatIsThere(calls)
	}
}

// takeWhatIsThere empties the channels, so that a block covers all that is
// known.
func (w *worker) takeWhatIsThere(calls context.Context) {
	for range maxPerBlock {
		select {
		case m := <-w.incoming:
			w.take(calls, m)
		case o := <-w.outcomes:
			w.settle(o)
		case i := <-w.issued:
			w.budget.Issued(i.number, i.at)
		case id := <-w.finished:
			w.forget(id)
		default:
			return
		}
	}
}

// step writes the next block if one is due, and starts its calls.
func (w *worker) step(calls context.Context) error {
	now := time.Now()
	if w.breaker.Open() {
		return w.stepOutage(calls, now)
	}
	if w.maySend(now) {
		return w.sendBlock(calls, now, maxPerBlock)
	}
	if w.flushDue(now) {
		return w.writeBlock(calls, nil)
	}
	return nil
}

func (w *worker) maySend(now time.Time) bool {
	if w.spec.Spec.Paused || now.Before(w.quietUntil) || !w.queue.Ready(now) {
		return false
	}
	at, ok := w.budget.Next(now)
	return ok && at.Sub(now) <= blockLead
}

func (w *worker) flushDue(now time.Time) bool {
	return w.ledger.Pending() && now.Sub(w.lastBlock) >= flushEvery
}

// untilNext returns how long nothing is due.
func (w *worker) untilNext(now time.Time) time.Duration {
	wait := time.Hour
	sooner := func(at time.Time) { wait = min(wait, max(0, at.Sub(now))) }
	if w.ledger.Pending() {
		sooner(w.lastBlock.Add(flushEvery))
	}
	if at, open := w.breaker.NextProbe(now); open {
		if !w.probing && !w.spec.Spec.Paused {
			sooner(at)
		}
		return wait
	}
	if w.spec.Spec.Paused || w.queue.Len() == 0 {
		return wait
	}
	if now.Before(w.quietUntil) {
		sooner(w.quietUntil)
		return wait
	}
	if w.queue.Ready(now) {
		if at, ok := w.budget.Next(now); ok {
			sooner(at.Add(-blockLead))
		}
	} else if at, ok := w.queue.NextReady(); ok {
		sooner(at)
	}
	return wait
}

func (w *worker) backoff(attempts int) time.Duration {
	return backoff.Policy{Base: 500 * time.Millisecond, Max: 30 * time.Second}.Wait(attempts, w.random)
}
