package throttledispatcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
)

// restore learns from the ledger what earlier owners handed out, claimed and
// closed.
func (w *worker) restore(ctx context.Context, limits budget.Limits) error {
	state, err := w.readLedger(ctx)
	if err != nil {
		return fmt.Errorf("connector %s: reading its ledger: %w", w.spec.Name, err)
	}
	w.restoredAt = time.Now()
	history := state.History(w.predecessor)
	w.budget.Restore(w.restoredAt, history)
	for _, p := range history.Permits {
		w.repliedAt = latest(w.repliedAt, p.SettledAt)
	}
	w.remember(state)
	w.because = state.ClosedBecause
	identity := ledger.Identity{Connector: w.spec.Name, Owner: w.config.Owner, Epoch: w.epoch}
	if w.ledger, err = ledger.NewRecorder(identity, limits, state); err != nil {
		return fmt.Errorf("connector %s: %w", w.spec.Name, err)
	}
	if w.carryAge > 0 {
		w.ledger.CarryAfter(w.carryAge)
	}
	waiting, err := w.restoreWaiting(ctx, state.Deferrals)
	if err != nil {
		return err
	}
	for _, claim := range state.Claims {
		w.open[claim.GetDelivery().GetId()] = claim.Claim
		if !waiting[claim.GetDelivery().GetId()] {
			w.leftover.claims = append(w.leftover.claims, claim.Claim)
		}
	}
	for _, closing := range state.Closes {
		w.closed[closing.GetResult().GetDeliveryId()] = closing.Close
		if !waiting[closing.GetResult().GetDeliveryId()] {
			w.leftover.closes = append(w.leftover.closes, closing.Close)
		}
	}
	return nil
}

// readLedger folds what the newest block says is still needed.
func (w *worker) readLedger(ctx context.Context) (ledger.State, error) {
	subject := bus.LedgerSubject(w.spec.Name)
	last, err := w.records.Last(ctx, bus.StreamLedger, subject)
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
	for record, err := range w.records.Read(ctx, bus.StreamLedger, subject, from) {
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
		w.auditor.Add(block, false)
	}
	return folder.State()
}

// leftover is what the ledger holds of earlier owners. Mostly its messages come
// again and take it up; what has no message left would stay for good.
type leftover struct {
	closes []*ledgerv1.Close
	claims []*ledgerv1.Claim
	// waitingFrom is up to where WAITING was read.
	waitingFrom uint64
}

// tidy looks for the messages of what earlier owners left, beside the loop. A
// close without one is done: its message is acknowledged after its result is
// published, and only the note of it was lost. A claim without one lost its
// message by some accident of the store, so it is asked for again.
func (w *worker) tidy(ctx context.Context, left leftover) {
	for _, closing := range left.closes {
		result := closing.GetResult()
		w.persist(ctx, result.GetDeliveryId(), func() error {
			waits, err := w.waits(ctx, result.GetDeliveryId())
			if err != nil || waits {
				return err
			}
			// Not its hold: that may have been released meanwhile. And nothing without its
			// value, which was published: it may have gone since.
			if !closing.GetValueLeftOut() {
				if err := w.publishResult(ctx, result); err != nil {
					return err
				}
			}
			select {
			case w.gone <- result.GetDeliveryId():
			case <-ctx.Done():
			}
			return nil
		})
	}
	for _, claim := range left.claims {
		d := claim.GetDelivery()
		w.persist(ctx, d.GetId(), func() error {
			waits, err := w.waits(ctx, d.GetId())
			if err != nil || waits {
				return err
			}
			select {
			case w.lost <- claim:
			case <-ctx.Done():
			}
			return nil
		})
	}
}

// persist repeats what fails until ctx is done.
func (w *worker) persist(ctx context.Context, id string, do func() error) {
	for told := false; ctx.Err() == nil; {
		err := do()
		if err == nil {
			return
		}
		if ctx.Err() == nil && !told {
			told = true
			w.log.WarnContext(ctx, "could not look for the message of what an earlier owner left; it is tried again", "delivery", id, "error", err)
		}
		select {
		case <-time.After(finishRetry):
		case <-ctx.Done():
		}
	}
}

// waits reports whether the delivery's message is in a lane, also in one that the
// catalog does not name any more.
func (w *worker) waits(ctx context.Context, id string) (bool, error) {
	_, err := w.records.Last(ctx, bus.StreamDispatch, bus.DispatchDeliveryFilter(w.name, id))
	if errors.Is(err, bus.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// forgetGone ends the memory of a delivery that an earlier owner closed, unless
// its message has come meanwhile: then that is acknowledged first.
func (w *worker) forgetGone(id string) {
	if w.jobs[id] == nil {
		w.forget(id)
	}
}

// askAgain publishes the delivery of a claim that has lost its message, unless
// that had come and was taken up meanwhile.
func (w *worker) askAgain(ctx context.Context, claim *ledgerv1.Claim) {
	d := claim.GetDelivery()
	if w.open[d.GetId()] == nil {
		return
	}
	w.log.WarnContext(ctx, "a delivery that is under way has lost its message; it is asked for again", "delivery", d.GetId())
	w.finishers.Go(func() {
		w.persist(ctx, d.GetId(), func() error {
			return w.publishNew(ctx, bus.StreamDispatch, bus.DispatchSubject(d.GetConnector(), d.GetLane(), d.GetKey(), d.GetId()), d)
		})
	})
}

// isQuery reports whether the delivery asks for no effect.
func (w *worker) isQuery(d *dispatchv1.Delivery) bool {
	operation, ok := w.system.Operations(&w.spec.Spec)[d.GetOperation()]
	return ok && operation.Effect == connectors.EffectNone
}
