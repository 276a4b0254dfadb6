package bus_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestRemoveTakesOneSubjectOut(t *testing.T) {
	b := bustest.Start(t)
	one, other := bus.WaitingSubject("wms", "shop_1", "a"), bus.WaitingSubject("wms", "shop_1", "b")
	for _, text := range []string{"1", "2"} {
		for _, subject := range []string{one, other} {
			if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte(text), ExpectStream: bus.StreamWaiting}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if err := b.Remove(t.Context(), bus.StreamWaiting, one); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Last(t.Context(), bus.StreamWaiting, one); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("what was removed: %v, want ErrNotFound", err)
	}
	var left []string
	for record, err := range b.Read(t.Context(), bus.StreamWaiting, bus.WaitingFilter("wms"), 0) {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, record.Subject+" "+string(record.Data))
	}
	if len(left) != 1 || left[0] != other+" 2" {
		t.Errorf("left is %q, want the newest on %s", left, other)
	}
}

func BenchmarkRemove(b *testing.B) {
	bus1 := bustest.Start(b)
	const records = 5000
	subject := func(i int) string { return bus.WaitingSubject("wms", fmt.Sprint("shop_", i), "a") }
	data := make([]byte, 500)
	for i := range records {
		if _, err := bus1.Publish(b.Context(), bus.Message{Subject: subject(i), Data: data}); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		if err := bus1.Remove(b.Context(), bus.StreamWaiting, subject(i%records)); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
