package bus

import "testing"

// Who took silence for "nothing was said" would take the bound of the ingest shards
// away: it happens where the cluster has a leader again a moment later.
func TestWhatMayBeStoredIsNotKnownWithoutAnAnswer(t *testing.T) {
	b, err := Connect(t.Context(), Options{URL: "nats://127.0.0.1:1", Name: "test"}) // nobody listens
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if store, err := b.knownStore(t.Context()); err == nil || !IsUnavailable(err) {
		t.Errorf("the store is %d, %v; want an error that says that the bus is not there", store, err)
	}
}
