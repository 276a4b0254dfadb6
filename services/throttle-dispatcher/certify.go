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
	w.deliveries.add(block.GetCloses())
}

// backlogged reports whether deliveries wait for nothing but the pace.
func (w *worker) backlogged(now time.Time) bool {
	return !w.spec.Spec.Paused && !w.breaker.Open() && !now.Before(w.quiet(now)) && w.queue.Ready(now)
}

// settlement is what the ledger says of a call that was written.
func (w *worker) settlement(o outcome) ledger.Settlement {
	number := o.permit.Number
	left := w.leftAt[number]
	delete(w.leftAt, number)
	return ledger.Settlement{Number: number, FirstByteAt: o.result.FirstByteAt, IssuedAt: left, SettledAt: o.result.SettledAt}
}
