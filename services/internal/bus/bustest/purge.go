package bustest

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Purge removes all that is in a stream, as a person may with NATS' own tools.
func (s *Server) Purge(t testing.TB, stream string) {
	t.Helper()
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	found, err := js.Stream(t.Context(), stream)
	if err == nil {
		err = found.Purge(t.Context())
	}
	if err != nil {
		t.Fatalf("purge %s: %v", stream, err)
	}
}
