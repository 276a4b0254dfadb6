package throttledispatcher

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

// A delivery has a place: its message in a lane of DISPATCH, of which a worker is
// handed placesPerLane, or its record in WAITING, of which it holds all. What waits
// for long moves from the first to the second, so that the lane goes on.
const (
	// shortWait is how long a delivery may wait in its lane; a longer wait is
	// written down.
	shortWait = 30 * time.Second
	// maxWaiting bounds the memory for deliveries in WAITING, at some 2 kB each.
	// Those above it wait in their lanes.
	maxWaiting = 50_000
	// movingRetry is when a delivery is looked at again whose turn has come before
	// its move was written down.
	movingRetry = 100 * time.Millisecond
	// lookAgainAfter is how often WAITING is read for what others wrote there.
	lookAgainAfter = 10 * time.Second
	// laneWaiting is where deliveries stand whose wait is over, and those that were
	// throttled again and again, whatever lane they came by. No connector can name a lane
	// like this.
	laneWaiting = "~waiting"
	// waitingPart: of so many sends they get one while others are there to be sent.
	waitingPart = 10
)

// place is where a delivery is kept until it is closed.
type place struct {
	// waiting: in WAITING, or else in its lane; moving: on its way to WAITING, and not
	// to go before it is there.
	waiting, moving bool
	// position is its place in the order of its key, whatever its place is.
	position uint64
	// delayed: it waits in its lane and counts towards the crowd.
	delayed bool
	// behind: it stands behind what is in its lane.
	behind bool
	cause  *dispatchv1.Cause
	// parent is the span that it goes on in after a wait.
	parent trace.SpanContext
}

// withWaiting adds the lane of those whose wait is over.
func withWaiting(lanes []queue.Lane) []queue.Lane {
	return append(lanes, queue.Lane{Name: laneWaiting, Part: waitingPart})
}

// lanes returns the lanes that are worth showing: the one of those that waited
// only where there are any.
func (w *worker) lanes(now time.Time) []queue.LaneState {
	return slices.DeleteFunc(w.queue.Lanes(now), func(l queue.LaneState) bool { return l.Name == laneWaiting && l.Waiting == 0 })
}

// retry lets a delivery go again after its wait. One that was refused for certain
// and waits for long gives its claim up: nothing of it is under way, so that it
// may be mapped anew from what is newest then.
func (w *worker) retry(o outcome, answer connectors.Answer, at, now time.Time) {
	j := o.job
	j.cause = causeOf(j.delivery, answer.Cause)
	if at.Sub(now) <= w.shortWait || !j.doubt.ArrivedBy().IsZero() || !w.mayMove(j) {
		w.putBack(o, at)
		return
	}
	waiting := waitingRecord(j, at)
	waiting.Delivery = proto.CloneOf(j.claim.GetDelivery())
	waiting.Delivery.Renewals++ // there will be no payload to compare with
	if err := w.ledger.Defer(waiting); err != nil {
		w.log.Debug("a claim is kept over a long wait", "delivery", j.delivery.GetId(), "error", err)
		w.putBack(o, at)
		return
	}
	j.delivery, j.claim, j.givenUp, j.call = waiting.GetDelivery(), nil, nil, connectors.Call{}
	w.leaveLane(j) // its record is written once the ledger has its deferral
	w.wait(j, at, now)
	if expires := j.delivery.GetExpiresAt(); expires != nil {
		w.expiresAt(expires.AsTime())
	}
}

// startDeferred writes the records of those that a stored block defers.
func (w *worker) startDeferred(ctx context.Context, deferrals []*dispatchv1.Waiting) {
	for _, waiting := range deferrals {
		if j := w.jobs[waiting.GetDelivery().GetId()]; j != nil {
			w.startMove(ctx, j, waiting)
		}
	}
}

// wait puts a delivery that is out back in line, not before at.
func (w *worker) wait(j *job, at, now time.Time) { w.waitFor(j, at, at, now) }

// waitFor puts a delivery that is out back in line, not before at; a new owner is
// to wait for written. Where the wait is long, or its lane is crowded, it leaves
// the lane, and all that stand behind it follow.
func (w *worker) waitFor(j *job, at, written, now time.Time) {
	key, lane := j.delivery.GetKey(), j.delivery.GetLane()
	long := at.Sub(now) > w.shortWait || at.Sub(now) > movingRetry && w.delayed[lane] >= w.crowd()
	switch {
	case j.waiting || j.moving:
		w.queue.Move(key, at, laneWaiting)
	case long && w.mayMove(j):
		w.queue.Move(key, at, laneWaiting)
		w.toMove = append(w.toMove, move{j, written})
		w.leaveLane(j)
	default:
		if j.behind {
			w.queue.Move(key, at, laneWaiting)
		} else {
			w.queue.Retry(key, at)
		}
		if at.After(now) && !j.delayed {
			j.delayed = true
			w.delayed[lane]++
		}
	}
	w.follow(key)
}

// follow lets the first of a key's line that is still in its lane, behind those that
// are in WAITING, move there as well. One by one, and none before the record of the
// one before it is written: a new owner reads WAITING before the lanes, and what it
// finds there goes first.
func (w *worker) follow(key string) {
	for i, j := range w.queue.Line(key) {
		if j.waiting {
			continue
		}
		if i > 0 && !j.moving && w.mayMove(j) {
			w.toMove = append(w.toMove, move{j, time.Time{}})
			w.leaveLane(j)
		}
		return
	}
}

// mayMove reports whether there is room for another one in WAITING.
func (w *worker) mayMove(j *job) bool {
	return j.waiting || j.moving || w.away < maxWaiting
}

// crowd is how many deliveries may wait in a lane at a time. Above it every wait is
// written down.
func (w *worker) crowd() int { return w.places / 2 }

// leaveLane takes the delivery out of its lane's crowd; the caller sees to its record.
func (w *worker) leaveLane(j *job) {
	w.goes(j)
	if !j.waiting && !j.moving {
		w.away++
	}
	j.moving = true
}

// goes takes a delivery whose wait is over out of the crowd.
func (w *worker) goes(j *job) {
	if j.delayed {
		j.delayed = false
		w.delayed[j.delivery.GetLane()]--
	}
}

// move is a delivery that leaves its lane until at; zero where nothing but what it
// waits for counts.
type move struct {
	job *job
	at  time.Time
}

// moveAll begins to write down what leaves its lane.
func (w *worker) moveAll(ctx context.Context) {
	for _, m := range w.toMove {
		w.startMove(ctx, m.job, waitingRecord(m.job, m.at))
	}
	w.toMove = w.toMove[:0]
}

// startMove writes the delivery's record and then acknowledges its message, and
// goes on until the bus has taken both or the worker ends. Wherever that ends, the
// delivery is in one place or in both, and it is known by its id.
func (w *worker) startMove(ctx context.Context, j *job, waiting *dispatchv1.Waiting) {
	id := j.delivery.GetId()
	if j.span != nil {
		j.parent = j.span.SpanContext()
		j.span.End()
		j.span = nil
	}
	ctx = trace.ContextWithRemoteSpanContext(ctx, j.parent)
	w.finishers.Go(func() {
		w.movers <- struct{}{}
		defer func() { <-w.movers }()
		if w.insist(ctx, id, func() error {
			if err := w.publishWaiting(ctx, waiting); err != nil {
				return err
			}
			return w.acknowledgeMessage(ctx, j)
		}) {
			select {
			case w.moved <- id:
			case <-ctx.Done():
			}
		}
	})
}

func (w *worker) publishWaiting(ctx context.Context, waiting *dispatchv1.Waiting) error {
	data, err := proto.Marshal(waiting)
	if err != nil {
		return err
	}
	d := waiting.GetDelivery()
	_, err = w.records.Publish(ctx, bus.Message{Subject: bus.WaitingSubject(d.GetConnector(), d.GetKey(), d.GetId()), Data: data})
	return err
}

// hasMoved takes in that a delivery's record is in WAITING and its message is
// acknowledged.
func (w *worker) hasMoved(id string) {
	j := w.jobs[id]
	if j == nil {
		return
	}
	j.waiting, j.moving = true, false
	w.dismiss(j.message.Swap(nil)) // it may have come again meanwhile
	w.ledger.Acked(id)             // where it was deferred
	w.follow(j.delivery.GetKey())
}

// dismiss acknowledges a message whose delivery has another place.
func (w *worker) dismiss(m *bus.Incoming) {
	if m == nil {
		return
	}
	if err := m.AckAsync(); err != nil {
		w.log.Debug("a message whose delivery waits elsewhere could not be acknowledged; it comes again", "subject", m.Subject, "error", err)
	}
}

func waitingRecord(j *job, at time.Time) *dispatchv1.Waiting {
	waiting := &dispatchv1.Waiting{
		Delivery: j.delivery, Attempts: int32(j.attempts), Position: j.position, Cause: j.cause, //nolint:gosec // attempts are bounded by spec.retry
	}
	if !at.IsZero() {
		waiting.NextAttemptAt = timestamppb.New(at)
	}
	return waiting
}
