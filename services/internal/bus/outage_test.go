package bus_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// journal is a log that can be read while it is written.
type journal struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.out.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.out.String(), text)
}

func (j *journal) await(t *testing.T, text string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for j.count(text) < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%q is not %d times in the log:\n%s", text, n, &j.out)
		}
	}
}

func TestAnUnreachableServerIsNamedOnceAndWithoutItsPassword(t *testing.T) {
	s := bustest.NewServer(t, bustest.WithTCP())
	address := strings.TrimPrefix(s.URL(), "nats://")
	s.Stop()
	log := &journal{}
	b := s.Connect(t, bus.Options{
		Name: "x", URL: "nats://someone:hush@" + address, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	log.await(t, "cannot reach NATS, trying again", 1)
	s.StartAgain(t)
	log.await(t, "NATS is reached again", 1)
	if err := b.Healthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	log.await(t, "connection to NATS lost", 1)
	s.StartAgain(t)
	log.await(t, "NATS is reached again", 2)
	if n := log.count("\n"); n != 4 || log.count(address) != 4 || log.count("hush") != 0 {
		t.Errorf("%d lines, want 4 that name %s and no password:\n%s", n, address, &log.out)
	}
}

func TestAnAddressThatCannotBeParsedDoesNotShowItsPassword(t *testing.T) {
	for _, address := range []string{"nats://user:hu sh@host:4222", "nats://user:hush/@host:4222", "nats://user:hush%@host", "nats://host:hush"} {
		b, err := bus.Connect(t.Context(), bus.Options{Name: "x", URL: address})
		if err == nil {
			b.Close()
			t.Errorf("%s is taken", address)
		} else if strings.Contains(err.Error(), "hu") {
			t.Errorf("a password is in the error: %v", err)
		}
	}
}
