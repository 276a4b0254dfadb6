package ledger

import ledgerv1 "github.com/peppasync/peppasync/proto/peppasync/ledger/v1"

// Fold returns what the records say. They must be in order and start no later
// than the newest one's read_from. An empty sequence gives the zero State.
func Fold(records []Record) (State, error) {
	f := NewFolder()
	for _, r := range records {
		if err := f.Add(r); err != nil {
			return State{}, err
		}
	}
	return f.State()
}

// Open returns the open claim of a delivery, nil where there is none. It must
// not be changed.
func (r *Recorder) Open(deliveryID string) *ledgerv1.Claim {
	if e, ok := r.claims[deliveryID]; ok && !e.closed {
		return e.claim
	}
	return nil
}
