package throttledispatcher

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/feedback"
)

// mostWords bounds what a person says of a reopening; the ledger keeps no more.
const mostWords = 500

// Replies can close a connector for a day, and a reply can be wrong: a reset in the
// wrong unit, a proxy of the other side. The closure is on record, so that neither a
// restart nor an edit ends it; a person does, and that is on record too.

// pauseUntil closes the connector until then, if that is later than what holds now, and
// calls back what waits for its send time. That is put on record at once: a successor
// who does not know of it would break the pause.
func (w *worker) pauseUntil(until time.Time, because string) {
	if until.After(w.budget.ClosedUntil()) {
		w.urgent = true
		w.budget.Close(until)
		w.because = because
		w.ledger.Because(because)
	}
	w.recall()
}

// throttledBecause says of a throttled reply why the connector is closed.
func throttledBecause(answer connectors.Answer, wait time.Duration) string {
	what := "it throttled a call (" + answer.Cause.Code
	if answer.Cause.Detail != "" {
		what += ": " + answer.Cause.Detail
	}
	if answer.WaitSaid && answer.Wait == wait {
		return fmt.Sprintf("%s) and asks to wait for %v", what, wait)
	}
	return fmt.Sprintf("%s) and does not say for how long to wait; this pause is %v", what, wait.Round(time.Millisecond))
}

// pausedUntil returns until when replies ask for nothing to be sent, and why; zero where
// they do not.
func (w *worker) pausedUntil(now time.Time) (until time.Time, because string) {
	until, because = w.budget.ClosedUntil(), cmp.Or(w.because, "its replies asked for it")
	if rest := w.breaker.Resting(); rest.After(until) {
		until, because = rest, "it is down, and its replies ask that it be left alone"
	}
	if !until.After(now) {
		return time.Time{}, ""
	}
	return until, because
}

// howToReopen is what the log says of a pause.
func (w *worker) howToReopen() string { return "peppasync connectors reopen " + w.name }

// reopen ends what pausedUntil returns, by a person's word; false where there is nothing
// to end. The pace stays as low as replies have made it, and grows from now on.
func (w *worker) reopen(by, reason string, now time.Time) (was *ledgerv1.Reopening, err error) {
	until, because := w.pausedUntil(now)
	if until.IsZero() {
		return nil, nil //nolint:nilnil // not closed is an answer
	}
	was = &ledgerv1.Reopening{
		At: timestamppb.New(now), By: by, Reason: reason, ClosedUntil: timestamppb.New(until), ClosedBecause: because,
	}
	if err := w.ledger.Reopen(was); err != nil {
		return nil, err
	}
	w.budget.Reopen()
	w.because = ""
	w.breaker.Rest(now, 0)
	w.refusals.Forget()
	w.others.Reopened(now)
	w.pace.Resumed(now)
	for _, j := range w.jobs {
		if j.refused != (feedback.OwnRefusals{}) {
			w.queue.Hasten(j.delivery.GetKey()) // it waits for the end of the pause
		}
	}
	w.log.Warn("a person has ended the pause that replies asked for; feeding goes on",
		"by", by, "reason", reason, "closed_until", until, "because", because)
	return was, nil
}

// reopeningRecorded tells whoever waits for it that the block is on record.
func (w *worker) reopeningRecorded(block *ledgerv1.Block) {
	if w.reopened != nil && len(block.GetReopenings()) > 0 {
		close(w.reopened)
		w.reopened = nil
	}
}

// ReopenConnector is part of DispatcherService.
func (s *service) ReopenConnector(ctx context.Context, r *dispatcherv1.ReopenConnectorRequest) (*dispatcherv1.ReopenConnectorResponse, error) {
	d, name := s.dispatcher, r.GetConnector()
	for what, words := range map[string]string{"connector": name, "by": r.GetBy(), "reason": r.GetReason()} {
		if strings.TrimSpace(words) == "" || len(words) > mostWords {
			return nil, status.Errorf(codes.InvalidArgument, "%s has %d bytes; it is required, and at most %d", what, len(words), mostWords)
		}
	}
	if _, ok := d.connectors()[name]; !ok {
		return nil, status.Errorf(codes.NotFound, "the catalog has no connector %q", name)
	}
	slot := d.board.slot(name)
	if slot.shown.Load() == nil {
		return nil, status.Errorf(codes.Unavailable, "this replica (%s) does not feed connector %s, or not yet; ask the others, or again", d.config.Owner, name)
	}
	var was *ledgerv1.Reopening
	var err error
	recorded := make(chan struct{})
	if !slot.tell(ctx, func(w *worker) {
		if was, err = w.reopen(r.GetBy(), r.GetReason(), time.Now()); was != nil {
			w.reopened = recorded
		}
	}) {
		return nil, status.Errorf(codes.Unavailable, "connector %s has no time for it; ask again", name)
	}
	switch {
	case err != nil:
		return nil, status.Errorf(codes.Unavailable, "connector %s cannot be reopened now; ask again: %v", name, err)
	case was == nil:
		return nil, status.Errorf(codes.FailedPrecondition,
			`no reply keeps connector %s closed; "peppasync connectors %s" shows what it does or waits for`, name, name)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case <-recorded:
	case <-ctx.Done():
		return nil, status.Errorf(codes.Unavailable,
			"connector %s is open, but that is not on record yet: whoever feeds it after this replica would keep the pause; ask again", name)
	}
	return &dispatcherv1.ReopenConnectorResponse{ClosedUntil: was.GetClosedUntil(), ClosedBecause: was.GetClosedBecause()}, nil
}
