package poller

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/listing"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// holds are all records of the Error Hold, of one operation.
func (w *world) holds(operation string) []*dispatchv1.Hold {
	w.t.Helper()
	var found []*dispatchv1.Hold
	for record, err := range w.bus.Read(w.t.Context(), bus.StreamErrorHold, bus.HoldFilter, 0) {
		hold := &dispatchv1.Hold{}
		if err == nil {
			err = proto.Unmarshal(record.Data, hold)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if want := bus.HoldSubject("shop", connectors.KeyOfSources, connectors.RefusalID(hold.GetDelivery().GetOperation())); record.Subject != want {
			w.t.Errorf("a hold is on %s, want %s", record.Subject, want)
		}
		if hold.GetDelivery().GetOperation() == operation {
			found = append(found, hold)
		}
	}
	return found
}

// awaitHolds waits until there are that many records of an operation, and returns them.
func (w *world) awaitHolds(operation string, n int) []*dispatchv1.Hold {
	w.t.Helper()
	var found []*dispatchv1.Hold
	w.await(fmt.Sprintf("%d records of a hold of %s", n, operation), func() bool {
		found = w.holds(operation)
		return len(found) >= n
	})
	if len(found) > n {
		w.t.Fatalf("%d records, want %d; the newest two: %v", len(found), n, found[max(0, len(found)-2):])
	}
	return found
}

// TestARefusalIsOneHoldHoweverOftenItIsTried, over a restart, until the source answers; the
// next one is another.
func TestARefusalIsOneHoldHoweverOftenItIsTried(t *testing.T) {
	for name, test := range map[string]struct {
		code    string
		outcome dispatchv1.Outcome
		advice  string
	}{
		"no scope":               {connectors.CodeNoRight, dispatchv1.Outcome_OUTCOME_CONFLICT, "give the credentials"},
		"the resource is gone":   {"http-410", dispatchv1.Outcome_OUTCOME_HELD, "look at what the source says"},
		"the credentials are no": {connectors.CodeCredentialsRefused, dispatchv1.Outcome_OUTCOME_EXPIRED, "renew the credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.refuse[connectors.OperationListOrders], w.refused = test.code, test.outcome
			w.sell("1", time.Hour)
			stop := w.run(w.prepare())
			w.await("it failed four times", func() bool { return w.record().GetFailures() >= 4 })
			stop()
			w.run(w.prepare())
			w.await("it failed twice more", func() bool { return w.record().GetFailures() >= 6 })
			first := w.awaitHolds(connectors.OperationListOrders, 1)[0]
			if first.GetCause().GetCode() != test.code || first.GetHeldAt() == nil || len(first.GetAdvice()) < len(test.advice) ||
				first.GetAdvice()[:len(test.advice)] != test.advice || first.GetDelivery().GetRequester() != Requester || !connectors.IsRefusal(first) {
				t.Errorf("the hold is %v, want advice %q", first, test.advice)
			}
			w.change(func() { delete(w.refuse, connectors.OperationListOrders) })
			w.await("it is told once the shop answers", func() bool { return len(w.topics("1")) == 1 })
			closed := w.awaitHolds(connectors.OperationListOrders, 2)[1]
			if release := closed.GetRelease(); release.GetReason() != answers || release.GetBy() != Requester || !proto.Equal(closed.GetHeldAt(), first.GetHeldAt()) {
				t.Errorf("it is closed as %v", closed)
			}
			w.compared()
			w.awaitHolds(connectors.OperationListOrders, 2)
			w.change(func() { w.refuse[connectors.OperationListOrders] = test.code })
			again := w.awaitHolds(connectors.OperationListOrders, 3)[2]
			if again.GetRelease() != nil || !again.GetHeldAt().AsTime().After(first.GetHeldAt().AsTime()) {
				t.Errorf("the next refusal is %v, the one before %v", again, first)
			}
		})
	}
}

// TestAPageThatIsRefusedIsOneHold, though the pages before it are answered at each try.
func TestAPageThatIsRefusedIsOneHold(t *testing.T) {
	w := newWorld(t)
	for i := range pageSize + 1 {
		w.sell(fmt.Sprint(i), time.Hour)
	}
	w.firstPageOnly = errNoSuchPage
	w.start()
	w.await("it failed three times", func() bool { return w.record().GetFailures() >= 3 })
	w.awaitHolds(connectors.OperationListOrders, 1)
	w.change(func() { w.firstPageOnly = nil })
	w.compared()
	if closed := w.awaitHolds(connectors.OperationListOrders, 2)[1]; closed.GetRelease().GetReason() != answers {
		t.Errorf("closed as %v", closed)
	}
}

// TestAQuestionThatExpiresHoldsNothing: the source is down, and that is told otherwise.
func TestAQuestionThatExpiresHoldsNothing(t *testing.T) {
	w := newWorld(t)
	w.refuse[connectors.OperationListOrders], w.refused = "answer-lost", dispatchv1.Outcome_OUTCOME_EXPIRED
	w.start()
	w.await("it failed twice", func() bool { return w.record().GetFailures() >= 2 })
	w.awaitHolds(connectors.OperationListOrders, 0)
}

// TestWebhooksThatAreRefusedAreHeldOnce until they are there, whoever made them, or nobody
// looks after them any more.
func TestWebhooksThatAreRefusedAreHeldOnce(t *testing.T) {
	w := newWorld(t)
	w.store.Replace(w.snapshot(50*time.Millisecond, address))
	w.refuse[connectors.OperationPutWebhook] = connectors.CodeNoRight
	w.start()
	asked := func(operation string, n int) {
		w.t.Helper()
		w.await(operation+" is asked for again", func() bool { return w.asked[operation] >= n })
	}
	asked(connectors.OperationPutWebhook, 9) // three for each of three topics
	w.awaitHolds(connectors.OperationPutWebhook, 1)
	w.change(func() {
		for i, topic := range []string{"orders/create", "orders/paid", "orders/cancelled"} {
			w.hooks = append(w.hooks, listing.Webhook{ID: fmt.Sprint(i), Topic: topic, Address: address, Active: true})
		}
	})
	if closed := w.awaitHolds(connectors.OperationPutWebhook, 2)[1]; closed.GetRelease().GetReason() != nothingLeft {
		t.Errorf("closed as %v", closed)
	}
	w.change(func() { w.refuse[connectors.OperationListWebhooks] = connectors.CodeNoRight })
	w.awaitHolds(connectors.OperationListWebhooks, 1)
	w.store.Replace(w.snapshot(50*time.Millisecond, ""))
	if closed := w.awaitHolds(connectors.OperationListWebhooks, 2)[1]; closed.GetRelease().GetReason() != noMore {
		t.Errorf("closed as %v", closed)
	}
	w.awaitHolds(connectors.OperationListOrders, 0)
}

// TestWhatIsAskedNoMoreIsNotHeld, though nobody ran when that was decided; nor what another
// shop refused.
func TestWhatIsAskedNoMoreIsNotHeld(t *testing.T) {
	for name, test := range map[string]struct {
		change func(w *world) *catalog.Snapshot
		reason string
	}{
		"it is asked never": {func(w *world) *catalog.Snapshot { return w.snapshot(0, "") }, noMore},
		"it is gone":        {func(*world) *catalog.Snapshot { return &catalog.Snapshot{Revision: 2} }, noMore},
		"another endpoint": {func(w *world) *catalog.Snapshot {
			s := w.snapshot(time.Hour, "")
			s.Connectors["shop"].Spec.Endpoint = "https://other.example"
			return s
		}, elsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.refuse[connectors.OperationListOrders] = connectors.CodeNoRight
			stop := w.run(w.prepare())
			w.awaitHolds(connectors.OperationListOrders, 1)
			stop()
			w.store.Replace(test.change(w))
			w.start()
			closed := w.awaitHolds(connectors.OperationListOrders, 2)[1]
			if diff := cmp.Diff(test.reason, closed.GetRelease().GetReason()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
