package throttledispatcher

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/ledger"
)

// barriers hold keys in which an attempt at a delivery that is closed may still
// take effect, and would undo what follows. Its zero value holds none.
type barriers struct {
	// keys are until when each one is held.
	keys map[string]time.Time
	// closes are the deliveries whose closes must be found until then by a new
	// owner, since the barriers are made from them.
	closes map[string]time.Time
	// next is when the first one may be over.
	next time.Time
}

func (b *barriers) add(key, delivery string, until time.Time) {
	if b.keys == nil {
		b.keys, b.closes = map[string]time.Time{}, map[string]time.Time{}
	}
	if until.After(b.keys[key]) {
		b.keys[key] = until
	}
	b.closes[delivery] = until
	if b.next.IsZero() || until.Before(b.next) {
		b.next = until
	}
}

// until returns until when the key is held.
func (b *barriers) until(key string) (time.Time, bool) {
	at, ok := b.keys[key]
	return at, ok
}

// needs reports whether the delivery's close must still be found.
func (b *barriers) needs(delivery string) bool {
	_, ok := b.closes[delivery]
	return ok
}

// lift takes away what is over, and returns the deliveries whose closes are not
// needed any more.
func (b *barriers) lift(now time.Time) []string {
	if b.next.IsZero() || now.Before(b.next) {
		return nil
	}
	b.next = time.Time{}
	var over []string
	for delivery, until := range b.closes {
		switch {
		case !now.Before(until):
			delete(b.closes, delivery)
			over = append(over, delivery)
		case b.next.IsZero() || until.Before(b.next):
			b.next = until
		}
	}
	for key, until := range b.keys {
		if !now.Before(until) {
			delete(b.keys, key)
		}
	}
	return over
}

// bar holds the key of a delivery that is being closed for as long as an attempt
// at it could undo what follows; it returns nil where none can.
func (w *worker) bar(j *job) *timestamppb.Timestamp {
	until := j.doubt.KeyFreeAt(w.factsOf(j))
	if !until.After(time.Now()) {
		return nil
	}
	w.barriers.add(j.delivery.GetKey(), j.delivery.GetId(), until)
	return timestamppb.New(until)
}

// lift lets keys go that need not be held any more.
func (w *worker) lift(now time.Time) {
	for _, delivery := range w.barriers.lift(now) {
		if w.closed[delivery] == nil {
			w.ledger.Acked(delivery)
		}
	}
}

// remember takes in what earlier owners left in doubt: by when each open claim has
// arrived, and which keys are held.
func (w *worker) remember(state ledger.State) {
	for _, claim := range state.Claims {
		claim.ArrivedBy = timestampOf(state.ArrivedBy(claim.Claim, w.budget.Limits()))
	}
	for _, closing := range state.Closes {
		if until := closing.GetKeyFreeAt(); until != nil && until.AsTime().After(time.Now()) {
			w.barriers.add(closing.GetResult().GetKey(), closing.GetResult().GetDeliveryId(), until.AsTime())
		}
	}
}

func timestampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
