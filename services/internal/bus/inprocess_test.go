//go:build unix

package bus_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// While an earlier write waits for its quorum the server refuses the next one
// under the same code as it does after that write is stored; only a look tells
// the two apart.
func TestAWriteInProcessIsNoNewerRecord(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster: runs without -short, as in make test")
	}
	cluster := bustest.NewCluster(t)
	leader := cluster.Leader(t, bus.StreamJournal)
	b, err := bus.Connect(t.Context(), bus.Options{URL: "nats://" + cluster.Address(leader), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	journal := func(key, data string, last uint64) bus.Message {
		return bus.Message{Subject: bus.JournalSubject(key), Data: []byte(data), ExpectLast: &last}
	}
	ack, err := b.Publish(t.Context(), journal("old", "first", 0))
	if err != nil {
		t.Fatal(err)
	}
	var thaw []func()
	for node := range 3 {
		if node != leader {
			thaw = append(thaw, cluster.Freeze(t, node))
		}
	}
	writes := []bus.Message{journal("old", "second", ack.Sequence), journal("new", "first", 0)}
	publish := func(m bus.Message) error {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := b.Publish(ctx, m)
		return err
	}
	for _, m := range writes {
		// The one before may be in process for a moment after it was acknowledged.
		err := publish(m)
		for bus.IsConflict(err) {
			if _, err = bus.Instead(t.Context(), b, bus.StreamJournal, m, err); !bus.IsUnavailable(err) {
				t.Fatalf("a look for what is there instead gave %v, want unavailable", err)
			}
			err = publish(m)
		}
		if !bus.IsUnavailable(err) {
			t.Fatalf("a write without a quorum gave %v, want unavailable", err)
		}
	}
	for _, m := range writes {
		err := publish(m)
		if !bus.IsConflict(err) {
			t.Fatalf("the same write again gave %v, want a conflict", err)
		}
		if found, err := bus.Instead(t.Context(), b, bus.StreamJournal, m, err); !bus.IsUnavailable(err) || bus.IsConflict(err) {
			t.Errorf("a look for what is there instead gave record %d, %v, want unavailable", found.Sequence, err)
		}
	}
	for _, thaw := range thaw {
		thaw()
	}
	for _, m := range writes {
		var found bus.Record
		poll(t, "the first attempt is stored", func() bool {
			err := publish(m)
			if bus.IsConflict(err) {
				found, err = bus.Instead(t.Context(), b, bus.StreamJournal, m, err)
			}
			return err == nil && found.Sequence > 0
		})
		if !bytes.Equal(found.Data, m.Data) || found.Sequence <= *m.ExpectLast {
			t.Errorf("on %s there is %q (%d)", m.Subject, found.Data, found.Sequence)
		}
	}
}

// What was expected and is not there any more is a conflict that no trying again
// can end.
func TestInsteadOfARecordThatIsGone(t *testing.T) {
	b := bustest.Start(t)
	last := uint64(7)
	m := bus.Message{Subject: bus.JournalSubject("k"), ExpectLast: &last}
	_, conflict := b.Publish(t.Context(), m)
	if !bus.IsConflict(conflict) {
		t.Fatal(conflict)
	}
	if _, err := bus.Instead(t.Context(), b, bus.StreamJournal, m, conflict); !bus.IsConflict(err) || bus.IsUnavailable(err) {
		t.Errorf("got %v, want a conflict", err)
	}
}
