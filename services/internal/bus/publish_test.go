package bus_test

import (
	"errors"
	"testing"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

func TestPublishAndLast(t *testing.T) {
	b := bustest.Start(t)
	subject := bus.LedgerSubject("netsuite")
	if _, err := b.Last(t.Context(), bus.StreamLedger, subject); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("Last on an empty subject: %v, want ErrNotFound", err)
	}
	first, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte("1"), ExpectLast: bus.Sequence(0), ExpectStream: bus.StreamLedger})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte("x"), ExpectLast: bus.Sequence(0)}); !bus.IsConflict(err) {
		t.Fatalf("second write with expected sequence 0: %v, want a conflict", err)
	}
	if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: []byte("2"), ExpectLast: &first.Sequence}); err != nil {
		t.Fatal(err)
	}
	last, err := b.Last(t.Context(), bus.StreamLedger, subject)
	if err != nil {
		t.Fatal(err)
	}
	if string(last.Data) != "2" || last.Subject != subject || last.Stream != bus.StreamLedger || last.Time.IsZero() {
		t.Fatalf("last record is %+v", last)
	}
	var read []string
	for record, err := range b.Read(t.Context(), bus.StreamLedger, subject, 0) {
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, string(record.Data))
	}
	if len(read) != 2 || read[0] != "1" || read[1] != "2" {
		t.Fatalf("read %q", read)
	}
}
