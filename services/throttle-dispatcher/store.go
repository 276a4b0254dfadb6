package throttledispatcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/peppasync/peppasync/services/internal/bus"
)

// writeBlock makes everything known so far durable, and only then starts the
// flights and tells requesters about the closes. An error means that another
// owner writes this ledger, or that it cannot be known whether the block is
// there: the worker must start again from the ledger, with none of the flights
// sent.
func (w *worker) writeBlock(ctx context.Context, flights []flight) error {
	if len(flights) == 0 && !w.ledger.Pending() && !w.ledger.Aged(time.Now()) {
		return nil
	}
	block := w.ledger.Build(time.Now(), w.budget)
	if err := w.certify(block); err != nil {
		return fmt.Errorf("connector %s: %w", w.name, err)
	}
	data, err := proto.Marshal(block)
	if err != nil {
		return fmt.Errorf("connector %s: encoding a ledger block: %w", w.name, err)
	}
	sequence, err := w.store(ctx, data)
	if err != nil {
		return err
	}
	w.ledger.Committed(sequence)
	w.certified(block)
	w.reopeningRecorded(block)
	w.lastBlock = time.Now()
	if w.replied {
		w.repliedAt, w.replied, w.urgent = w.lastBlock, false, false
	}
	w.keepParallel(w.lastBlock)
	for _, f := range flights {
		w.launch(ctx, f)
	}
	for _, closing := range block.GetCloses() {
		// The one with its value.
		w.publishClose(ctx, w.closed[closing.GetResult().GetDeliveryId()])
	}
	w.startDeferred(ctx, block.GetDeferrals())
	return nil
}

// store writes a block by compare-and-set. While the bus is silent it repeats
// the same block: to give up would cut off the calls that are under way, and
// leave their outcomes unknown for a reason that has nothing to do with them.
func (w *worker) store(ctx context.Context, data []byte) (uint64, error) {
	subject, last := bus.LedgerSubject(w.name), w.ledger.LastSequence()
	var silence trouble
	for {
		var sequence uint64
		var err error
		w.lookedAt(func() { sequence, err = w.storeOnce(ctx, subject, last, data) })
		if err == nil {
			if lasted, was := silence.ends(time.Now()); was {
				w.log.InfoContext(ctx, "the bus takes the ledger again; sending goes on", "after", lasted)
			}
			return sequence, nil
		}
		if ctx.Err() != nil || !bus.IsUnavailable(err) && !bus.IsFull(err) {
			return 0, fmt.Errorf("connector %s: writing a ledger block: %w", w.name, err)
		}
		if silence.begins(time.Now()) {
			w.log.WarnContext(ctx, "the bus does not take the ledger; nothing is sent until it does", "error", err)
		}
		w.lookedAt(func() {
			select {
			case <-time.After(blockRetry):
			case <-ctx.Done():
			}
		})
	}
}

// lookedAt waits for what the bus answers, and lets people look at the worker
// meanwhile: they ask most while it is silent. What wait changes nobody looks at.
func (w *worker) lookedAt(wait func()) {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		wait()
	}()
	for {
		select {
		case look := <-w.slot.asked:
			look(w)
		case <-answered:
			return
		}
	}
}

// errTakenOver ends a worker whose ledger somebody else has written: mostly the one who
// has its lease by now.
var errTakenOver = errors.New("another dispatcher wrote its ledger")

func (w *worker) storeOnce(ctx context.Context, subject string, last uint64, data []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, blockTimeout)
	defer cancel()
	before := time.Now()
	block := bus.Message{Subject: subject, Data: data, ExpectLast: &last}
	ack, err := w.records.Publish(ctx, block)
	switch {
	case err == nil:
		w.watchStore(ctx, time.Since(before))
		return ack.Sequence, nil
	case !bus.IsConflict(err):
		return 0, err
	}
	// An attempt whose answer was lost conflicts with its own repetition, which as
	// long as that attempt is not stored is to be repeated once more.
	newest, lastErr := bus.Instead(ctx, w.records, bus.StreamLedger, block, err)
	switch {
	case lastErr != nil:
		return 0, lastErr
	case bytes.Equal(newest.Data, data):
		return newest.Sequence, nil
	}
	return 0, fmt.Errorf("%w (sequence %d): %w", errTakenOver, newest.Sequence, err)
}

// watchStore tells the log, now and then, that the store is too slow for the pace.
func (w *worker) watchStore(ctx context.Context, took time.Duration) {
	if now := time.Now(); took > blockSlow && now.Sub(w.toldSlow) > time.Minute {
		w.toldSlow = now
		w.log.WarnContext(ctx, "the bus was slow to store a block of the ledger; calls were late, and the pace suffered", "took", took)
	}
}
