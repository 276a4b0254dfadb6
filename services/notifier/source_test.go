package notifier

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/connectors"
)

// What a source refuses is one text from its beginning to its end, whatever causes it gives
// meanwhile, and another one when it begins anew; that it is over is told in no text, and
// what an earlier build held of single tries neither.
func TestASourceThatRefusesIsOneText(t *testing.T) {
	w := newWorld(t, policy("operations", boss))
	w.start()
	w.dispatch()
	began := time.Now()
	refused := func(at time.Time, change ...func(*dispatchv1.Hold)) {
		w.hold("", append([]func(*dispatchv1.Hold){func(h *dispatchv1.Hold) {
			h.Delivery = &dispatchv1.Delivery{
				Id: connectors.RefusalID("listOrders"), Connector: "shopify", Key: connectors.KeyOfSources, Operation: "listOrders", Requester: "ingest",
			}
			h.OrderName, h.HeldAt, h.Cause = "", timestamppb.New(at), &dispatchv1.Cause{Code: "no-right"}
		}}, change...)...)
	}
	refused(began, func(h *dispatchv1.Hold) { h.Delivery.Id = "of-a-single-try" })
	refused(began)
	refused(began, func(h *dispatchv1.Hold) { h.Cause.Code = "credentials-refused" })
	refused(began, func(h *dispatchv1.Hold) { h.Release = &eventv1.Release{By: "ingest"} })
	refused(began.Add(time.Hour))
	w.hold("other")
	if diff := cmp.Diff(map[string]int{boss + " refuses": 2, boss + " #other": 1}, w.replayed(3)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	const want = "shopify refuses listOrders: the right is missing. What its webhooks miss stays unknown; see peppasync sources."
	if got := w.texts()[0].body(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
