package bus_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peppasync/peppasync/services/internal/bus"
	"github.com/peppasync/peppasync/services/internal/bus/bustest"
)

// never is an AckWait that no test lives to see: what comes again comes for
// another reason.
const never = time.Hour

func receiveAll(t *testing.T, messages <-chan *bus.Incoming, n int) (got []string, all []*bus.Incoming) {
	t.Helper()
	for range n {
		m := receive(t, messages)
		got, all = append(got, string(m.Data)), append(all, m)
	}
	return got, all
}

func TestTakeoverGetsWhatIsOpenAtOnceAndInOrder(t *testing.T) {
	for _, stream := range []string{bus.StreamDispatch, bus.StreamResult} {
		t.Run(stream, func(t *testing.T) {
			b := bustest.Start(t)
			o := bus.ConsumerOptions{Stream: stream, Durable: "worker", AckWait: never, Reset: true}
			for i := range 10 {
				subject := bus.ResultSubject("x", fmt.Sprint(i))
				if stream == bus.StreamDispatch {
					subject = bus.DispatchSubject("erp", "standard", "k", fmt.Sprint(i))
				}
				if _, err := b.Publish(t.Context(), bus.Message{Subject: subject, Data: fmt.Append(nil, i)}); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			// The first owner is handed six, finishes the first two and the fifth,
			// and is gone.
			seen := 0
			err := b.Consume(ctx, o, func(ctx context.Context, m *bus.Incoming) {
				if data := string(m.Data); data == "0" || data == "1" || data == "4" {
					if err := m.Ack(ctx); err != nil {
						t.Error(err)
					}
				}
				if seen++; seen == 6 {
					cancel()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			messages := consume(t, b, o)
			want := []string{"2", "3", "5", "6", "7", "8", "9"}
			if stream != bus.StreamDispatch {
				// A stream that keeps its messages forgets acknowledgments above the
				// first gap.
				want = []string{"2", "3", "4", "5", "6", "7", "8", "9"}
			}
			got, all := receiveAll(t, messages, len(want))
			if !slices.Equal(got, want) {
				t.Fatalf("the new owner got %q, want %q", got, want)
			}
			for _, m := range all {
				if err := m.Ack(t.Context()); err != nil {
					t.Fatalf("acknowledge %s: %v", m.Data, err)
				}
			}
		})
	}
}

func TestServerRestartBringsOpenMessagesAgain(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	want := publish(t, b, "x", 0, 12)
	messages := consume(t, b, bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "x", AckWait: never, Reset: true, MaxAckPending: 6})
	got, held := receiveAll(t, messages, 6)
	if !slices.Equal(got, want[:6]) {
		t.Fatalf("got %q", got)
	}
	for _, m := range held[:3] {
		if err := m.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// The handler of the seventh may hold what it was handed before the restart.
	s.Restart(t)
	var after []string
	for !slices.Contains(after, want[len(want)-1]) {
		m := receive(t, messages)
		after = append(after, string(m.Data))
		if err := m.Ack(t.Context()); err != nil && !bus.IsUnavailable(err) {
			t.Fatal(err)
		}
	}
	for _, open := range want[3:] {
		if !slices.Contains(after, open) {
			t.Errorf("%s was open at the restart and did not come again: %q", open, after)
		}
	}
	// What was handed out again comes in order.
	from := slices.Index(after, "3")
	if again := slices.Compact(after[from:]); !slices.Equal(again, want[3:]) {
		t.Errorf("after the restart came %q, want %q in order", again, want[3:])
	}
}

func TestWithoutResetOpenMessagesComeAfterAckWait(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	publish(t, b, "x", 0, 1)
	messages := consume(t, b, bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "x", AckWait: time.Second})
	first := receive(t, messages)
	s.Restart(t)
	again := receive(t, messages)
	if again.Sequence != first.Sequence || !again.Redelivered {
		t.Fatalf("got %+v, want the first message again", again)
	}
	if err := again.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsLostWhileTheServerRestarts(t *testing.T) {
	s := bustest.NewServer(t)
	b, other := s.Bus(t), s.Bus(t)
	messages := consume(t, b, bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "x", Reset: true, Prefetch: 64})
	const n = 400
	published := make(chan error, 1)
	go func() {
		for i := range n {
			m := bus.Message{Subject: bus.ResultSubject("x", fmt.Sprint(i)), Data: fmt.Append(nil, i), ExpectLast: bus.Sequence(0)}
			for {
				_, err := other.Publish(t.Context(), m)
				if err == nil || bus.IsConflict(err) {
					break // a conflict is our own first attempt
				}
				if !bus.IsUnavailable(err) {
					published <- err
					return
				}
				<-time.After(time.Millisecond)
			}
		}
		published <- nil
	}()
	seen := map[string]bool{}
	for restarts := 0; len(seen) < n; {
		m := receive(t, messages)
		seen[string(m.Data)] = true
		if err := m.Ack(t.Context()); err != nil && !bus.IsUnavailable(err) {
			t.Fatal(err)
		}
		if restarts < 3 && len(seen) > (restarts+1)*n/4 {
			restarts++
			s.Restart(t)
		}
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	stored := 0
	for _, err := range b.Read(t.Context(), bus.StreamResult, bus.ResultFilter("x"), 0) {
		if err != nil {
			t.Fatal(err)
		}
		stored++
	}
	if stored != n {
		t.Errorf("%d records are stored, want %d: one for each", stored, n)
	}
}

func TestEphemeralConsumerGoesOnAfterARestart(t *testing.T) {
	s := bustest.NewServer(t, bustest.WithTopology(bus.Topology{OrderShards: 1}))
	b := s.Bus(t)
	put := func(key, data string) {
		t.Helper()
		poll(t, "write "+key, func() bool {
			_, err := b.Publish(t.Context(), bus.Message{Subject: bus.OrderStateSubject(key), Data: []byte(data)})
			return err == nil
		})
	}
	put("shop_1", "a")
	put("shop_1", "b")
	put("shop_2", "c")
	messages := consume(t, b, bus.ConsumerOptions{Stream: bus.OrderStream(0), Filters: []string{bus.OrderStateFilter}, Ephemeral: true, LastPerSubject: true})
	if got, _ := receiveAll(t, messages, 2); !slices.Equal(got, []string{"b", "c"}) {
		t.Fatalf("the newest of each order is %q, want b and c", got)
	}
	s.Restart(t)
	put("shop_1", "d")
	m := receive(t, messages)
	if string(m.Data) != "d" {
		t.Fatalf("after a restart came %q, want only what is new", m.Data)
	}
	for what, err := range map[string]error{"Ack": m.Ack(t.Context()), "AckAsync": m.AckAsync(), "InProgress": m.InProgress(), "Nak": m.Nak(0)} {
		if err != nil {
			t.Errorf("%s of a message that needs none: %v", what, err)
		}
	}
}

func TestReadRidesOverARestart(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	want := publish(t, b, "x", 0, 600)
	var got []string
	for record, err := range b.Read(t.Context(), bus.StreamResult, bus.ResultFilter("x"), 11) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, string(record.Data)); len(got) == 300 {
			s.Restart(t)
		}
	}
	if !slices.Equal(got, want[10:]) {
		t.Fatalf("read %d records, want %d in order and none twice", len(got), len(want)-10)
	}
}

// proxy is a TCP proxy whose existing connections can be made to go silent, as
// when a cable is pulled: nothing is closed and nothing arrives.
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	frozen map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target, frozen: map[net.Conn]bool{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for _, conn := range p.conns {
			_ = conn.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		upstream, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, upstream)
		p.mu.Unlock()
		p.running.Go(func() { p.copy(client, upstream) })
		p.running.Go(func() { p.copy(upstream, client) })
	}
}

func (p *proxy) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			p.mu.Lock()
			frozen := p.frozen[to]
			p.mu.Unlock()
			if !frozen {
				_ = to.Close()
			}
			return
		}
		p.mu.Lock()
		frozen := p.frozen[from]
		p.mu.Unlock()
		if frozen {
			continue
		}
		if _, err := io.Copy(to, strings.NewReader(string(buffer[:n]))); err != nil {
			return
		}
	}
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		p.frozen[conn] = true
	}
}

func TestConsumeNoticesAConnectionThatIsDeadInSilence(t *testing.T) {
	s := bustest.NewServer(t, bustest.WithTCP())
	p := newProxy(t, strings.TrimPrefix(s.URL(), "nats://"))
	b := s.Connect(t, bus.Options{Name: "remote", URL: "nats://" + p.listener.Addr().String()})
	local := s.Bus(t)
	publish(t, local, "x", 0, 1)
	messages := consume(t, b, bus.ConsumerOptions{Stream: bus.StreamResult, Durable: "x", AckWait: never, Reset: true})
	if m := receive(t, messages); string(m.Data) != "0" {
		t.Fatalf("got %q", m.Data)
	}
	p.freeze()
	publish(t, local, "x", 1, 1)
	// Both: the one that was open when the line went dead, and the new one.
	if got, _ := receiveAll(t, messages, 2); !slices.Equal(got, []string{"0", "1"}) {
		t.Fatalf("got %q, want 0 again and 1", got)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	s := bustest.NewServer(t)
	b := s.Bus(t)
	publish(t, b, "x", 0, 5)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range b.Read(ctx, bus.StreamResult, bus.ResultFilter("x"), 0) {
		if n++; n == 2 {
			cancel()
		}
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Fatalf("the last thing yielded is %v, want the context's error", last)
	}
	for _, err := range b.Read(t.Context(), "NOTHING", "x", 0) {
		if !errors.Is(err, bus.ErrNotFound) {
			t.Fatalf("Read of a stream that is not there: %v", err)
		}
	}
	for _, err := range b.Read(t.Context(), bus.StreamResult, bus.ResultSubject("x", "none"), 0) {
		t.Fatalf("Read of an empty subject yielded %v", err)
	}
	for record, err := range b.Read(t.Context(), bus.StreamResult, bus.ResultFilter("x"), 0) {
		if err != nil || record.Sequence != 1 {
			t.Fatalf("record %+v, %v", record, err)
		}
		break
	}
}
