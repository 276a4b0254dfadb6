package outage_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/outage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 28, 2, 0, 0, 0, time.UTC)

func TestOneBadReplyIsNotAnOutage(t *testing.T) {
	b := outage.New(outage.Settings{Threshold: 2, ProbeEvery: 500 * time.Millisecond})
	if b.Failure(start) || b.Open() {
		t.Fatal("open after one failure")
	}
	b.Success()
	b.Failure(start)
	if b.Open() {
		t.Fatal("open although a success came between the failures")
	}
	if !b.Failure(start) || !b.Open() {
		t.Fatal("closed after two failures in a row")
	}
	if at, ok := b.NextProbe(start); !ok || !at.Equal(start.Add(500*time.Millisecond)) {
		t.Errorf("first probe at %v, want half a second after the outage began", at)
	}
	if !b.Success() || b.Open() {
		t.Error("still open after a success")
	}
}

func TestProbesStayWithinTheirBudget(t *testing.T) {
	b := outage.New(outage.Settings{Threshold: 1, ProbeEvery: 500 * time.Millisecond, ProbeBudget: 50, ProbeWindow: time.Minute})
	b.Failure(start)
	var sent []time.Time
	now := start
	for now.Before(start.Add(10 * time.Minute)) {
		at, ok := b.NextProbe(now)
		if !ok {
			t.Fatal("breaker closed by itself")
		}
		now = at
		b.Probed(now)
		sent = append(sent, now)
	}
	for i := range sent {
		inWindow := 0
		for j := i; j < len(sent) && sent[j].Sub(sent[i]) < time.Minute; j++ {
			inWindow++
		}
		if inWindow > 50 {
			t.Fatalf("%d probes in the minute from %v, want at most 50", inWindow, sent[i])
		}
	}
	if len(sent) < 490 {
		t.Errorf("%d probes in 10 minutes, want nearly 500: half a window each minute", len(sent))
	}
}
