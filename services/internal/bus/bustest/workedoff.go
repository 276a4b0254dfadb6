package bustest

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// workedOff waits until the streams have worked off what they were given. A stream of
// nats-server that is stopped goes on with what it has taken from its queue, and nobody
// waits for it: it made folders for atomic batches, of writers that had given up, below
// the one that the test was removing.
func (s *Server) workedOff(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running == nil || s.settings.configure != nil || s.settings.security != "" {
		return // those with users of their own let in whom they know
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*deadline)
	defer cancel()
	nc, err := nats.Connect("", nats.InProcessServer(running))
	if err != nil {
		t.Errorf("bustest: %v", err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Errorf("bustest: %v", err)
		return
	}
	streams := js.ListStreams(ctx)
	for info := range streams.Info() {
		if !info.Config.AllowAtomicPublish {
			continue
		}
		// It is refused, behind all that came before it.
		last := nats.NewMsg(strings.NewReplacer("*", "x", ">", "x").Replace(info.Config.Subjects[0]))
		last.Header.Set(jetstream.ExpectedStreamHeader, "nobody's")
		if _, err := nc.RequestMsgWithContext(ctx, last); err != nil {
			t.Errorf("bustest: stream %s works on what it was given: %v", info.Config.Name, err)
		}
	}
	if err := streams.Err(); err != nil {
		t.Errorf("bustest: %v", err)
	}
}
