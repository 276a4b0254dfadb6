package throttledispatcher_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// A paused connector keeps everything and sends nothing, until the catalog says
// otherwise; what runs out meanwhile is closed.
func TestPausedConnectorKeepsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	pause := func(paused bool) {
		w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = paused })
	}
	pause(true)
	w.start()
	const orders = 10
	for i := range orders {
		w.want(i, "")
	}
	q := query("stock-1")
	q.ExpiresAt = timestamppb.New(time.Now().Add(500 * time.Millisecond))
	w.ask(q)
	if got := w.results(1)["stock-1"]; got.GetOutcome() != dispatchv1.Outcome_OUTCOME_EXPIRED {
		t.Errorf("the query that ran out: %v", got)
	}
	during(time.Second)
	if n := len(w.account.seen()); n != 0 {
		t.Errorf("%d calls while paused", n)
	}
	pause(false)
	w.eventually("some orders", func() bool { return w.account.accepted() > orders/3 })
	pause(true)
	during(600 * time.Millisecond) // what was handed out before is used
	before := len(w.account.seen())
	during(600 * time.Millisecond)
	if n := len(w.account.seen()); n != before {
		t.Errorf("%d calls while paused", n-before)
	}
	pause(false)
	for key, result := range w.results(orders + 1) {
		if key != "stock-1" && result.GetOutcome() != dispatchv1.Outcome_OUTCOME_DELIVERED {
			t.Errorf("%s: %v, want delivered", key, result.GetOutcome())
		}
	}
}

// Queries whose time is over are closed without a call, take no send time, and do
// not hold up what comes behind them.
func TestExpiredQueriesCostNoCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20, time.Second)
	const queries, orders = 200, 5
	past := timestamppb.New(time.Now().Add(-time.Second))
	for i := range queries {
		q := query("stock-" + strings.Repeat("x", i+1))
		q.ExpiresAt = past
		w.ask(q)
	}
	for i := range orders {
		w.want(i, "")
	}
	started := time.Now()
	w.start()
	expired := 0
	for _, result := range w.results(queries + orders) {
		if result.GetOutcome() == dispatchv1.Outcome_OUTCOME_EXPIRED {
			expired++
		}
	}
	calls := w.account.seen()
	if expired != queries || len(calls) != orders {
		t.Errorf("%d queries expired and %d calls made, want %d and %d", expired, len(calls), queries, orders)
	}
	t.Logf("the first order came %v after the start", calls[0].at.Sub(started))
}

// A query that is being repeated runs out as well.
func TestQueryRunsOutBetweenAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.account.answer(status(http.StatusInternalServerError))
	w.start()
	q := query("stock-1")
	q.ExpiresAt = timestamppb.New(time.Now().Add(1200 * time.Millisecond))
	w.ask(q)
	if got := w.results(1)["stock-1"]; got.GetOutcome() != dispatchv1.Outcome_OUTCOME_EXPIRED {
		t.Errorf("%v, want expired", got)
	}
	if len(w.account.seen()) == 0 {
		t.Error("it was never tried")
	}
	if at := time.Now(); at.After(q.GetExpiresAt().AsTime().Add(time.Second)) {
		t.Errorf("closed %v after it ran out", at.Sub(q.GetExpiresAt().AsTime()))
	}
}

// So does one whose time is over while it is under way.
func TestQueryRunsOutWhileItIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.account.setDelay(700 * time.Millisecond)
	w.account.answer(status(http.StatusInternalServerError))
	w.start()
	q := query("stock-1")
	q.ExpiresAt = timestamppb.New(time.Now().Add(500 * time.Millisecond))
	w.ask(q)
	if got := w.results(1)["stock-1"]; got.GetOutcome() != dispatchv1.Outcome_OUTCOME_EXPIRED {
		t.Errorf("%v, want expired", got)
	}
	if n := len(w.account.seen()); n != 1 {
		t.Errorf("%d calls, want the one that was under way", n)
	}
}

// The ledger forgets blocks after a month, so a claim that is open because its
// connector is paused is written again, though nothing happens there.
func TestClaimOfAPausedConnectorIsWrittenAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.catalog.respec(brief)
	arrived, silent := make(chan struct{}, 1), make(chan struct{})
	w.account.hold(func() {
		arrived <- struct{}{}
		<-silent
	})
	w.want(1, "as claimed")
	killer := deadlyAfter(1000)
	killed := w.start(killer.before(), throttledispatcher.Abrupt)
	<-arrived
	killer.die()
	killed()
	w.account.hold(nil)
	close(silent)
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = true })
	before := len(w.blocks())
	stop := w.start(throttledispatcher.CarryOften(time.Millisecond))
	w.eventually("the claim is written again", func() bool {
		blocks := w.blocks()
		if len(blocks) == before {
			return false
		}
		claims := blocks[len(blocks)-1].GetClaims()
		return len(claims) == 1 && claims[0].GetDelivery().GetId() == delivery(1).GetId() && len(claims[0].GetPayload()) > 0
	})
	stop()
	w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Paused = false })
	w.start()
	w.delivered(1)
	w.oneEffect("/orders/shopify-1")
}

// blocks returns what the ledger of the connector holds.
func (w *world) blocks() []*ledgerv1.Block {
	w.t.Helper()
	var blocks []*ledgerv1.Block
	for record, err := range w.bus.Read(w.t.Context(), bus.StreamLedger, bus.LedgerSubject("wms"), 0) {
		block := &ledgerv1.Block{}
		if err == nil {
			err = proto.Unmarshal(record.Data, block)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// A connector that leaves as its spec changes: the grace of the calls under way is
// worked out beside the loop that takes the change in. Only the race detector can
// tell.
func TestConnectorLeavesWhileItsSpecChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, time.Second)
	w.start()
	for i := range 10 {
		w.want(i, "")
		w.eventually("its result", func() bool { return w.resultOf(delivery(i)) != nil })
		w.catalog.respec(func(spec *v1alpha1.ConnectorSpec) { spec.Retry.MaxAttempts = int32(i + 3) })
		during(5 * time.Millisecond)
		var left *v1alpha1.Connector
		w.catalog.change(func(c *catalog) {
			left = c.connectors["wms"]
			delete(c.connectors, "wms")
		})
		during(20 * time.Millisecond)
		w.catalog.change(func(c *catalog) { c.connectors["wms"] = left })
	}
}
