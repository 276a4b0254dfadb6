package bus_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// gateway stands between clients and a server, and can lose a connection on the
// client's side only, as a network does that forgets it: the server knows nothing.
type gateway struct {
	listener net.Listener
	working  sync.WaitGroup

	mu             sync.Mutex
	clients, ahead []net.Conn
}

func newGateway(t *testing.T, server string) *gateway {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{listener: listener}
	g.working.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			ahead, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server)
			if err != nil {
				t.Error(err)
				_ = client.Close()
				return
			}
			g.mu.Lock()
			g.clients, g.ahead = append(g.clients, client), append(g.ahead, ahead)
			g.mu.Unlock()
			g.working.Go(func() { _, _ = io.Copy(ahead, client) })
			g.working.Go(func() { _, _ = io.Copy(client, ahead) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		g.forget()
		for _, ahead := range g.ahead {
			_ = ahead.Close()
		}
		g.working.Wait()
	})
	return g
}

// forget loses all connections as the clients see them.
func (g *gateway) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, client := range g.clients {
		_ = client.Close()
	}
	g.clients = nil
}

// A request for messages of a connection that is lost without the server's
// knowledge stays with the server for longer than it takes to connect again; what
// comes then must not go to it.
func TestQuietEndsWhatALostConnectionHasAskedFor(t *testing.T) {
	s := bustest.NewServer(t, bustest.WithTCP())
	g := newGateway(t, strings.TrimPrefix(s.URL(), "nats://"))
	b := s.Connect(t, bus.Options{Name: "lanes", URL: "nats://" + g.listener.Addr().String()})
	ask := func(id string) {
		t.Helper()
		if _, err := s.Bus(t).Publish(t.Context(), bus.Message{Subject: bus.DispatchSubject("wms", "standard", id, id), Data: []byte(id)}); err != nil {
			t.Fatal(err)
		}
	}
	taken := make(chan struct{}, 8)
	messages := consume(t, b, bus.ConsumerOptions{
		Stream: bus.StreamDispatch, Durable: "wms", Filters: []string{bus.DispatchLaneFilter("wms", "standard")},
		Reset: true, Quiet: true, AckWait: 5 * time.Minute,
		Before: func(context.Context) error { taken <- struct{}{}; return nil },
	})
	<-taken
	ask("first")
	m := receive(t, messages)
	if err := m.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.forget()
	<-taken
	for _, id := range []string{"second", "third"} {
		ask(id)
		if m := receive(t, messages); string(m.Data) != id {
			t.Fatalf("got %q, want the %s", m.Data, id)
		}
	}
}
