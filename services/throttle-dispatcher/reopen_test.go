package throttledispatcher_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	dispatcherv1 "github.com/peppasync/peppasync/proto/peppasync/dispatcher/v1"
	ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/internal/bus"
	throttledispatcher "github.com/peppasync/peppasync/services/throttle-dispatcher"
)

const ticket = "their support has lifted it, ticket 4711"

// One wrong reply closes a connector for an hour. Neither an edit nor a restart opens
// it; a person does, and that is on record.
func TestAPersonReopensWhatAReplyClosed(t *testing.T) {
	t.Parallel()
	t.Run("in one life", func(t *testing.T) { t.Parallel(); reopened(t, false) })
	t.Run("over a restart", func(t *testing.T) { t.Parallel(); reopened(t, true) })
}

func reopened(t *testing.T, restart bool) {
	t.Helper()
	w := newWorld(t, 50, time.Second)
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		if len(w.account.arrivals) > 0 {
			return http.StatusCreated
		}
		reply.Header().Set("Retry-After", "3600")
		_, _ = io.WriteString(reply, "come back later")
		return http.StatusTooManyRequests
	})
	w.want(1, "")
	client, _ := w.served()
	stop := w.start()
	closed := func(c *dispatcherv1.Connector) bool {
		return c.GetState() == dispatcherv1.State_STATE_THROTTLED && strings.Contains(c.GetClosedBecause(), "come back later) and asks to wait for 1h0m0s")
	}
	until := w.until(client, "it says why it is closed", closed).GetClosedUntil().AsTime()
	lines := w.log.with("throttled a call")
	if len(lines) != 1 || !strings.Contains(lines[0], "end_it_with=peppasync connectors reopen wms") || !strings.Contains(lines[0], " until=20") {
		t.Errorf("the log says %q, want until when it is closed and what ends it", lines)
	}
	w.catalog.respec(func(s *v1alpha1.ConnectorSpec) { s.Limits[0] = window(60, time.Second) })
	if restart {
		stop()
		client, _ = w.served()
		w.start()
		w.until(client, "it says so after a restart", closed)
	}
	during(time.Second)
	if n := len(w.account.seen()); n != 1 {
		t.Fatalf("%d calls, want the one that was refused", n)
	}
	r, err := client.ReopenConnector(t.Context(), &dispatcherv1.ReopenConnectorRequest{Connector: "wms", By: "kim", Reason: ticket})
	if err != nil || r.GetClosedUntil().AsTime().Sub(until).Abs() > 2*time.Second || !strings.Contains(r.GetClosedBecause(), "come back later") {
		t.Fatalf("reopening says %v (%v), want that it was closed until %v", r, err, until)
	}
	w.delivered(1)
	if lines := w.log.with("a person has ended the pause"); len(lines) != 1 || !strings.Contains(lines[0], "by=kim") || !strings.Contains(lines[0], ticket) {
		t.Errorf("the log says %q", lines)
	}
	var found []*ledgerv1.Reopening
	for _, b := range w.blocks() {
		found = append(found, b.GetReopenings()...)
	}
	if len(found) != 1 || found[0].GetBy() != "kim" || found[0].GetReason() != ticket || !strings.Contains(found[0].GetClosedBecause(), "come back later") {
		t.Errorf("the ledger says %v", found)
	}
	for name, c := range map[string]struct {
		asked *dispatcherv1.ReopenConnectorRequest
		code  codes.Code
	}{
		"it is open":        {&dispatcherv1.ReopenConnectorRequest{Connector: "wms", By: "kim", Reason: ticket}, codes.FailedPrecondition},
		"no such connector": {&dispatcherv1.ReopenConnectorRequest{Connector: "erp", By: "kim", Reason: ticket}, codes.NotFound},
		"nobody":            {&dispatcherv1.ReopenConnectorRequest{Connector: "wms", Reason: ticket}, codes.InvalidArgument},
		"no reason":         {&dispatcherv1.ReopenConnectorRequest{Connector: "wms", By: "kim", Reason: "  "}, codes.InvalidArgument},
		"a novel":           {&dispatcherv1.ReopenConnectorRequest{Connector: "wms", By: "kim", Reason: strings.Repeat("x", 501)}, codes.InvalidArgument},
	} {
		if _, err := client.ReopenConnector(t.Context(), c.asked); grpcstatus.Code(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
}

// jammed keeps blocks from the record until it is free.
type jammed struct {
	throttledispatcher.Records
	shut atomic.Bool
	free chan struct{}
}

func (j *jammed) through(r throttledispatcher.Records) throttledispatcher.Records {
	j.Records = r
	return j
}

func (j *jammed) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if j.shut.Load() && m.Subject == bus.LedgerSubject("wms") {
		<-j.free
	}
	return j.Records.Publish(ctx, m)
}

// A person who is told that it is open may go home: a replica that ends right after it
// leaves it open. So nobody is told before it is on record.
func TestAReopeningIsOnRecordWhenItIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 50, time.Second)
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		if len(w.account.arrivals) > 0 {
			return http.StatusCreated
		}
		reply.Header().Set("Retry-After", "3600")
		return http.StatusTooManyRequests
	})
	w.want(1, "")
	client, _ := w.served()
	store := &jammed{free: make(chan struct{})}
	stop := w.start(throttledispatcher.Through(store.through))
	free := sync.OnceFunc(func() { close(store.free) })
	t.Cleanup(free)
	onRecord := func() (closed bool, reopenings int) {
		for _, b := range w.blocks() {
			closed = b.GetClosedUntil().AsTime().After(time.Now())
			reopenings += len(b.GetReopenings())
		}
		return closed, reopenings
	}
	w.eventually("the pause is on record", func() bool { closed, _ := onRecord(); return closed })
	store.shut.Store(true)
	asked := &dispatcherv1.ReopenConnectorRequest{Connector: "wms", By: "kim", Reason: ticket}
	if _, err := client.ReopenConnector(t.Context(), asked); grpcstatus.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not on record") {
		t.Errorf("while nothing can be put on record it answers %v, want that it is not", err)
	}
	if closed, reopenings := onRecord(); !closed || reopenings > 0 {
		t.Errorf("on record: closed %v, reopenings %d", closed, reopenings)
	}
	store.shut.Store(false)
	free()
	w.eventually("asked again, it answers that it is open", func() bool {
		_, err := client.ReopenConnector(t.Context(), asked)
		return grpcstatus.Code(err) == codes.FailedPrecondition
	})
	stop()
	if closed, reopenings := onRecord(); closed || reopenings != 1 {
		t.Errorf("on record: closed %v, reopenings %d, want it open by one", closed, reopenings)
	}
}

// A figure that says each time that nothing is left of the day is not believed against a
// person: one reopening is enough.
func TestAPersonReopensAnEmptyQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1000, 24*time.Hour)
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		reply.Header().Set("X-RateLimit-Limit", "1000")
		reply.Header().Set("X-RateLimit-Remaining", "0")
		reply.Header().Set("X-RateLimit-Reset", "86000")
		return http.StatusCreated
	})
	client, _ := w.served()
	w.want(0, "")
	w.start()
	w.delivered(1)
	w.until(client, "it is closed", func(c *dispatcherv1.Connector) bool { return c.GetClosedBecause() != "" })
	w.want(1, "")
	w.want(2, "")
	if _, err := client.ReopenConnector(t.Context(), &dispatcherv1.ReopenConnectorRequest{Connector: "wms", By: "kim", Reason: ticket}); err != nil {
		t.Fatal(err)
	}
	w.delivered(3)
	if lines := w.log.with("left of its quota; the connector pauses"); len(lines) != 1 {
		t.Errorf("the log says %q, want the one pause that the person ended", lines)
	}
}

// Likewise a system that is down and asks to be left alone: then it is asked at once.
func TestAPersonLetsASystemBeAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 50, time.Second)
	var back atomic.Bool
	w.account.answer(func(reply http.ResponseWriter, _ *http.Request, _ string) int {
		if back.Load() {
			return http.StatusCreated
		}
		reply.Header().Set("Retry-After", "3600")
		return http.StatusServiceUnavailable
	})
	const orders = 5
	for i := range orders {
		w.want(i, "")
	}
	client, _ := w.served()
	w.start()
	c := w.until(client, "it is down and left alone", func(c *dispatcherv1.Connector) bool {
		return c.GetState() == dispatcherv1.State_STATE_DOWN && c.GetClosedBecause() != ""
	})
	if wait := c.GetClosedUntil().AsTime().Sub(c.GetAsOf().AsTime()); wait < time.Minute || wait > 2*time.Minute {
		t.Errorf("it is left alone for %v, want 2 minutes", wait)
	}
	back.Store(true)
	if _, err := client.ReopenConnector(t.Context(), &dispatcherv1.ReopenConnectorRequest{Connector: "wms", By: "kim", Reason: ticket}); err != nil {
		t.Fatal(err)
	}
	w.delivered(orders)
}
