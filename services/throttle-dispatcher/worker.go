package throttledispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/certificate"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/outage"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/transport"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

const (
	// bindTimeout is how long reading what a delivery refers to may take, the loop
	// being kept for as long.
	bindTimeout = 2 * time.Second
	// blockTimeout is how long a block's write may take until it is repeated,
	// after blockRetry. The answer of a leader that died never comes, and what is
	// stored after its time is found by the repetition.
	blockTimeout = 2 * time.Second
	blockRetry   = 100 * time.Millisecond
	// blockSlow is from when on a block's write is worth a line in the log.
	blockSlow = 500 * time.Millisecond
	stopGrace = 10 * time.Second
	// flushTime is for what came of the calls to be recorded after that.
	flushTime = time.Second
	// ackWait is how long JetStream waits for a sign of life of a message that is
	// waiting here.
	ackWait = time.Minute
	// maxPerBlock bounds a block: 128 claims with payloads of some kB stay well
	// under the largest message.
	maxPerBlock = 128
	// outcomesKept is how many calls that are over may wait for the loop without a
	// goroutine, each of which keeps the stack that its call has grown.
	outcomesKept = 64
	// maxTaken bounds what the loop takes in before it looks whether a block is due. Each
	// call comes with four pieces of news: its delivery, its first byte, its outcome,
	// and the end of it. While a block is bound and stored, those of more than one block
	// gather, or blocks themselves bound the pace.
	maxTaken = 16 * maxPerBlock
	// takenFor is for how long it does so at most: send times pass meanwhile.
	takenFor = 50 * time.Millisecond
)

// desk is what all workers of a dispatcher share.
type desk struct {
	config  Config
	records records
	// results are published through it.
	results *together
	binder  binder
	board   *board
	// grace is how long calls under way may go on after a stop was asked.
	grace time.Duration
	// askAfter is awaitedAgain.
	askAfter time.Duration
	// shortWait is the longest wait that a delivery spends in its lane.
	shortWait time.Duration
	// lookAfter is lookAgainAfter.
	lookAfter time.Duration
	// calendar returns a connector's maintenance windows.
	calendar func(*v1alpha1.Connector) (maintenance.Calendar, error)
	// epoch is that of the lease that the worker runs under. seizure is what is still
	// to be taken from whoever had it before.
	epoch   uint64
	seizure *seizure
	// stopping is done when the replica as a whole is to stop, revoked when the lease
	// is another's.
	stopping, revoked context.Context //nolint:containedctx // what is looked at is whether they are done
	// predecessor is the name whose permits are of a process that is gone.
	predecessor string
	// carryAge replaces that of the ledger where it is not 0.
	carryAge time.Duration
	// holds returns once it is certain that the lease was held after the call.
	holds func(ctx context.Context) error
}

// worker is the one writer of a connector's ledger. All of its state belongs to
// the goroutine of run; calls and bus traffic run beside it and report by
// channels.
type worker struct {
	desk
	log    *slog.Logger
	tracer trace.Tracer
	name   string // of the connector
	spec   *v1alpha1.Connector
	newest <-chan *v1alpha1.Connector
	system connectors.System
	client *transport.Transport
	budget *budget.Budget
	ledger *ledger.Recorder
	// callTimeout is how long its calls may take. A spec that changes it is another
	// worker's, so that it may be read beside the loop.
	callTimeout time.Duration
	// auditor reads the same blocks, and knows nothing of the budget; audited is the
	// spec whose limits it judges by.
	auditor *certificate.Auditor
	audited *v1alpha1.Connector
	// slot is where it shows itself, last at shownAt. before counts what this process
	// did: deliveries, and calls that the auditor does not count.
	slot    *slot
	shownAt time.Time
	before  totals
	// restoredAt is when this worker had read the ledger.
	restoredAt time.Time
	queue      *queue.Queue[*job]
	breaker    *outage.Breaker
	// works and passing are which calls others pass with; aside are those that wait because they met
	// what looks like an outage.
	works   outage.Works
	passing feedback.Passing
	aside   map[string]*job
	random  *rand.Rand

	// places is how many deliveries each lane holds here; beside is how many connectors
	// there were when that was worked out.
	places, beside int
	jobs           map[string]*job
	// open are claims that an earlier owner left; each is taken up when its
	// message comes again.
	open     map[string]*ledgerv1.Claim
	leftover leftover
	// closed are closes whose message is not acknowledged yet.
	closed map[string]*ledgerv1.Close
	// barriers hold keys in which an attempt may still take effect.
	barriers barriers
	// grant is how many send times the last block asked for were given: where no
	// pace says how many there will be, the next one binds a few more deliveries
	// than that, not the whole backlog.
	grant int
	// smallest is how many the next block binds at the most after an outage, 0 for no bound.
	smallest int
	// nextCost is what the next call counts for in buckets, as far as is known.
	nextCost int64
	// quietUntil: no call before it, for a reason that the budget does not know:
	// there are no credentials that work.
	quietUntil    time.Time
	maintenance   *maintenance.Watch
	inMaintenance trouble
	// pace, others and refusals are what replies teach about pace and pauses; shared:
	// others use the account, which the log has been told.
	pace     feedback.Pace
	others   *feedback.Others
	refusals feedback.Refusals
	// because is why the budget is closed, if it is; reopened is closed when a reopening
	// that waits for it is on record.
	because  string
	reopened chan struct{}
	shared   trouble
	sign     signIn
	// left is what earlier owners have left in WAITING, until it is in line; away is
	// how many deliveries are there or on their way; toMove are those whose move is
	// to be begun; delayed is how many wait in each lane.
	left    []waitsOn
	away    int
	toMove  []move
	delayed map[string]int
	// nextExpiry is when the first waiting delivery may run out; zero for none.
	nextExpiry time.Time
	lastBlock  time.Time
	// repliedAt is when a reply was last put on record; replied: one waits for that;
	// urgent: which is the first in a while, or asks for a pause.
	repliedAt time.Time
	replied   bool
	urgent    bool
	stalls    stalls
	silence   silence
	toldSlow  time.Time
	// toldThrottled is when the log last heard of a throttled reply that asks for no wait.
	toldThrottled time.Time
	flying        int
	// recalled is done when what waits for its send time is called off, by callOff, and
	// when the calls are cut; nil until the next one is launched.
	recalled context.Context //nolint:containedctx // what waits looks at whether it is done
	callOff  context.CancelFunc
	// unsent are the permits that are launched and of which no byte was seen to
	// leave, with their send times; connections is how many calls can be under way.
	unsent map[int64]time.Time
	// leftAt is by when the first bytes of those under way were gone, where that was
	// seen.
	leftAt       map[int64]time.Time
	connections  int
	parallel     parallel
	crowdedUntil time.Time
	questions    questions
	// replies: the outage shows itself in replies, not in silence.
	replies bool
	// unbound are the deliveries whose binding fails.
	unbound unbound
	// awaited is what waits for a change of the catalog; edited is closed at the next.
	awaited [awaitedKinds]awaiting
	edited  <-chan struct{}

	incoming chan *bus.Incoming
	outcomes chan outcome
	issued   chan issue
	finished chan string
	// moved are deliveries that have left their lane; looks are later readings of
	// WAITING.
	moved chan string
	looks chan look
	// gone are closes of earlier owners whose message is not in the queue any more.
	gone chan string
	// lost are claims of earlier owners likewise.
	lost chan *ledgerv1.Claim

	finishers sync.WaitGroup
	tellers   tellers
	refused   *refused
	// finishing bounds how many messages are acknowledged, and holds published, at the
	// same time.
	finishing chan struct{}
	// movers bounds how many move to WAITING at the same time. They have places of
	// their own: while WAITING takes nothing, results still go out.
	movers chan struct{}
	// unpublished: results cannot be published, which the log has been told.
	unpublished atomic.Bool
}

// patience is how long calls under way may go on after a stop was asked: the end
// of the process is in a hurry, a move to another replica is not.
func (w *worker) patience() time.Duration {
	if w.stopping.Err() != nil {
		return w.grace
	}
	return max(w.grace, w.callTimeout+flushTime)
}

func newWorker(ctx context.Context, desk desk, connector *v1alpha1.Connector, newest <-chan *v1alpha1.Connector) (*worker, error) {
	system, ok := desk.config.Systems[string(connector.Spec.System)]
	if !ok {
		return nil, fmt.Errorf("connector %s: no system %q in this build", connector.Name, connector.Spec.System)
	}
	limits, err := limitsOf(connector)
	if err != nil {
		return nil, err
	}
	w := &worker{
		desk: desk, name: connector.Name, spec: connector, newest: newest, system: system,
		log:    desk.config.Logger.With("connector", connector.Name),
		tracer: desk.config.Telemetry.Tracer(Role),
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		jobs:   map[string]*job{}, open: map[string]*ledgerv1.Claim{}, closed: map[string]*ledgerv1.Close{},
		aside: map[string]*job{}, delayed: map[string]int{},
		slot:  desk.board.slot(connector.Name),
		queue: queue.New[*job](lanesOf(connector)), breaker: outage.New(outageSettings(limits, questionOf(system, connector).Cost)),
		callTimeout: connector.Spec.Timeout.Duration,
		grant:       1, nextCost: 1,
		unsent: map[int64]time.Time{}, leftAt: map[int64]time.Time{}, connections: maxConcurrency(limits),
		parallel: parallelOf(maxConcurrency(limits), len(limits.Concurrency) > 0),
		incoming: make(chan *bus.Incoming, maxPerBlock), outcomes: make(chan outcome, outcomesKept), issued: make(chan issue, 1024),
		finished: make(chan string), moved: make(chan string), looks: make(chan look),
		gone: make(chan string), lost: make(chan *ledgerv1.Claim), finishing: make(chan struct{}, 16), movers: make(chan struct{}, 16),
	}
	if w.budget, err = budget.New(limits); err != nil {
		return nil, fmt.Errorf("connector %s: %w", connector.Name, err)
	}
	if err := w.watchMaintenance(time.Now()); err != nil {
		return nil, err
	}
	w.others = othersOf(limits)
	w.beside = len(callable(desk.config.Catalog))
	w.places = placesPerLane(w.beside, limits)
	w.tellers.most = tellersFor(w.places)
	w.refused = newRefused(w.name, desk.config, desk.records, w.log, &w.slot.refused)
	w.budget.Ahead(w.ahead())
	if w.auditor, err = certificate.New(limits); err != nil {
		return nil, fmt.Errorf("connector %s: %w", w.name, err)
	}
	if w.client, err = w.newClient(limits); err != nil {
		return nil, err
	}
	w.client.Allow(w.parallel.allowed)
	w.edited = desk.config.Catalog.Changed()
	if err := w.restore(ctx, limits); err != nil {
		return nil, err
	}
	w.before = w.slot.enter()
	w.before.calls -= w.auditor.Report(w.restoredAt).Calls // of workers before
	return w, nil
}

func (w *worker) newClient(limits budget.Limits) (*transport.Transport, error) {
	return transport.New(transport.Config{
		Endpoint: w.spec.Spec.Endpoint, MaxConnections: w.connections, CallTimeout: limits.CallTimeout,
		Issued: func(number int64, at time.Time) {
			// It shortens how long a permit counts where arrivesWithin is declared, and
			// tells how many calls are under way. Without it the permit counts until it
			// is settled. So it may be lost, and must not hold up the call.
			select {
			case w.issued <- issue{number: number, at: at}:
			default:
			}
		},
		Short: func() {
			select {
			case w.issued <- issue{short: true}:
			default: // the next one that waits says it again
			}
		},
	})
}

// issue says that a permit's first bytes were with the kernel by at, or that a call
// came short of room.
type issue struct {
	number int64
	at     time.Time
	short  bool
}

// errRespecified ends a worker whose connector changed in a way that it cannot
// take in while it runs.
var errRespecified = errors.New("the connector's spec changed")

// run is the worker's life. It returns the newest spec it has seen, for the one
// that starts after it, and why it ended: nil after a stop, errRespecified, or
// the reason why it must start again from the ledger.
func (w *worker) run(ctx context.Context) (*v1alpha1.Connector, error) {
	// Calls outlive the wish to stop, by the grace: cutting them would leave
	// their outcomes unknown.
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(w.patience()+flushTime, cut) })()
	defer context.AfterFunc(w.revoked, cut)()
	defer w.client.Close()
	defer w.leave()
	intake, stopIntake := context.WithCancel(ctx)
	w.takeWaiting(calls)
	intakeDone := w.startIntake(intake, w.leftover)
	w.leftover = leftover{}
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
	for _, j := range w.jobs {
		if j.span != nil {
			j.span.End() // as far as it came here
		}
	}
	if ctx.Err() != nil {
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
		now := time.Now()
		timer.Reset(w.show(now, w.untilNext(now)))
		if over, err := w.hear(ctx, calls, timer.C, beat.C); over {
			return err
		}
		w.takeWhatIsThere(calls)
	}
}

// hear takes in the next that happens, and reports whether the loop is over.
func (w *worker) hear(ctx, calls context.Context, due, beat <-chan time.Time) (over bool, err error) {
	select {
	case <-ctx.Done():
		return true, nil
	case <-w.edited:
		w.catalogChanged()
	case spec := <-w.newest:
		err := w.respec(spec)
		return err != nil, err
	case m := <-w.incoming:
		w.take(calls, m)
	case o := <-w.outcomes:
		w.settle(o)
	case i := <-w.issued:
		w.sent(i)
	case id := <-w.finished:
		w.forget(id)
	case id := <-w.moved:
		w.hasMoved(id)
	case l := <-w.looks:
		w.takeLook(calls, l)
	case id := <-w.gone:
		w.forgetGone(id)
	case claim := <-w.lost:
		w.askAgain(calls, claim)
	case look := <-w.slot.asked:
		look(w)
	case change := <-w.slot.told:
		change(w)
	case <-beat:
		w.keepAlive()
	case <-due:
	}
	return false, nil
}

// takeWhatIsThere empties the channels, so that a block covers all that is
// known.
func (w *worker) takeWhatIsThere(calls context.Context) {
	begun := time.Now()
	for n := 0; n < maxTaken && time.Since(begun) < takenFor; n++ {
		select {
		case m := <-w.incoming:
			w.take(calls, m)
		case o := <-w.outcomes:
			w.settle(o)
		case i := <-w.issued:
			w.sent(i)
		case id := <-w.finished:
			w.forget(id)
		case id := <-w.moved:
			w.hasMoved(id)
		default:
			return
		}
	}
}
