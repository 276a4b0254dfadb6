package throttledispatcher_test

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// A question about an order waits in bulk, behind many others; then the order is to be
// sent, in a lane of live ones. It may go only after the question, which leaves bulk
// therefore, whether the dispatcher had it when the other came or found both.
func TestALiveDeliveryDoesNotWaitForBulk(t *testing.T) {
	t.Parallel()
	// Where all wait before the first goes, the order of the first calls is the queue's:
	// within 2 * 2 + 4, because there are four lanes and that of live ones has more than
	// half of all weight. Send times of which some are handed out ahead may be met out of
	// order: at four a second those of the longest horizon, of a second, are four.
	const many, pace, most = 60, 4, 2*2 + 4 + 4
	for name, restarted := range map[string]bool{"while the question is held": false, "after a start over both": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pace, time.Second)
			w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
				_, _ = io.WriteString(reply, `{"available": 1}`)
				return http.StatusOK
			})
			paused := func(paused bool) { w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = paused }) }
			paused(true)
			var dispatcher *throttledispatcher.Dispatcher
			start := func() (stop func()) { return w.start(func(d *throttledispatcher.Dispatcher) { dispatcher = d }) }
			held := func(all ...*dispatchv1.Delivery) {
				t.Helper()
				for _, d := range all {
					w.eventually(d.GetId()+" is in line", func() bool { return dispatcher.Holds(t.Context(), "wms", d.GetId()) })
				}
			}
			var bulk []*dispatchv1.Delivery
			for i := range many {
				w.store(i, "")
				bulk = append(bulk, in("bulk", delivery(i)))
				w.ask(bulk[i])
			}
			question, live := in("bulk", query(keyOf(many)+"_read_1")), in("express", delivery(many))
			question.Key = live.GetKey()
			w.store(many, "")
			w.ask(question)
			stop := start()
			held(append(bulk, question)...)
			w.ask(live)
			held(live)
			if restarted {
				stop()
				start()
				held(append(bulk, question, live)...)
			}
			paused(false)
			w.eventually("the order is sent", func() bool { return w.resultOf(live) != nil })
			calls := w.account.seen()
			asked := slices.IndexFunc(calls, func(a arrival) bool { return a.method == http.MethodGet })
			sent := slices.IndexFunc(calls, func(a arrival) bool { return a.path == "/orders/shopify-60" })
			t.Logf("of %d calls the question was number %d and the order number %d", len(calls), asked, sent)
			first := asked
			if restarted && (asked < 0 || asked > sent) {
				first = sent // lanes are read side by side
			}
			if first < 0 || first > most {
				t.Errorf("the first of the two was number %d, want %d at most", first, most)
			}
			// The other goes once that is answered, which takes what it takes.
			if sent > many {
				t.Errorf("all %d others went before the order", many)
			}
			w.allAcknowledged(live)
		})
	}
}
