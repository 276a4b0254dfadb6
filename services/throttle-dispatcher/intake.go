package throttledispatcher

import (
	"context"
	"math"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/fault"
	"github.com/peppasync/peppasync/services/internal/run"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"
)

// keepPerLane is how many deliveries of a lane are held here at most. The rest wait
// in the stream, where they cost no memory: here it is some 2 kB each with what the
// collector leaves over. So where there are many connectors they share keepTogether
// of them, as if each had its work in one lane, down to leastPerLane: more than a
// second's worth at 100 a second.
const (
	keepPerLane  = 512
	keepTogether = 25_600
	leastPerLane = 128
)

const (
	// heldFor is how long a delivery is held here at a quick connector, beside its call:
	// bound and claimed up to a horizon ahead, on record after the next block, its result
	// published and its message acknowledged. Fewer places than the pace makes of it are
	// the pace: 512 of them were 640 calls a second.
	heldFor = 2 * time.Second
	// mostForPace bounds what a lane holds for the sake of a pace. Those of all
	// connectors together share keepTogether all the same.
	mostForPace = 8192
)

// placesPerLane returns how many deliveries each lane holds beside so many
// connectors: as many as its limits allow to be dealt with at a time, if that is more,
// as long as all together are not too many.
func placesPerLane(connectors int, limits budget.Limits) int {
	shared := max(leastPerLane, min(keepPerLane, keepTogether/max(1, connectors)))
	pace := callsPerSecond(limits)
	if math.IsInf(pace, 1) {
		return shared // it takes what it gets
	}
	most := min(mostForPace, keepTogether/max(1, connectors))
	return max(shared, int(min(float64(most), pace*heldFor.Seconds()+float64(maxConcurrency(limits)))))
}

// startIntake reads every lane of the connector into the loop until ctx is
// done, and looks after what earlier owners left. The channel closes when all of
// that has ended.
func (w *worker) startIntake(ctx context.Context, left leftover) <-chan struct{} {
	done := make(chan struct{})
	var readers errgroup.Group
	declared := map[string]bool{}
	readers.Go(func() error {
		w.tidy(ctx, left)
		return nil
	})
	readers.Go(func() error {
		w.lookAgain(ctx, left.waitingFrom)
		return nil
	})
	for _, lane := range w.spec.Spec.Lanes {
		declared[lane.Name] = true
		readers.Go(func() error { return w.readLane(ctx, lane.Name) })
	}
	readers.Go(func() error {
		w.readOldLanes(ctx, declared)
		return nil
	})
	go func() {
		_ = readers.Wait() // Supervise returns when ctx is done
		close(done)
	}()
	return done
}

// readLane hands the messages of a lane to the loop until ctx is done.
func (w *worker) readLane(ctx context.Context, lane string) error {
	return run.Supervise(ctx, w.log, "lane "+lane, func(ctx context.Context) error {
		return w.config.Bus.Consume(ctx, bus.ConsumerOptions{
			Stream: bus.StreamDispatch, Durable: laneConsumer(w.name, lane),
			Filters:       []string{bus.DispatchLaneFilter(w.name, lane)},
			MaxAckPending: w.places, AckWait: ackWait, Prefetch: w.places,
			// What an earlier owner held comes again first, in order. One that did
			// not give it up may hang, with its hand still out.
			Reset: true, Anew: w.seizure.due(lane), Renewed: func() { w.seizure.done(lane) }, Before: w.holds,
			// Most of hundreds of connectors, each with some lanes, have nothing to do.
			Quiet: true,
		}, w.hand)
	})
}

// hand gives a message to the loop; while the loop is busy the stream waits.
func (w *worker) hand(ctx context.Context, m *bus.Incoming) {
	select {
	case w.incoming <- m:
	case <-ctx.Done():
	}
}

// take puts a message in line, or finishes it if its delivery is closed; one that is no
// delivery that may be made is put aside.
func (w *worker) take(ctx context.Context, m *bus.Incoming) {
	d, cause := readDelivery(m.Subject, m.Data)
	if cause != nil {
		w.turnAway(ctx, m, cause)
		return
	}
	id := d.GetId()
	if known, ok := w.jobs[id]; ok {
		if key := known.delivery.GetKey(); key != d.GetKey() {
			// To take one for the other would lose one of them.
			w.turnAway(ctx, m, &fault.Cause{Code: causeRefused, Detail: "its id is that of a delivery of " + told(key, maxTold)})
			return
		}
		w.takeAgain(known, d.GetLane(), m)
		return
	}
	j := &job{delivery: d, place: place{position: m.Sequence}}
	j.message.Store(m)
	j.parent = trace.SpanContextFromContext(m.Context(ctx))
	w.admit(ctx, j, queue.Item[*job]{ID: id, Key: d.GetKey(), Lane: d.GetLane(), Sequence: m.Sequence, Since: m.Time, Value: j})
	w.follow(d.GetKey())
}

// takeAgain takes in a message of a delivery that is here already: a redelivery of what
// still waits or is being finished, or the delivery in another lane, where its requester
// has put it since.
func (w *worker) takeAgain(known *job, lane string, m *bus.Incoming) {
	held := known.message.Load()
	switch {
	case known.waiting, held != nil && m.Subject != held.Subject && m.Sequence < held.Sequence:
		w.dismiss(m)
	case held == nil || m.Subject == held.Subject:
		known.message.Store(m)
	default:
		known.message.Store(m)
		w.changeLane(known, lane, m)
		w.dismiss(held)
	}
}

// changeLane puts a delivery in line where its newest message is. One that is out, or
// stands with those that waited, stays: it goes by another order already.
func (w *worker) changeLane(j *job, lane string, m *bus.Incoming) {
	if !w.queue.ChangeLane(j.delivery.GetId(), lane, m.Sequence, m.Time) {
		return
	}
	delayed := j.delayed
	w.goes(j)
	// Not the one that is there: what is written of it at this moment reads it.
	j.delivery = proto.CloneOf(j.delivery)
	j.delivery.Lane = lane
	if delayed {
		j.delayed = true
		w.delayed[lane]++
	}
}

// admit puts a delivery in line, with what the ledger knows of it, or finishes it
// if it is closed.
func (w *worker) admit(ctx context.Context, j *job, item queue.Item[*job]) {
	id, d := item.ID, j.delivery
	w.jobs[id] = j
	if closing, ok := w.closed[id]; ok {
		j.restored = true
		w.publishClose(ctx, closing)
		return
	}
	if claim, ok := w.open[id]; ok {
		item.NotBefore = j.takeUp(claim)
		delete(w.open, id)
	}
	if expires := d.GetExpiresAt(); expires != nil {
		w.expiresAt(expires.AsTime())
	}
	if !j.waiting && !j.moving { // else it begins when the wait is over
		w.startSpan(ctx, j)
	}
	w.queue.Add(item)
}

// startSpan opens the delivery's span where it has none: it ends when the delivery
// is closed or begins a long wait.
func (w *worker) startSpan(ctx context.Context, j *job) {
	if j.span != nil {
		return
	}
	d := j.delivery
	_, j.span = w.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, j.parent), "dispatch "+d.GetOperation(), //nolint:spancheck // see above
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("peppasync.connector", d.GetConnector()),
			attribute.String("peppasync.key", d.GetKey()),
			attribute.String("peppasync.delivery", d.GetId()),
		))
}

// keepAlive tells JetStream that the messages held here are being worked on.
func (w *worker) keepAlive() {
	for id, j := range w.jobs {
		if w.closed[id] != nil {
			continue // its message is being acknowledged
		}
		m := j.message.Load()
		if m == nil {
			continue // it waits elsewhere
		}
		if err := m.InProgress(); err != nil {
			w.log.Warn("could not renew the hold on waiting messages; they may come again, which does no harm", "delivery", id, "error", err)
			return
		}
	}
}

// respec takes a changed Connector in. What only bounds the pace changes here;
// for the rest the worker starts again, with its calls brought home.
func (w *worker) respec(connector *v1alpha1.Connector) error {
	previous := w.spec
	w.spec = connector
	if equality.Semantic.DeepEqual(previous.Spec, connector.Spec) {
		return nil
	}
	limits, err := limitsOf(connector)
	if err != nil {
		return err
	}
	if !sameButPace(previous, connector) || maxConcurrency(limits) != w.connections || placesPerLane(w.beside, limits) > w.places {
		return errRespecified
	}
	if err := w.budget.SetLimits(time.Now(), limits); err != nil {
		return err
	}
	if err := w.ledger.SetLimits(limits); err != nil {
		return err
	}
	w.budget.Ahead(w.ahead())
	w.others, w.nextCost = othersOf(limits), 1
	if err := w.watchMaintenance(time.Now()); err != nil {
		return err
	}
	w.breaker.Set(outageSettings(limits, w.question().Cost))
	// What was handed out and is not on its way is handed out anew, if at all, by
	// the limits that hold now.
	w.recall()
	w.log.Info("the connector's spec changed", "limits", len(connector.Spec.Limits), "paused", connector.Spec.Paused)
	return nil
}
