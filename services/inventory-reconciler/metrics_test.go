package inventoryreconciler

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
)

// What a channel shows wrongly is counted until it is corrected, and not when nobody
// compares the channel any more.
func TestWhatIsOutOfStepIsCounted(t *testing.T) {
	w := newWorld(t, 20, "shop")
	counted := func(line string) bool {
		recorder := httptest.NewRecorder()
		w.metrics.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
		return strings.Contains(recorder.Body.String(), line+"\n")
	}
	const none, one = `peppasync_stock_out_of_step{connector="shop",pool="main"} 0`, `peppasync_stock_out_of_step{connector="shop",pool="main"} 1`
	soon := func(line string) {
		t.Helper()
		tick, end := time.NewTicker(5*time.Millisecond), time.After(deadline)
		defer tick.Stop()
		for !counted(line) {
			select {
			case <-tick.C:
			case <-end:
				t.Fatalf("there is no %s", line)
			}
		}
	}
	refuse := func(d *dispatchv1.Delivery) *dispatchv1.Result {
		if d.GetOperation() != connectors.OperationSetStock {
			return nil
		}
		return &dispatchv1.Result{
			DeliveryId: d.GetId(), Connector: "shop", Key: d.GetKey(), Operation: d.GetOperation(), Requester: Role,
			Outcome: dispatchv1.Outcome_OUTCOME_HELD, Cause: &dispatchv1.Cause{Code: "http-403"},
		}
	}
	stop := w.start()
	soon(none)
	w.change(func() { w.accounts["shop"].called = refuse })
	w.receive(5)
	soon(one)
	stop()
	soon(none)
	stop = w.start()
	soon(one)
	stop() // a refused question is asked again after half a minute, or by a new start
	w.change(func() { w.accounts["shop"].called = nil })
	w.start()
	w.inStep()
	soon(none)
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "`peppasync_stock_out_of_step`") {
		t.Error("services/docs/metrics.md says nothing of it")
	}
}
