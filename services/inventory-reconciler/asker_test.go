package inventoryreconciler

import (
	"context"
	"log/slog"
	"testing"

	dispatchv1 "github.com/peppasync/peppasync/proto/peppasync/dispatch/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// inProcess refuses a write once as a cluster does while an earlier attempt, which
// then comes to nothing, is in process.
type inProcess struct {
	records
	refused bool
}

func (p *inProcess) Publish(ctx context.Context, m bus.Message) (bus.Ack, error) {
	if !p.refused {
		p.refused = true
		return bus.Ack{}, bustest.Refusal(m.Subject)
	}
	return p.records.Publish(ctx, m)
}

// A delivery is asked for when it is stored, and not when the server refuses it
// while an earlier attempt is in process: that may come to nothing.
func TestADeliveryInProcessIsNotThere(t *testing.T) {
	b := bustest.Start(t)
	a := newAsker(Config{Bus: b, Logger: slog.New(slog.DiscardHandler)})
	a.records = &inProcess{records: b}
	d := &dispatchv1.Delivery{Id: "id", Connector: "erp", Lane: "express", Key: "mug", Operation: "readStock"}
	for i, want := range []bool{false, true, true} {
		if there, err := a.publish(t.Context(), d, []byte("data")); there != want || err != nil {
			t.Errorf("attempt %d: there %v, %v, want %v", i+1, there, err, want)
		}
	}
	if _, err := b.Last(t.Context(), bus.StreamDispatch, bus.DispatchSubject("erp", "express", "mug", "id")); err != nil {
		t.Errorf("the delivery: %v", err)
	}
}
