package throttledispatcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/telemetry"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/queue"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

// readWaiting reads what is in WAITING from a sequence on, in the order of the
// keys, and returns where it ended.
func (w *worker) readWaiting(ctx context.Context, from uint64) (found []waitsOn, end uint64, err error) {
	end = from
	for record, err := range w.records.Read(ctx, bus.StreamWaiting, bus.WaitingFilter(w.name), from) {
		if errors.Is(err, bus.ErrNotFound) {
			return nil, 0, fmt.Errorf("connector %s: there is no stream %s, the streams are of an older version; run peppasync apply: %w",
				w.name, bus.StreamWaiting, err)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("connector %s: reading what waits: %w", w.name, err)
		}
		end = record.Sequence + 1
		waiting := &dispatchv1.Waiting{}
		if err := proto.Unmarshal(record.Data, waiting); err != nil || waiting.GetDelivery().GetId() == "" {
			w.log.ErrorContext(ctx, "a record of WAITING cannot be read; it is left in the stream",
				"subject", record.Subject, "sequence", record.Sequence, "error", err)
			continue
		}
		parent := trace.SpanContextFromContext(telemetry.Extract(ctx, record.Header[telemetry.HeaderTraceparent], record.Header[telemetry.HeaderTracestate]))
		found = append(found, waitsOn{Waiting: waiting, parent: parent})
	}
	inOrder(found)
	return found, end, nil
}

// inOrder sorts what waits by the order of its keys.
func inOrder(left []waitsOn) {
	slices.SortStableFunc(left, func(a, b waitsOn) int { return cmp.Compare(a.GetPosition(), b.GetPosition()) })
}

// look is what a later reading of WAITING found. What the loop cannot take yet it
// gives back.
type look struct {
	found []waitsOn
	later chan<- []waitsOn
}

// lookAgain reads again and again what came into WAITING since it was read, from
// sequence from on: an owner before, which did not know yet that it was one, may
// have moved a delivery there, and acknowledged its message.
func (w *worker) lookAgain(ctx context.Context, from uint64) {
	tick := time.NewTicker(w.lookAfter)
	defer tick.Stop()
	var later []waitsOn
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		w.persist(ctx, "", func() error {
			found, end, err := w.readWaiting(ctx, from)
			if err != nil {
				return err
			}
			from, later = end, append(later, found...)
			return nil
		})
		if len(later) == 0 {
			continue
		}
		answer := make(chan []waitsOn, 1)
		select {
		case w.looks <- look{later, answer}:
			later = <-answer
		case <-ctx.Done():
			return
		}
	}
}

// takeLook takes in what a later reading of WAITING found: mostly what this owner
// has put there.
func (w *worker) takeLook(ctx context.Context, l look) {
	var later []waitsOn
	for _, left := range l.found {
		if !w.takeLeft(ctx, left) {
			later = append(later, left)
		}
	}
	l.later <- later
}

// waitsOn is what an earlier owner left in WAITING, or wanted to put there.
type waitsOn struct {
	*dispatchv1.Waiting
	parent trace.SpanContext
	// deferred: the ledger says so; whether its record was written is not known.
	deferred bool
}

// restoreWaiting reads what earlier owners left in WAITING and were to put there, as
// the ledger says, and returns the ids.
func (w *worker) restoreWaiting(ctx context.Context, deferrals []ledger.Deferral) (ids map[string]bool, err error) {
	if w.left, w.leftover.waitingFrom, err = w.readWaiting(ctx, 0); err != nil {
		return nil, err
	}
	at := map[string]int{}
	for i, left := range w.left {
		at[left.GetDelivery().GetId()] = i
	}
	for _, d := range deferrals {
		id := d.GetDelivery().GetId()
		i, there := at[id]
		switch {
		case there && proto.Equal(w.left[i].Waiting, d.Waiting):
			w.ledger.Acked(id)
		case there:
			// An older one, of a wait before.
			w.left[i].Waiting, w.left[i].deferred = d.Waiting, true
		default:
			at[id] = len(w.left)
			w.left = append(w.left, waitsOn{Waiting: d.Waiting, deferred: true})
		}
	}
	inOrder(w.left)
	ids = map[string]bool{}
	for id := range at {
		ids[id] = true
	}
	return ids, nil
}

// takeWaiting puts what earlier owners left in WAITING in line. It comes before
// the lanes are read: what follows in the same keys must find it there.
func (w *worker) takeWaiting(ctx context.Context) {
	for _, left := range w.left {
		w.takeLeft(ctx, left)
	}
	w.left = nil
}

// takeLeft puts a delivery of WAITING in line that is not known here. It returns
// false for one that is here with its message: when that is through, its result says
// what its record is worth.
func (w *worker) takeLeft(ctx context.Context, left waitsOn) bool {
	d := left.GetDelivery()
	if known := w.jobs[d.GetId()]; known != nil {
		return known.waiting || known.moving
	}
	j := &job{
		delivery: d, attempts: int(left.GetAttempts()),
		place: place{waiting: !left.deferred, moving: left.deferred, position: left.GetPosition(), cause: left.GetCause(), parent: left.parent},
	}
	item := queue.Item[*job]{ID: d.GetId(), Key: d.GetKey(), Lane: d.GetLane(), Sequence: j.position, NotBefore: left.GetNextAttemptAt().AsTime(), Value: j}
	if j.attempts > 0 {
		item.Lane = laneWaiting
	}
	w.away++
	w.admit(ctx, j, item)
	if left.deferred {
		w.startMove(ctx, j, left.Waiting)
	}
	return true
}
