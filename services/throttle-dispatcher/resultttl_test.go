package throttledispatcher_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// A result that is read within seconds goes when its requester said; others stay.
func TestResultThatGoes(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 100, time.Second)
	w.account.answer(func(w http.ResponseWriter, _ *http.Request, _ string) int {
		_, _ = io.WriteString(w, `{}`)
		return http.StatusOK
	})
	w.start()
	brief, lasting := query("brief"), query("lasting")
	brief.ResultTtl = durationpb.New(5 * time.Second)
	w.ask(brief)
	w.ask(lasting)
	w.eventually("the brief one is answered", func() bool { return w.resultOf(brief) != nil })
	w.eventually("the other is answered", func() bool { return w.resultOf(lasting) != nil })
	w.allAcknowledged(brief, lasting)
	w.eventually("the brief one is gone", func() bool { return w.resultOf(brief) == nil })
	if w.resultOf(lasting) == nil {
		t.Error("the other is gone, too")
	}
	if n := len(w.account.seen()); n != 2 {
		t.Errorf("%d calls for two questions", n)
	}
}

// closeOf returns how the ledger has the end of a delivery, nil where it has none.
func (w *world) closeOf(d *dispatchv1.Delivery) *ledgerv1.Close {
	w.t.Helper()
	for record, err := range w.bus.Read(w.t.Context(), bus.StreamLedger, bus.LedgerSubject("wms"), 1) {
		block := &ledgerv1.Block{}
		if err == nil {
			err = proto.Unmarshal(record.Data, block)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for _, closing := range block.GetCloses() {
			if closing.GetResult().GetDeliveryId() == d.GetId() {
				return closing
			}
		}
	}
	return nil
}

// The ledger, which stays for a month, has no answer that its requester needs for minutes.
// An owner that ends between the ledger and RESULT takes it along: then its requester is
// told to ask again. Other answers are published from the ledger, and what is published
// stays as it was.
func TestKilledBetweenTheLedgerAndAnAnswerThatGoes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		brief, atResult bool
		want            dispatchv1.Outcome
	}{
		"an answer that goes":                       {true, true, dispatchv1.Outcome_OUTCOME_EXPIRED},
		"an answer that goes, when it is published": {true, false, dispatchv1.Outcome_OUTCOME_DELIVERED},
		"another": {false, true, dispatchv1.Outcome_OUTCOME_DELIVERED},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, time.Second)
			w.account.answer(func(w http.ResponseWriter, _ *http.Request, _ string) int {
				_, _ = io.WriteString(w, `{"pages": 1}`)
				return http.StatusOK
			})
			d := query("q")
			if c.brief {
				d.ResultTtl = durationpb.New(time.Hour)
			}
			w.ask(d)
			killer := deadlyAfter(1000)
			killer.atResult, killer.atAck = c.atResult, !c.atResult
			kill := w.start(killer.before(), throttledispatcher.Abrupt)
			<-killer.died
			kill()
			closing := w.closeOf(d)
			if closing.GetValueLeftOut() != c.brief || (closing.GetResult().GetValue() == nil) != c.brief {
				t.Errorf("the ledger has %v", closing)
			}
			w.start()
			w.allAcknowledged(d)
			result := w.resultOf(d)
			if result.GetOutcome() != c.want || (result.GetValue() != nil) != (c.want == dispatchv1.Outcome_OUTCOME_DELIVERED) {
				t.Errorf("the result is %v, want %s", result, c.want)
			}
			if c.want == dispatchv1.Outcome_OUTCOME_EXPIRED && result.GetCause().GetCode() != "answer-lost" {
				t.Errorf("the cause is %v", result.GetCause())
			}
			if n := len(w.account.seen()); n != 1 {
				t.Errorf("%d calls for a question", n)
			}
		})
	}
}

// A stream that an older build has made takes results without their TTL, alone and in a
// batch, so that nothing stops before it is brought up to date.
func TestResultsOnAStreamThatTakesNoTTL(t *testing.T) {
	t.Parallel()
	needs(t, roomToWait)
	b := bustest.Start(t)
	together := throttledispatcher.NewTogether(throttledispatcher.OnBus(b), slog.New(slog.DiscardHandler))
	subject := "ledger.v1.any" // of a stream without it
	if err := together.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte("kept"), TTL: time.Second}); err != nil {
		t.Fatal(err)
	}
	if found, err := b.Last(t.Context(), bus.StreamLedger, subject); err != nil || string(found.Data) != "kept" {
		t.Errorf("stored is %q, %v", found.Data, err)
	}
	if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, TTL: time.Second}); !bus.IsTTLRefused(err) || errors.Is(err, bus.ErrNotFound) {
		t.Errorf("the stream takes a TTL: %v", err)
	}
}
