package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// fill publishes until the bus refuses, and returns the refusal.
func fill(t *testing.T, b *bus.Bus, subject string, size int) error {
	t.Helper()
	data := bytes.Repeat([]byte("x"), size)
	for range 10_000 {
		if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: data}); err != nil {
			return err
		}
	}
	t.Fatal("10,000 messages were taken without a refusal")
	return nil
}

func TestFullStreamRefusesAndKeepsWhatItHas(t *testing.T) {
	b := bustest.Start(t, bustest.WithTopology(bus.Topology{IngestMaxBytes: 256 << 10}))
	err := fill(t, b, bus.IngestSubject(0), 16<<10)
	if !bus.IsFull(err) || bus.IsConflict(err) || bus.IsUnavailable(err) {
		t.Fatalf("a stream at its bound gave %v, want full and nothing else", err)
	}
	first := true
	for record, err := range b.Read(t.Context(), bus.IngestStream(0), bus.IngestSubject(0), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if first && record.Sequence != 1 {
			t.Fatalf("the oldest record is %d, want 1: a full stream must refuse, not discard", record.Sequence)
		}
		first = false
	}
}

func TestFullServerRefusesAndRecovers(t *testing.T) {
	b := bustest.Start(t, bustest.WithMaxStore(1<<20))
	subject := bus.OrderStateSubject("shop_1")
	err := fill(t, b, bus.DispatchSubject("erp", "bulk", "k", "1"), 64<<10)
	if !bus.IsFull(err) {
		t.Fatalf("a server at its bound gave %v, want full", err)
	}
	_, err = b.Publish(t.Context(), bus.Message{Subject: subject, Data: make([]byte, 64<<10)})
	if !bus.IsFull(err) {
		t.Fatalf("an order on a server at its bound gave %v, want full", err)
	}
	// The queue is worked off: the same write passes without a restart.
	queued := consume(t, b, bus.ConsumerOptions{Stream: bus.StreamDispatch, Durable: "worker"})
	for m := receive(t, queued); ; m = receive(t, queued) {
		if err := m.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m.Pending == 0 {
			break
		}
	}
	poll(t, "the order is taken once there is room", func() bool {
		_, err = b.Publish(t.Context(), bus.Message{Subject: subject, Data: make([]byte, 64<<10)})
		return err == nil
	})
}

// poll waits until a condition holds.
func poll(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestStoppedServerIsUnavailableAtOnce(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	s.Stop()
	started := time.Now()
	for _, try := range []func() error{
		func() error {
			_, err := b.Publish(t.Context(), bus.Message{Subject: bus.JournalSubject("k")})
			return err
		},
		func() error { _, err := b.Last(t.Context(), bus.StreamJournal, bus.JournalSubject("k")); return err },
		func() error { _, err := b.Shards(t.Context(), bus.PrefixOrder); return err },
	} {
		if err := try(); !bus.IsUnavailable(err) || bus.IsFull(err) || bus.IsConflict(err) {
			t.Errorf("got %v, want unavailable and nothing else", err)
		}
	}
	if err := b.Healthy(t.Context()); err == nil {
		t.Error("healthy without a server")
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %v to say so; a disconnected bus must not wait for its timeout", took)
	}
	s.StartAgain(t)
	poll(t, "healthy again", func() bool { return b.Healthy(t.Context()) == nil })
}

func TestConnectBeforeTheServerIsThere(t *testing.T) {
	s := bustest.NewServer(t)
	s.Stop()
	b := s.Connect(t, bus.Options{Name: "early"})
	if _, err := b.Shards(t.Context(), bus.PrefixOrder); !bus.IsUnavailable(err) {
		t.Errorf("got %v, want unavailable", err)
	}
	s.StartAgain(t)
	poll(t, "healthy once the server is there", func() bool { return b.Healthy(t.Context()) == nil })
}

func TestDeniedPublishTimesOutAndIsUnhealthy(t *testing.T) {
	var log lockedBuffer
	s := bustest.NewServer(t, bustest.WithTCP(), bustest.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
		bustest.WithServerOptions(func(o *server.Options) {
			o.NoAuthUser = "everything"
			o.Users = []*server.User{
				{Username: "everything", Password: "x"},
				{Username: "ingest", Password: "hunter2", Permissions: &server.Permissions{
					Publish:   &server.SubjectPermission{Allow: []string{"ingest.v1.>", "$JS.API.INFO"}},
					Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_ingest.>"}},
				}},
			}
		}))
	b := s.Connect(t, bus.Options{Name: "ingest", URL: strings.Replace(s.URL(), "//", "//ingest:hunter2@", 1)})
	if _, err := b.Publish(t.Context(), bus.Message{Subject: bus.IngestSubject(0), Data: []byte("x")}); err != nil {
		t.Fatalf("a permitted publish: %v", err)
	}
	if err := b.Healthy(t.Context()); err != nil {
		t.Fatalf("healthy before anything was denied: %v", err)
	}
	denied := bus.LedgerSubject("netsuite")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := b.Publish(ctx, bus.Message{Subject: denied, Data: []byte("x")})
	if !bus.IsUnavailable(err) {
		t.Fatalf("a denied publish gave %v, want unavailable (a timeout)", err)
	}
	poll(t, "unhealthy with the subject named", func() bool {
		err := b.Healthy(t.Context())
		return err != nil && strings.Contains(err.Error(), denied)
	})
	again, cancelAgain := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancelAgain()
	if _, err := b.Publish(again, bus.Message{Subject: denied}); err == nil {
		t.Error("the second denied publish succeeded")
	}
	lines := 0
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "component=bus") && strings.Contains(line, `msg="NATS denies a subject`) {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d lines about one denied subject, want 1:\n%s", lines, log.String())
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the log holds the password:\n%s", log.String())
	}
}

// lockedBuffer is a writer for logs that are read while they are written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWrongPasswordIsUnhealthyAndNotFatal(t *testing.T) {
	s := bustest.NewServer(t, bustest.WithTCP(), bustest.WithServerOptions(func(o *server.Options) {
		o.NoAuthUser = "everything"
		o.Users = []*server.User{{Username: "everything", Password: "right"}}
	}))
	b, err := bus.Connect(t.Context(), bus.Options{Name: "x", URL: strings.Replace(s.URL(), "//", "//everything:hunter2@", 1)})
	if err != nil {
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds the password: %v", err)
		}
		t.Fatalf("Connect: %v, want to go on trying", err)
	}
	defer b.Close()
	if err := b.Healthy(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Healthy: %v, want an error without the password", err)
	}
}

func TestErrorClasses(t *testing.T) {
	api := func(code jetstream.ErrorCode) error {
		return fmt.Errorf("bus: publish: %w", fmt.Errorf("nats: %w", &jetstream.APIError{Code: 400, ErrorCode: code}))
	}
	for code, want := range map[jetstream.ErrorCode]string{
		10071: "conflict", 10163: "conflict", 10164: "conflict", 10201: "conflict",
		10077: "full", 10023: "full", 10047: "full",
		10008: "unavailable", 10076: "unavailable", 10176: "unavailable", 10210: "unavailable", 10211: "unavailable",
		10003: "", 10052: "", 10060: "", 10059: "",
	} {
		for class, is := range map[string]func(error) bool{"conflict": bus.IsConflict, "full": bus.IsFull, "unavailable": bus.IsUnavailable} {
			if got := is(api(code)); got != (class == want) {
				t.Errorf("code %d: %s is %v", code, class, got)
			}
		}
	}
	for _, err := range []error{nil, errors.New("other"), context.Canceled, bus.ErrNotFound} {
		if bus.IsConflict(err) || bus.IsFull(err) || bus.IsUnavailable(err) {
			t.Errorf("%v has a class", err)
		}
	}
	if !bus.IsUnavailable(fmt.Errorf("x: %w", context.DeadlineExceeded)) {
		t.Error("a timeout is not unavailable")
	}
}
