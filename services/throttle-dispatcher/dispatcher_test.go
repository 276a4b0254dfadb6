package throttledispatcher_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// unknownConfiguration refuses orders with the note "unknown" for good.
func unknownConfiguration(w http.ResponseWriter, _ *http.Request, body string) int {
	if !strings.Contains(body, `"configuration":"unknown"`) {
		return http.StatusCreated
	}
	w.Header().Set("Content-Type", "application/problem+json")
	_, _ = io.WriteString(w, `{"type":"https://wms.example/problems/unknown-configuration","detail":"configuration 'unknown' is not known"}`)
	return http.StatusUnprocessableEntity
}

func TestDeliversWithinTheLimitAndHoldsOnlyTheBadOne(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 40, time.Second)
	w.account.answer(unknownConfiguration)
	const orders = 120
	for i := range orders {
		note := ""
		if i == 50 {
			note = "unknown"
		}
		w.want(i, note)
	}
	w.start()
	for key, result := range w.results(orders) {
		outcome := dispatchv1.Outcome_OUTCOME_DELIVERED
		if key == keyOf(50) {
			outcome = dispatchv1.Outcome_OUTCOME_HELD
			if result.GetCause().GetCode() != "unknown-configuration" {
				t.Errorf("held because of %q, want unknown-configuration", result.GetCause().GetCode())
			}
			if _, err := w.bus.Last(t.Context(), bus.StreamErrorHold, bus.HoldSubject("wms", key, result.GetDeliveryId())); err != nil {
				t.Errorf("no entry in the Error Hold: %v", err)
			}
		}
		if result.GetOutcome() != outcome || result.GetRevision() != 3 {
			t.Errorf("%s: outcome %v of revision %d, want %v of 3", key, result.GetOutcome(), result.GetRevision(), outcome)
		}
	}
	w.account.within(t, 40, time.Second)
	if n := len(w.account.seen()); n != orders {
		t.Errorf("%d calls for %d orders", n, orders)
	}
	if got := w.account.on("/orders/shopify-7"); len(got) != 1 || !strings.Contains(got[0].body, `"reference":"#7"`) {
		t.Errorf("order 7 arrived as %v", got)
	}
}

func TestDeliveryThatIsClosedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	stop := w.start()
	w.want(1, "")
	w.delivered(1)
	stop()
	// A requester that crashed before its acknowledgment asks once more.
	w.ask(delivery(1))
	w.want(2, "")
	w.start()
	w.delivered(2)
	if n := len(w.account.on("/orders/shopify-1")); n != 1 {
		t.Errorf("order 1 was sent %d times, want once", n)
	}
}

// Who is told to stop before it has begun has not failed.
func TestStoppedBeforeItHasBegun(t *testing.T) {
	w := newWorld(t, 100, time.Second)
	for range 20 {
		w.start()() // it says how it ended
	}
}
