package throttledispatcher_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

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
