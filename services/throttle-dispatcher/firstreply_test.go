package throttledispatcher_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

// slowStart is a store whose first block takes long, after which blocks are grouped
// for long; it keeps how many replies each block puts on record.
type slowStart struct {
	throttledispatcher.Records
	slow sync.Once

	mu      sync.Mutex
	settled []int
}

func (s *slowStart) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if strings.HasPrefix(m.Subject, "ledger.") {
		s.slow.Do(func() { <-time.After(400 * time.Millisecond) })
		block := &ledgerv1.Block{}
		if err := proto.Unmarshal(m.Data, block); err != nil {
			return bus.Ack{}, err
		}
		if n := len(block.GetSettlements()); n > 0 {
			s.mu.Lock()
			s.settled = append(s.settled, n)
			s.mu.Unlock()
		}
	}
	return s.Records.Publish(ctx, m)
}

// The first reply goes on record at once and by itself, though others are under way
// and blocks are grouped for long: until then a crash with as many calls handed out
// as may run at once costs as long as a call may take, since nobody knows how long
// calls are worked on.
func TestTheFirstReplyIsOnRecordAtOnce(t *testing.T) {
	w := newWorld(t, 60_000, time.Minute)
	const orders = 4
	// Twice as many may run at once: half is left to a successor until then.
	w.catalog.respec(inParallel(2 * orders))
	for i := range orders {
		w.want(i, "")
	}
	// All are under way before the first is answered; the others are answered
	// together, well after it and well before the end of the grouping.
	var arrived sync.WaitGroup
	arrived.Add(orders)
	var first sync.Once
	w.account.held = func() {
		arrived.Done()
		arrived.Wait()
		wait := 120 * time.Millisecond
		first.Do(func() { wait = 0 })
		<-time.After(wait)
	}
	store := &slowStart{}
	w.start(throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		store.Records = r
		return store
	}))
	w.delivered(orders)
	store.mu.Lock()
	defer store.mu.Unlock()
	if store.settled[0] != 1 {
		t.Errorf("the blocks put %v replies on record, want the first one by itself", store.settled)
	}
}

// A reply that asks for a pause goes on record at once as well: whoever takes over after
// a crash would not know that the system wants to be left alone.
func TestAPauseIsOnRecordAtOnce(t *testing.T) {
	w := newWorld(t, 60_000, time.Minute)
	const orders = 4
	w.catalog.respec(inParallel(2 * orders))
	for i := range orders {
		w.want(i, "")
	}
	// The first is accepted, the second refused after that is on record, and the others
	// are accepted well after both and well before the end of the grouping.
	var arrived sync.WaitGroup
	arrived.Add(orders)
	var turn, answer atomic.Int64
	w.account.held = func() {
		arrived.Done()
		arrived.Wait()
		<-time.After([]time.Duration{0, 60 * time.Millisecond, 160 * time.Millisecond, 160 * time.Millisecond}[turn.Add(1)-1])
	}
	w.account.answer(func(rw http.ResponseWriter, _ *http.Request, _ string) int {
		if answer.Add(1) == 2 {
			rw.Header().Set("Retry-After", "3600")
			return http.StatusTooManyRequests
		}
		return http.StatusCreated
	})
	store := &slowStart{}
	w.start(throttledispatcher.Through(func(r throttledispatcher.Records) throttledispatcher.Records {
		store.Records = r
		return store
	}))
	w.delivered(orders - 1)
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(store.settled) < 2 || store.settled[1] != 1 {
		t.Errorf("the blocks put %v replies on record, want the pause by itself, as the second", store.settled)
	}
}
