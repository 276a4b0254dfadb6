package throttledispatcher_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// aPage is what a login or a proxy sends in the place of a reply.
const aPage = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>"

// attempts bounds how often a call is repeated.
func attempts(most int32) func(spec *v1alpha1.ConnectorSpec) {
	return func(spec *v1alpha1.ConnectorSpec) { spec.Retry.MaxAttempts = most }
}

// One order that is always answered as if the system were down, while it is not,
// goes to the Error Hold, and the others pass meanwhile.
func TestOrderThatAloneMeetsAnOutageIsHeld(t *testing.T) {
	t.Parallel()
	type pace struct {
		calls int64
		per   time.Duration
	}
	paces := map[string]pace{"asked by its calls": {100, time.Minute}, "asked by a question": {20, time.Second}}
	for name, pace := range paces {
		for _, code := range []int{200, 302, 307, 500, 502, 503, 504} {
			t.Run(fmt.Sprint(name, ", ", code), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, pace.calls, pace.per)
				w.catalog.respec(attempts(2))
				w.account.answer(func(rw http.ResponseWriter, r *http.Request, _ string) int {
					if r.URL.Path == "/orders/shopify-0" {
						_, _ = io.WriteString(rw, aPage)
						return code
					}
					return http.StatusCreated
				})
				const orders = 4
				for i := range orders {
					w.want(i, "")
				}
				w.start()
				results := w.results(orders)
				result := results[keyOf(0)]
				if result.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD || result.GetCause().GetStatus() != int32(code) ||
					!strings.Contains(result.GetCause().GetDetail(), "while others pass") {
					t.Errorf("%v because of %v, want it held with a cause that tells", result.GetOutcome(), result.GetCause())
				}
				if hold := w.hold(result); hold.GetInDoubt() != (code != http.StatusServiceUnavailable) {
					t.Errorf("in doubt %v", hold.GetInDoubt())
				}
				for i := 1; i < orders; i++ {
					if got := results[keyOf(i)]; got.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED || len(w.account.on(fmt.Sprint("/orders/shopify-", i))) != 1 {
						t.Errorf("order %d: %v", i, got)
					}
				}
				if n := len(w.log.with("is down")); n > 0 {
					t.Errorf("the system counted as down %d times", n)
				}
				w.account.within(t, int(pace.calls), pace.per)
			})
		}
	}
}

// What follows a bad order in its key waits until that is over.
func TestWhatFollowsABadOrderWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20, time.Second)
	w.catalog.respec(attempts(3))
	w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
		if r.URL.Path == "/orders/shopify-0" {
			return http.StatusServiceUnavailable
		}
		return http.StatusCreated
	})
	follows := delivery(0)
	follows.Id, follows.Operation = follows.GetId()+"_next", "ship"
	w.want(0, "")
	w.ask(follows)
	for i := 1; i < 10; i++ {
		w.want(i, "")
	}
	w.start()
	w.eventually("both are over", func() bool { return w.resultOf(delivery(0)) != nil && w.resultOf(follows) != nil })
	order := w.account.seen()
	next := slices.IndexFunc(order, func(a arrival) bool { return a.path == "/shipments/shopify-0" })
	if n := len(w.account.on("/orders/shopify-0")); n < 3 || slices.ContainsFunc(order[next:], func(a arrival) bool { return a.path == "/orders/shopify-0" }) {
		t.Errorf("%d attempts, and what follows them went as number %d of %v", n, next, order)
	}
}

// More bad orders than an outage needs, all older than the good ones.
func TestManyBadOrdersStopOnlyThemselves(t *testing.T) {
	t.Parallel()
	for name, pace := range map[string]struct {
		calls int64
		per   time.Duration
	}{"asked by its calls": {100, time.Minute}, "asked by a question": {20, time.Second}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pace.calls, pace.per)
			w.catalog.respec(attempts(2))
			const bad, good = 5, 5
			w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
				for i := range bad {
					if r.URL.Path == fmt.Sprint("/orders/shopify-", i) {
						return http.StatusServiceUnavailable
					}
				}
				return http.StatusCreated
			})
			for i := range bad + good {
				w.want(i, "")
			}
			w.start()
			for key, result := range w.results(bad + good) {
				held := result.GetOutcome() == dispatchv1.Outcome_OUTCOME_HELD
				if want := key < keyOf(bad); held != want {
					t.Errorf("%s: %v because of %v", key, result.GetOutcome(), result.GetCause())
				}
			}
			w.account.within(t, int(pace.calls), pace.per)
		})
	}
}

// Where everything gets a server error, or a page for a reply, it is an outage, and costs no order.
func TestServerErrorsForAllAreAPause(t *testing.T) {
	t.Parallel()
	for name, gets := range map[string]struct{ call, probe int }{
		"its probe too":                {http.StatusInternalServerError, http.StatusInternalServerError},
		"all but its probe":            {http.StatusInternalServerError, http.StatusOK},
		"a page with 200":              {http.StatusOK, http.StatusInternalServerError},
		"a page with 200, not a probe": {http.StatusOK, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needs(t, roomToJudge)
			w := newWorld(t, 600, time.Minute)
			w.catalog.respec(attempts(2))
			w.account.answer(func(rw http.ResponseWriter, r *http.Request, _ string) int {
				if r.URL.Path == "/health" {
					return gets.probe
				}
				_, _ = io.WriteString(rw, aPage)
				return gets.call
			})
			const orders = 10
			for i := range orders {
				w.want(i, "")
			}
			w.start()
			w.eventually("it counts as down", func() bool { return len(w.log.with("is down")) > 0 })
			during(6 * time.Second)
			w.account.answer(nil)
			back := time.Now()
			w.delivered(orders)
			w.resumedWithin(back, time.Second)
		})
	}
}

// A harmless question that never passes, such as a path that leads to the page of
// a login, does not keep the connector down.
func TestAQuestionThatNeverPassesIsNotTheOnlyOne(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 600, time.Minute)
	down := status(http.StatusServiceUnavailable)
	w.account.answer(down)
	w.start()
	const orders = 5
	for i := range orders {
		w.want(i, "")
	}
	w.eventually("it counts as down", func() bool { return len(w.log.with("is down")) > 0 })
	w.account.answer(func(_ http.ResponseWriter, r *http.Request, _ string) int {
		if r.URL.Path == "/health" {
			return http.StatusFound
		}
		return http.StatusCreated
	})
	back := time.Now()
	w.delivered(orders)
	w.resumedWithin(back, 5*time.Second)
}
