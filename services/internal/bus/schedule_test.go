package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestSchedulesNeverFireEarly(t *testing.T) {
	b := bustest.Start(t, bustest.WithTopology(bus.Topology{OrderShards: 1}))
	woken := consume(t, b, bus.ConsumerOptions{Stream: bus.OrderStream(0), Durable: "gate", Filters: []string{bus.OrderWakeFilter}})
	due := map[string]time.Time{}
	for i := range 10 {
		// Parts of a second are what whole-second schedules get wrong.
		key := fmt.Sprintf("shop_%d", i)
		due[bus.OrderWakeSubject(key)] = time.Now().Add(300*time.Millisecond + time.Duration(i)*77*time.Millisecond)
		if _, err := b.Schedule(t.Context(), bus.Message{Subject: bus.OrderTimerSubject(key)}, due[bus.OrderWakeSubject(key)], bus.OrderWakeSubject(key)); err != nil {
			t.Fatal(err)
		}
	}
	for range due {
		m := receive(t, woken)
		// The stored time is the server's, which is this process.
		if early := due[m.Subject].Sub(m.Time); early > 0 {
			t.Errorf("%s fired %v early", m.Subject, early)
		}
	}
}

func TestScheduleIsReplacedAndCancelled(t *testing.T) {
	b := bustest.Start(t, bustest.WithTopology(bus.Topology{OrderShards: 1}))
	stream := bus.OrderStream(0)
	timer, wake := bus.OrderTimerSubject("shop_1"), bus.OrderWakeSubject("shop_1")
	woken := consume(t, b, bus.ConsumerOptions{Stream: stream, Durable: "gate", Filters: []string{bus.OrderWakeFilter}})
	schedule := func(subject, target, data string, at time.Time) {
		t.Helper()
		if _, err := b.Schedule(t.Context(), bus.Message{Subject: subject, Data: []byte(data)}, at, target); err != nil {
			t.Fatal(err)
		}
	}
	schedule(timer, wake, "first", time.Now().Add(400*time.Millisecond))
	schedule(timer, wake, "second", time.Now().Add(800*time.Millisecond))
	if m := receive(t, woken); string(m.Data) != "second" {
		t.Fatalf("fired %q, want the schedule that replaced the first", m.Data)
	}
	if _, err := b.Last(t.Context(), stream, timer); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("after it fired the timer is still there: %v", err)
	}

	schedule(timer, wake, "cancelled", time.Now().Add(400*time.Millisecond))
	if err := b.CancelSchedule(t.Context(), stream, timer); err != nil {
		t.Fatal(err)
	}
	if err := b.CancelSchedule(t.Context(), stream, timer); err != nil {
		t.Errorf("a second cancel: %v, want nil", err)
	}
	// A later one on another order proves that the time has passed.
	schedule(bus.OrderTimerSubject("shop_2"), bus.OrderWakeSubject("shop_2"), "after", time.Now().Add(800*time.Millisecond))
	if m := receive(t, woken); string(m.Data) != "after" {
		t.Fatalf("fired %q, want the cancelled one to stay silent", m.Data)
	}
}

func TestScheduleSurvivesARestart(t *testing.T) {
	s := bustest.NewServer(t, bustest.WithTopology(bus.Topology{OrderShards: 1}))
	b := s.Bus(t)
	due := time.Now().Add(500 * time.Millisecond)
	if _, err := b.Schedule(t.Context(), bus.Message{Subject: bus.OrderTimerSubject("shop_1")}, due, bus.OrderWakeSubject("shop_1")); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	m := receive(t, consume(t, b, bus.ConsumerOptions{Stream: bus.OrderStream(0), Durable: "gate", Filters: []string{bus.OrderWakeFilter}}))
	if m.Time.Before(due) {
		t.Errorf("fired %v early", due.Sub(m.Time))
	}
}

func TestFiredMessageLivesForItsTTL(t *testing.T) {
	b := bustest.Start(t, bustest.WithTopology(bus.Topology{OrderShards: 1}))
	wake := bus.OrderWakeSubject("shop_1")
	if _, err := b.Schedule(t.Context(), bus.Message{Subject: bus.OrderTimerSubject("shop_1"), TTL: time.Second}, time.Now(), wake); err != nil {
		t.Fatal(err)
	}
	poll(t, "it fires", func() bool { _, err := b.Last(t.Context(), bus.OrderStream(0), wake); return err == nil })
	poll(t, "it expires", func() bool {
		_, err := b.Last(t.Context(), bus.OrderStream(0), wake)
		return errors.Is(err, bus.ErrNotFound)
	})
}
