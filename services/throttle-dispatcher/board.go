package throttledispatcher

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/certificate"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/maintenance"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/promise"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

const (
	// showEvery is how often a busy worker shows itself at most.
	showEvery = 100 * time.Millisecond
	// pendingAge is how old an answer of the bus about a lane may be.
	pendingAge = time.Second
	// busPatience is how long people and metrics wait for the bus, for all connectors
	// together: most of what they ask for the workers show without it.
	busPatience = time.Second
	// askTimeout bounds a question to a worker, which is busy while the bus is
	// silent.
	askTimeout = 2 * time.Second
)

// board is where workers show themselves. It is safe for concurrent use.
type board struct {
	mu    sync.Mutex
	slots map[string]*slot
}

// slot returns the place of a connector; it stays for good.
func (b *board) slot(connector string) *slot {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.slots == nil {
		b.slots = map[string]*slot{}
	}
	s, ok := b.slots[connector]
	if !ok {
		s = &slot{asked: make(chan func(*worker)), told: make(chan func(*worker))}
		b.slots[connector] = s
	}
	return s
}

// slot is where one connector's worker shows itself: it writes without a lock, and
// answers questions when it is not busy.
type slot struct {
	shown atomic.Pointer[snapshot] // nil while no worker runs
	// asked are questions, told what changes the worker: questions are answered also
	// while it waits for the bus.
	asked, told chan func(*worker)
	// refused counts messages that were no deliveries.
	refused refusedTally

	mu     sync.Mutex
	totals totals // of the workers that have ended

	// known guards what the bus said last. Never held while the bus is asked, as mu
	// is not: it may be silent.
	known   sync.Mutex
	pending map[string]pendingInLane
	owner   string // where it is another replica
}

// totals are what workers of one connector did in this process.
type totals struct {
	calls      int64
	deliveries tally
}

// enter returns the totals that a worker goes on with.
func (s *slot) enter() totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals
}

// leave takes a worker away.
func (s *slot) leave(t totals) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals = t
	s.shown.Store(nil)
}

// pendingInLane is what of a lane the bus has not handed over, as of at.
type pendingInLane struct {
	bus.Backlog
	at time.Time
}

// snapshot is a worker at one moment. Nobody changes it.
type snapshot struct {
	at        time.Time
	spec      *v1alpha1.Connector
	state     dispatcherv1.State
	downSince time.Time
	notBefore time.Time
	because   string // why it is closed, where replies asked for that
	report    certificate.Report
	releases  [][]certificate.Release // by limit; only for windows that are not paced
	lanes     []queue.LaneState
	gap       time.Duration
	declared  time.Duration // the gap of the whole pace
	fills     []budget.Fill
	slowed    time.Duration // that of which ramps leave a part
	reopened  promise.Ramp
	ramps     []promise.Ramp
	outlook   *maintenance.Outlook // safe for concurrent use
	part      float64              // of the declared pace, now
	taken     map[string]feedback.Taken
	flying    int // handed out and not settled
	unsent    int // of them
	totals    totals
}

// tally counts ended deliveries by outcome, those without a name of their own at 0.
type tally [16]int64

func (t *tally) add(closes []*ledgerv1.Close) {
	for _, c := range closes {
		outcome := int(c.GetResult().GetOutcome())
		if outcome < 0 || outcome >= len(t) {
			outcome = 0
		}
		t[outcome]++
	}
}

// show shows the worker to whoever looks, now and then, and returns how long it
// may rest: no longer than until it is to show itself again.
func (w *worker) show(now time.Time, rest time.Duration) time.Duration {
	if next := showEvery - now.Sub(w.shownAt); next > 0 {
		return min(rest, next)
	}
	w.shownAt = now
	if err := w.audit(); err != nil {
		return rest // the next block says so
	}
	s := &snapshot{
		at: now, spec: w.spec, state: w.state(now), downSince: w.breaker.Since(),
		notBefore: latest(now, w.budget.NextSend(), w.budget.ClosedUntil(), w.quiet(now), w.breaker.Resting()),
		report:    w.auditor.Report(now), lanes: w.lanes(now),
		flying: w.flying, unsent: len(w.unsent),
	}
	_, s.because = w.pausedUntil(now)
	w.expectPace(s)
	s.totals = totals{calls: w.before.calls + s.report.Calls, deliveries: w.before.deliveries}
	for n, limit := range s.report.Limits {
		var releases []certificate.Release
		if limit.Per > 0 && !limit.Paced {
			releases = w.auditor.Releases(n, now)
		}
		s.releases = append(s.releases, releases)
	}
	w.slot.shown.Store(s)
	return rest
}

func (w *worker) state(now time.Time) dispatcherv1.State {
	_, closed := w.maintenance.Closed(now)
	switch {
	case w.spec.Spec.Paused:
		return dispatcherv1.State_STATE_PAUSED
	case closed:
		return dispatcherv1.State_STATE_MAINTENANCE
	case w.breaker.Open():
		return dispatcherv1.State_STATE_DOWN
	case now.Before(w.quietUntil), w.sign.onTrial():
		return dispatcherv1.State_STATE_WAITING_FOR_CREDENTIALS
	case now.Before(w.budget.ClosedUntil()):
		return dispatcherv1.State_STATE_THROTTLED
	}
	return dispatcherv1.State_STATE_RUNNING
}

// maySend reports whether time alone stands between what waits and its arrival.
func (s *snapshot) maySend() bool {
	switch s.state {
	case dispatcherv1.State_STATE_RUNNING, dispatcherv1.State_STATE_THROTTLED, dispatcherv1.State_STATE_MAINTENANCE:
		return true
	default:
		return false
	}
}

// promise returns what the promise clock needs, with what waits in the bus by
// lane.
func (s *snapshot) promise(pending map[string]bus.Backlog) promise.State {
	p := promise.State{
		Now: s.at, NotBefore: s.notBefore, Gap: s.gap, Slowed: s.slowed, Flying: s.flying,
		Reopened: s.reopened, Ramps: s.ramps, Closings: s.closings,
		Latency: s.report.Latency, CallsPerDelivery: s.report.CallsPerDelivery,
	}
	for n, limit := range s.report.Limits {
		if limit.IsBucket() {
			continue // below
		}
		if limit.Per == 0 {
			if places := limit.Calls - limit.Headroom; p.Parallel == 0 || places < p.Parallel {
				p.Parallel = places
			}
			continue
		}
		w := promise.Window{Calls: limit.Calls, Per: limit.Per, Within: p.Latency}
		if limit.ArrivesWithin > 0 {
			w.Within = min(w.Within, limit.ArrivesWithin)
		}
		if !limit.Paced {
			w.Calls -= limit.Headroom
		}
		for _, r := range s.releases[n] {
			w.Taken = append(w.Taken, promise.Release(r))
		}
		p.Windows = append(p.Windows, w)
	}
	cost, spent := max(s.report.CostPerCall, 1), s.report.SpentPerCall
	if s.report.CostPerCall == 0 {
		spent = cost
	}
	for _, k := range s.fills {
		p.Buckets = append(p.Buckets, promise.Bucket{
			Room: k.Room, Settled: k.Settled, Flying: k.Flying, Reserved: k.Takes(cost), Spent: k.Takes(spent),
		})
	}
	for _, l := range s.lanes {
		waiting := l.Waiting + int(pending[l.Name].Pending) //nolint:gosec // a stream holds fewer
		p.Lanes = append(p.Lanes, promise.Lane{Name: l.Name, Weight: l.Weight, Waiting: waiting})
	}
	return p
}

// backlog asks the bus what it has not handed over of each lane of a connector. A
// lane that is empty here is empty there, but for a moment. Where the bus does not
// answer it is what the bus said last, beside the error.
func (s *slot) backlog(ctx context.Context, b *bus.Bus, shown *snapshot) (map[string]bus.Backlog, error) {
	found := map[string]bus.Backlog{}
	var failed error
	for _, l := range shown.lanes {
		if l.Waiting == 0 {
			continue
		}
		known := s.pendingIn(l.Name)
		if time.Since(known.at) > pendingAge {
			backlog, err := b.Backlog(ctx, bus.StreamDispatch, laneConsumer(shown.spec.Name, l.Name))
			if err == nil || errors.Is(err, bus.ErrNotFound) {
				known = pendingInLane{at: time.Now(), Backlog: backlog}
				s.keepPending(l.Name, known)
			} else {
				failed = err
			}
		}
		found[l.Name] = known.Backlog
	}
	return found, failed
}

func (s *slot) pendingIn(lane string) pendingInLane {
	s.known.Lock()
	defer s.known.Unlock()
	return s.pending[lane]
}

func (s *slot) keepPending(lane string, p pendingInLane) {
	s.known.Lock()
	defer s.known.Unlock()
	if s.pending == nil {
		s.pending = map[string]pendingInLane{}
	}
	s.pending[lane] = p
}

// ownedBy returns the replica that has the connector, as the lease table tells;
// where that could not be read, as it told last.
func (s *slot) ownedBy(owner string, told bool) string {
	s.known.Lock()
	defer s.known.Unlock()
	if told {
		s.owner = owner
	}
	return s.owner
}

// ask lets a function look at the worker, from the worker's goroutine. It returns
// false where the worker had no time for it.
func (s *slot) ask(ctx context.Context, look func(*worker)) bool { return do(ctx, s.asked, look) }

// tell is ask for a function that changes the worker, between two of its steps.
func (s *slot) tell(ctx context.Context, change func(*worker)) bool { return do(ctx, s.told, change) }

func do(ctx context.Context, at chan<- func(*worker), what func(*worker)) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	done := make(chan struct{})
	select {
	case at <- func(w *worker) { what(w); close(done) }:
		<-done
		return true
	case <-ctx.Done():
		return false
	}
}
