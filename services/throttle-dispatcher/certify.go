package throttledispatcher

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"
)

// audit lets the auditor judge by the newest limits.
func (w *worker) audit() error {
	if w.audited == w.spec {
		return nil
	}
	limits, err := limitsOf(w.spec)
	if err != nil {
		return err
	}
	if err := w.auditor.SetLimits(limits); err != nil {
		return err
	}
	w.audited = w.spec
	return nil
}

// certify writes into a block what an auditor needs who begins to read with it.
// The limits are those by which its permits were handed out.
func (w *worker) certify(block *ledgerv1.Block) error {
	if err := w.audit(); err != nil {
		return err
	}
	block.Peaks, block.RestoredAt = w.auditor.Peaks(), timestamppb.New(w.restoredAt)
	return nil
}

// certified reads a block that is on disk.
func (w *worker) certified(block *ledgerv1.Block) {
	w.auditor.Add(block, w.backlogged(time.Now()))
	w.before.deliveries.add(block.GetCloses())
}

// backlogged reports whether deliveries wait for nothing but the pace.
func (w *worker) backlogged(now time.Time) bool {
	return !w.spec.Spec.Paused && !w.breaker.Open() && !w.silence.kept && !now.Before(w.quiet(now)) && w.queue.Ready(now)
}

// leave ends the worker's place on the board.
func (w *worker) leave() {
	total := w.before
	total.calls += w.auditor.Report(time.Now()).Calls
	w.slot.leave(total)
}

// settlement is what the ledger says of a call that was written.
func (w *worker) settlement(o outcome, spent int64) ledger.Settlement {
	number := o.permit.Number
	left := w.leftAt[number]
	delete(w.leftAt, number)
	s := ledger.Settlement{
		Number: number, FirstByteAt: w.steady(o.result.FirstByteAt), IssuedAt: w.steady(left), SettledAt: w.steady(o.result.SettledAt),
	}
	if spent != o.permit.Cost {
		s.Spent = &spent
	}
	return s
}

// readingError is more than two readings of the wall clock are off by chance.
const readingError = time.Millisecond

// steady returns t by the clock of the send times: the wall clock when the worker
// began, and the monotonic one since. The two readings of one time.Now are taken
// one after the other, which is enough to put a call on the wrong side of a
// window. A wall clock that was set is followed.
func (w *worker) steady(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	steady := w.restoredAt.Add(t.Sub(w.restoredAt))
	if off := steady.Round(0).Sub(t.Round(0)); off.Abs() > readingError {
		return t
	}
	return steady
}
