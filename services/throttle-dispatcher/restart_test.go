package throttledispatcher_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// newestBlock reads the newest record of the connector's ledger.
func (w *world) newestBlock() (uint64, *ledgerv1.Block) {
	w.t.Helper()
	record, err := w.bus.Last(w.t.Context(), bus.StreamLedger, bus.LedgerSubject("wms"))
	if err != nil {
		w.t.Fatal(err)
	}
	block := &ledgerv1.Block{}
	if err := proto.Unmarshal(record.Data, block); err != nil {
		w.t.Fatal(err)
	}
	return record.Sequence, block
}

// What an earlier owner closed and acknowledged need not be read for ever.
func TestClosesOfAnEarlierOwnerAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20, 200*time.Millisecond)
	const orders = 5
	for i := range orders {
		w.want(i, "")
	}
	stop := w.start()
	w.delivered(orders)
	stop()
	first, _ := w.newestBlock()
	w.start()
	next := orders
	w.eventually("the newest block lets go of those of the first owner", func() bool {
		w.want(next, "")
		next++
		w.delivered(next)
		_, block := w.newestBlock()
		return block.GetReadFrom() > first
	})
	if n := len(w.account.seen()); n != next {
		t.Errorf("%d calls for %d orders", n, next)
	}
}

// loseMessages takes all messages of a lane out of the queue, while no dispatcher
// runs.
func (w *world) loseMessages(lane string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	err := w.bus.Consume(ctx, bus.ConsumerOptions{
		Stream: bus.StreamDispatch, Durable: bus.Consumer("dispatch", "wms", lane), Filters: []string{bus.DispatchLaneFilter("wms", lane)}, Reset: true,
	}, func(ctx context.Context, m *bus.Incoming) {
		if err := m.Ack(ctx); err != nil {
			w.t.Error(err)
		}
		if m.Pending == 0 {
			cancel()
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// A claim whose message was lost by the store is asked for again.
func TestClaimWithoutAMessageIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20, 200*time.Millisecond)
	// It is tried, and waits for its next attempt.
	w.account.answer(status(500))
	w.want(1, "")
	stop := w.start()
	w.eventually("the first attempt", func() bool { return len(w.account.seen()) > 0 })
	stop()
	w.account.answer(nil)
	w.loseMessages("standard")
	w.start()
	w.delivered(1)
}

// While the bus is away, calls that are under way are not cut off: nothing of
// theirs comes to be in doubt.
func TestSilentBusCutsNoCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100, time.Second)
	w.account.setDelay(1500 * time.Millisecond)
	w.start()
	const orders = 5
	for i := range orders {
		w.store(i, "")
		d := delivery(i)
		d.Operation = "ship" // must not be repeated
		w.ask(d)
	}
	w.eventually("calls are under way", func() bool { return w.account.under() > 0 })
	w.server.Stop()
	during(3 * time.Second)
	w.server.StartAgain(t)
	w.delivered(orders)
	if n := len(w.account.seen()); n != orders {
		t.Errorf("%d calls for %d orders", n, orders)
	}
}

// listening notes where a dispatcher publishes.
type listening struct {
	throttledispatcher.Records
	mu       sync.Mutex
	subjects []string
}

func (l *listening) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	l.mu.Lock()
	l.subjects = append(l.subjects, m.Subject)
	l.mu.Unlock()
	return l.Records.Publish(ctx, m)
}

// A hold that was published may be released before its message is acknowledged;
// a restart in between must not bring it back.
func TestHoldIsNotPublishedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20, 200*time.Millisecond)
	w.account.answer(status(http.StatusUnprocessableEntity))
	w.want(1, "")
	killer := deadlyAfter(1000)
	killer.atAck = true
	kill := w.start(killer.before(), throttledispatcher.Abrupt)
	w.results(1)
	<-killer.died
	kill()
	second := &listening{}
	stop := w.start(throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		second.Records = r
		return second
	}))
	w.allAcknowledged(delivery(1))
	stop()
	for _, subject := range second.subjects {
		if strings.HasPrefix(subject, "hold.") || strings.HasPrefix(subject, "result.") {
			t.Errorf("published on %s again", subject)
		}
	}
}
