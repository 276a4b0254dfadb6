package throttledispatcher_test

import (
	"net/http"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
)

// replies answers calls with these statuses one after the other, the last one for
// ever, and questions with 200.
func (w *world) replies(statuses ...int) {
	w.account.answer(func(rw http.ResponseWriter, r *http.Request, _ string) int {
		if r.URL.Path == "/health" {
			return http.StatusOK
		}
		next := statuses[0]
		if len(statuses) > 1 {
			statuses = statuses[1:]
		}
		if next == http.StatusTooManyRequests {
			rw.Header().Set("Retry-After", "1")
		}
		return next
	})
}

// A refusal says nothing of an earlier attempt whose outcome is unknown.
func TestAHoldAfterAnUnknownAttemptIsInDoubt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		operation string
		statuses  []int
		inDoubt   bool
	}{
		"refused after an unknown attempt":       {"putOrder", []int{500, 422}, true},
		"throttled between":                      {"putOrder", []int{500, 429, 422}, true},
		"refused at once":                        {"putOrder", []int{422}, false},
		"an attempt without effect before":       {"putOrder", []int{503, 422}, false},
		"a query, whose attempts have no effect": {"read", []int{500, 422}, false},
		"in conflict at once":                    {"putOrder", []int{409}, false},
		"in conflict for ever":                   {"putOrder", []int{500, 409}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 20, time.Second)
			w.catalog.respec(attempts(2))
			w.replies(test.statuses...)
			w.store(1, "")
			d := delivery(1)
			d.Operation = test.operation
			w.ask(d)
			w.start()
			result := w.results(1)[keyOf(1)]
			if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD {
				t.Fatalf("%v because of %v, want held", result.GetOutcome(), result.GetCause())
			}
			if got := w.hold(result).GetInDoubt(); got != test.inDoubt {
				t.Errorf("in doubt %v because of %v, want %v", got, result.GetCause(), test.inDoubt)
			}
		})
	}
}

// A conflict that a repetition meets may be its own first attempt, under way or
// done. It is repeated.
func TestAConflictAfterAnUnknownAttemptIsNoRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20, time.Second)
	w.replies(500, 409, 201)
	w.want(1, "")
	w.start()
	w.delivered(1)
	if calls := w.account.on("/orders/shopify-1"); len(calls) != 3 {
		t.Errorf("calls %v, want 3", calls)
	}
}
