package throttledispatcher_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/transport/blackhole"
)

// A host behind a broken network takes no connection: nothing is written, so no
// attempt is spent and no permit counts, however long it lasts; and when it is
// back, feeding goes on within a second.
func TestUnreachableHostIsAnOutage(t *testing.T) {
	t.Parallel()
	needs(t, roomToJudge)
	hole := blackhole.Open(t)
	w := newWorld(t, 40, time.Second)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) {
		spec.Endpoint = "http://" + hole.Address()
		spec.Retry.MaxAttempts = 1
	})
	w.start()
	const orders = 3
	for i := range orders {
		w.want(i, "")
	}
	w.eventually("the outage is noticed", func() bool { return len(w.log.with("is down")) > 0 })
	during(5 * time.Second)
	_, block := w.newestBlock()
	for _, settlement := range block.GetSettlements() {
		if !settlement.GetVoid() {
			t.Errorf("permit %d counts, although nothing was written", settlement.GetPermit())
		}
	}
	server := &http.Server{Handler: http.HandlerFunc(w.account.serve), ReadHeaderTimeout: patience}
	listener := hole.Fill(t)
	back := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	for key, result := range w.results(orders) {
		if result.GetOutcome().String() != "OUTCOME_DELIVERED" || result.GetAttempts() != 1 {
			t.Errorf("%s: %v after %d attempts, want delivered after one", key, result.GetOutcome(), result.GetAttempts())
		}
	}
	w.resumedWithin(back, time.Second)
}
