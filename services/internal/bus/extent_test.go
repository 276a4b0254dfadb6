package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestExtentAndWhatIsAt(t *testing.T) {
	b := bustest.Start(t)
	stream, subject := bus.IngestStream(1), bus.IngestSubject(1)
	extent := func(want bus.Extent, records uint64) {
		t.Helper()
		if got, err := b.Extent(t.Context(), stream); err != nil || got != want || got.Records() != records {
			t.Fatalf("extent %+v of %d records (%v), want %+v of %d", got, got.Records(), err, want, records)
		}
	}
	extent(bus.Extent{First: 1, Last: 0}, 0)
	for i := range 5 {
		if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: fmt.Append(nil, i), Header: map[string]string{"Mark": fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	extent(bus.Extent{First: 1, Last: 5}, 5)
	record, err := b.At(t.Context(), stream, 4)
	if err != nil || string(record.Data) != "3" || record.Sequence != 4 || record.Subject != subject || record.Header["Mark"] != "3" || record.Time.IsZero() {
		t.Errorf("record %+v (%v)", record, err)
	}
	for _, sequence := range []uint64{6, 1000} {
		if _, err := b.At(t.Context(), stream, sequence); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("record %d: %v, want ErrNotFound", sequence, err)
		}
	}
	if err := b.Remove(t.Context(), stream, subject); err != nil {
		t.Fatal(err)
	}
	extent(bus.Extent{First: 6, Last: 5}, 0)
	if _, err := b.At(t.Context(), stream, 5); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a record that was removed: %v, want ErrNotFound", err)
	}
	for name, err := range map[string]error{
		"extent": func() error { _, err := b.Extent(t.Context(), "NOTHING"); return err }(),
		"at":     func() error { _, err := b.At(t.Context(), "NOTHING", 1); return err }(),
	} {
		if !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("%s of a stream that is not there: %v, want ErrNotFound", name, err)
		}
	}
}

func TestSinceWhenRecordsWereStored(t *testing.T) {
	b := bustest.Start(t)
	stream, subject := bus.IngestStream(0), bus.IngestSubject(0)
	since := func(at time.Time, want uint64) {
		t.Helper()
		if got, err := b.Since(t.Context(), stream, at); err != nil || got != want {
			t.Errorf("since %v: %d (%v), want %d", at, got, err, want)
		}
	}
	since(time.Now(), 1)
	var times []time.Time
	for i := range 9 {
		if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
		record, err := b.Last(t.Context(), stream, subject)
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, record.Time)
	}
	for i, at := range times {
		since(at, uint64(i)+1)
		since(at.Add(1), uint64(i)+2)
	}
	since(times[0].Add(-time.Hour), 1)
	since(times[8].Add(time.Hour), 10)
	if _, err := b.Since(t.Context(), "NOTHING", times[0]); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("of a stream that is not there: %v, want ErrNotFound", err)
	}
	// Few at a time, and all of them in order.
	next := uint64(3)
	for record, err := range b.ReadLarge(t.Context(), stream, subject, next) {
		if err != nil || record.Sequence != next {
			t.Fatalf("record %d (%v), want %d", record.Sequence, err, next)
		}
		next++
	}
	if next != 10 {
		t.Errorf("it ends before %d", next)
	}
}
