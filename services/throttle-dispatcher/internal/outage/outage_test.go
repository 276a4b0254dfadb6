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
	if at, ok := b.NextProbe(); !ok || !at.Equal(start.Add(500*time.Millisecond)) {
		t.Errorf("first probe at %v, want half a second after the outage began", at)
	}
	if !b.Success() || b.Open() {
		t.Error("still open after a success")
	}
}

// A system that throttles by 503 says for how long.
func TestASystemThatAsksIsLeftAlone(t *testing.T) {
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	next := func(t *testing.T, b *outage.Breaker, want time.Time) {
		t.Helper()
		if got, _ := b.NextProbe(); !got.Equal(want) {
			t.Errorf("the next probe is due after %v, want %v", got.Sub(start), want.Sub(start))
		}
	}
	b := outage.New(outage.Settings{Threshold: 2, ProbeEvery: 500 * time.Millisecond})
	b.Rest(start, 30*time.Second)
	b.Failure(start)
	if rest := b.Resting(); !rest.IsZero() {
		t.Errorf("one reply stops the others until %v", rest)
	}
	b.Failure(at(0.1))
	next(t, b, at(30))
	b.Failure(at(0.2)) // one that does not say it was under way, or comes from a proxy
	next(t, b, at(30))
	b.Rest(at(0.3), 10*time.Second)
	next(t, b, at(10.3))
	b.Probed(at(10.3))
	next(t, b, at(10.8)) // as often as ever where it asks for nothing
	b.Rest(at(11), 24*time.Hour)
	next(t, b, at(11).Add(outage.LongestRest))
	if rest := b.Resting(); !rest.Equal(at(11).Add(outage.LongestRest)) {
		t.Errorf("it rests until %v", rest)
	}
	b.Success()
	b.Failure(at(200))
	b.Failure(at(200))
	next(t, b, at(200.5))
}

func TestProbesStayWithinTheirBudget(t *testing.T) {
	b := outage.New(outage.Settings{Threshold: 1, ProbeEvery: 500 * time.Millisecond, ProbeBudget: 50, ProbeWindow: time.Minute})
	b.Failure(start)
	var sent []time.Time
	now := start
	for now.Before(start.Add(10 * time.Minute)) {
		at, ok := b.NextProbe()
		if !ok {
			t.Fatal("breaker closed by itself")
		}
		now = at
		b.Probed(now)
		sent = append(sent, now)
	}
	for i := range sent {
		inWindow := 0
		for j := i; j < len(sent) && sent[j].Sub(sent[i]) <= time.Minute; j++ {
			inWindow++
		}
		if inWindow > 50 {
			t.Fatalf("%d probes in the minute from %v, want at most 50", inWindow, sent[i])
		}
		if i > 0 && sent[i].Sub(sent[i-1]) > 2500*time.Millisecond {
			t.Fatalf("unasked for %v, want the second half of the budget spread over the window", sent[i].Sub(sent[i-1]))
		}
	}
	if len(sent) < 25+9*25 {
		t.Errorf("%d probes in 10 minutes, want half of the budget at once and half in each minute", len(sent))
	}
	if atOnce := sent[24].Sub(sent[0]); atOnce != 24*500*time.Millisecond {
		t.Errorf("the first 25 probes took %v, want one in each half second", atOnce)
	}
}

// An account of few calls a day is asked for as long as its outage lasts.
func TestLongOutageOfASmallAccountIsNeverLeftUnasked(t *testing.T) {
	b := outage.New(outage.Settings{Threshold: 1, ProbeEvery: 500 * time.Millisecond, ProbeBudget: 500, ProbeWindow: 24 * time.Hour})
	b.Failure(start)
	for n := 0; ; n++ {
		at, _ := b.NextProbe()
		if at.After(start.Add(48 * time.Hour)) {
			if n > 2*500 {
				t.Errorf("%d probes in two days, want at most 500 a day", n)
			}
			return
		}
		b.Probed(at)
		if next, _ := b.NextProbe(); next.Sub(at) > 6*time.Minute {
			t.Fatalf("unasked for %v after %v of the outage", next.Sub(at), at.Sub(start))
		}
	}
}

func TestOneCallAWindowIsOneProbeAWindow(t *testing.T) {
	b := outage.New(outage.Settings{Threshold: 1, ProbeEvery: 500 * time.Millisecond, ProbeBudget: 1, ProbeWindow: time.Minute})
	b.Failure(start)
	b.Probed(start)
	if at, _ := b.NextProbe(); at.Before(start.Add(time.Minute)) {
		t.Errorf("second probe after %v, want a minute", at.Sub(start))
	}
}
