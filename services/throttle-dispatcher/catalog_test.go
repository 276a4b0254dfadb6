package throttledispatcher_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

// A connector that leaves the catalog and comes back goes on where it was, within
// the limit over both of its lives, though calls of the first are still under way.
func TestConnectorThatIsRemovedAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20, time.Second)
	w.account.setDelay(400 * time.Millisecond)
	const orders = 40
	var all []*dispatchv1.Delivery
	for i := range orders {
		w.store(i, "")
		d := delivery(i)
		d.Operation = "ship" // what is in doubt would be held
		w.ask(d)
		all = append(all, d)
	}
	w.start()
	w.eventually("some orders", func() bool { return w.account.accepted() >= 5 })
	wms := w.catalog.Connectors()["wms"]
	for range 3 {
		w.catalog.change(func(c *catalog) { c.connectors = map[string]*v1alpha1.Connector{} })
		during(100 * time.Millisecond)
		w.catalog.change(func(c *catalog) { c.connectors = map[string]*v1alpha1.Connector{"wms": wms} })
		during(300 * time.Millisecond)
	}
	w.delivered(orders)
	w.allAcknowledged(all...)
	w.account.within(t, 20, time.Second)
	if n := len(w.account.seen()); n != orders {
		t.Errorf("%d calls for %d orders", n, orders)
	}
}

// A connector that only sends events has no account to be called, and gets no worker.
func TestConnectorThatOnlySends(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20, time.Second)
	events := &v1alpha1.Connector{Spec: v1alpha1.ConnectorSpec{System: v1alpha1.SystemGRPC, Webhook: &v1alpha1.Webhook{}}}
	events.Name = "events"
	w.catalog.change(func(c *catalog) { c.connectors["events"] = events })
	client, _ := w.served()
	w.want(1, "")
	w.start()
	w.delivered(1)
	w.shown(client) // the other one, and no more
	if lines := w.log.with("events"); len(lines) > 0 {
		t.Errorf("it is tried to work: %q", lines)
	}
}

// A change that a running worker cannot take in lets it start again, with its
// calls brought home first.
func TestEndpointThatMoves(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t, 20, time.Second), newAccount(t)
	w.account.setDelay(200 * time.Millisecond)
	const orders = 30
	for i := range orders {
		w.store(i, "")
		d := delivery(i)
		d.Operation = "ship"
		w.ask(d)
	}
	w.start()
	w.eventually("some orders", func() bool { return w.account.accepted() >= 5 })
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Endpoint = other.URL })
	w.delivered(orders)
	both := append(w.account.seen(), other.seen()...)
	sortByTime(both)
	if len(both) != orders || len(other.seen()) == 0 {
		t.Errorf("%d calls here and %d there for %d orders", len(w.account.seen()), len(other.seen()), orders)
	}
	if most := largestWindow(both, time.Second); most > 20 {
		t.Errorf("%d calls within a second over both endpoints, the limit is 20", most)
	}
	if lines := w.log.with("a part stopped"); len(lines) > 0 {
		t.Errorf("a change is no failure: %q", lines)
	}
}

// What waits is sent by the mapping that holds when its turn comes; what failed
// for good by the old one passes when it is asked for again.
func TestCorrectedMappingHealsWhatWaits(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	w := newWorld(t, 40, time.Second)
	w.account.answer(func(_ http.ResponseWriter, _ *http.Request, body string) int {
		if strings.Contains(body, `"configuration"`) {
			return http.StatusUnprocessableEntity
		}
		return http.StatusCreated
	})
	w.start()
	w.want(1, "")
	if got := w.results(1)[keyOf(1)]; got.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD {
		t.Fatalf("by the wrong mapping: %v", got)
	}
	pause := func(paused bool) {
		w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = paused })
	}
	pause(true)
	const orders = 5
	for i := 2; i <= orders; i++ {
		w.want(i, "")
	}
	during(300 * time.Millisecond)
	w.catalog.change(func(c *catalog) { c.mapping = mappingOf(t, `{"externalId": externalId, "setup": order.note}`) })
	// Released, the held one is a delivery of its own.
	again := delivery(1)
	again.Id += "_2"
	w.ask(again)
	pause(false)
	w.eventually("all orders", func() bool { return w.account.accepted() == orders })
	for i := 2; i <= orders; i++ {
		subject := bus.ResultSubject("test", delivery(i).GetId())
		w.eventually("the result of "+keyOf(i), func() bool {
			_, err := w.bus.Last(t.Context(), bus.StreamResult, subject)
			return err == nil
		})
	}
	if n := len(w.account.seen()); n != orders+1 {
		t.Errorf("%d calls, want one refused and %d accepted", n, orders)
	}
}

// A mapping that fails, or is gone, holds the order before any call.
func TestStepThatCannotBeBoundIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.catalog.change(func(c *catalog) { c.mapping = mappingOf(t, `{"first": order.lines[0].sku}`) })
	w.want(1, "") // has no lines
	w.ask(delivery(2))
	w.start()
	results := w.results(2)
	for number, code := range map[int]string{1: "mapping-failed", 2: "order-missing"} {
		got := results[keyOf(number)]
		if got.GetOutcome() != dispatchv1.Outcome_OUTCOME_HELD || got.GetCause().GetCode() != code {
			t.Errorf("%s: %v because of %v, want held because of %s", keyOf(number), got.GetOutcome(), got.GetCause(), code)
		}
	}
	if n := len(w.account.seen()); n != 0 {
		t.Errorf("%d calls", n)
	}
}
