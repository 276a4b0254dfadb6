package throttledispatcher_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// What a source refuses for good goes back to who asked and keeps a hold of its own; what
// does not ask a source is held here, whatever its delivery says.
func TestWhatTheRequesterHoldsIsNotHeldHere(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w, _ := atShop(t)
	w.start()
	own, plain, other := readOf("6"), readOf("6"), hook()
	own.Id, own.Key, own.HeldByRequester, own.ResultTtl = "own", "own", true, durationpb.New(time.Hour)
	plain.Id, plain.Key = "plain", "plain"
	other.Id, other.Key, other.Operation, other.HeldByRequester = "other", "other", "no such operation", true
	for _, d := range []*dispatchv1.Delivery{own, plain, other} {
		w.ask(d)
	}
	results := w.results(3)
	for _, d := range []*dispatchv1.Delivery{own, plain, other} {
		result := results[d.GetKey()]
		if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD || result.GetCause().GetCode() == "" {
			t.Errorf("%s: %v, want it held with a cause", d.GetId(), result)
		}
		_, err := w.bus.Last(t.Context(), bus.StreamErrorHold, bus.HoldSubject(d.GetConnector(), d.GetKey(), d.GetId()))
		if held := !errors.Is(err, bus.ErrNotFound); held != (d != own) {
			t.Errorf("%s is in the Error Hold: %v (%v)", d.GetId(), held, err)
		}
	}
	if results["own"].GetTtl() == nil {
		t.Error("what is not in the Error Hold stays in RESULT for a week")
	}
}

// A question that runs out because nobody can sign in says so: it is a person who has to
// mend that.
func TestAQuestionThatRanOutWithoutCredentialsSaysWhy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		secret map[string]string
		status int
		want   string
	}{
		"they are refused":   {map[string]string{"consumerKey": "ck", "consumerSecret": "cs"}, http.StatusUnauthorized, connectors.CodeCredentialsRefused},
		"there are none":     {nil, http.StatusOK, connectors.CodeCredentialsMissing},
		"the system is down": {map[string]string{"consumerKey": "ck", "consumerSecret": "cs"}, http.StatusServiceUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, drawer := atShop(t)
			drawer.put("shop", test.secret)
			w.account.answer(status(test.status))
			w.start()
			q := readOf("5")
			q.ExpiresAt = timestamppb.New(time.Now().Add(2 * time.Second))
			w.ask(q)
			w.eventually("it ran out", func() bool { return w.resultOf(q) != nil })
			if result := w.resultOf(q); result.GetOutcome() != dispatchv1.Outcome_OUTCOME_EXPIRED || result.GetCause().GetCode() != test.want {
				t.Errorf("%v, want it expired for %q", result, test.want)
			}
		})
	}
}
