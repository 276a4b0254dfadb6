package transport

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// deed is what the server does with one request.
type deed string

const (
	reply      deed = "reply"
	replyClose deed = "reply and close"        // without a word about it
	hang       deed = "read and never reply"   // until the client goes
	cut        deed = "read and close"         // no reply
	cutInHead  deed = "close after one byte"   // of the request
	cutInReply deed = "close in half a reply"  //
	early      deed = "reply before the body"  // and close
	redirect   deed = "redirect"               //
	long       deed = "reply with a long body" //
	upgrade    deed = "switch protocols"       // and never say a word in the new one
	upgradeOf  deed = "switch without a name"  // of the new one
)

// server counts what arrives on the wire: every request of which one byte was
// seen. It shares no code with net/http's server.
type server struct {
	listener net.Listener
	next     func(n int) deed

	mu          sync.Mutex
	arrivals    int
	at          []time.Time
	connections int
	permits     map[string]int // by the header of that name
	dead        int            // connections seen to end by the client's reset
	open        map[net.Conn]bool
	closed      bool
	group       sync.WaitGroup
}

// serve starts a server that does next(n) with the n-th request, from 0.
func serve(t testing.TB, next func(n int) deed) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: listener, next: next, permits: map[string]int{}, open: map[net.Conn]bool{}}
	s.group.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.connections++
			s.open[c] = true
			closed := s.closed
			s.mu.Unlock()
			if closed {
				_ = c.Close()
				continue
			}
			s.group.Go(func() { s.handle(c) })
		}
	})
	t.Cleanup(s.stop)
	return s
}

// stop returns when nothing can be counted any more.
func (s *server) stop() {
	_ = s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.group.Wait()
}

func (s *server) url() string { return "http://" + s.listener.Addr().String() }

func (s *server) count() (arrivals, connections int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrivals, s.connections
}

func (s *server) resets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

func (s *server) handle(c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for s.one(c, in) {
	}
}

// one handles a request and says whether the connection lives on.
func (s *server) one(c net.Conn, in *bufio.Reader) bool {
	if _, err := in.Peek(1); err != nil {
		return false
	}
	s.mu.Lock()
	n := s.arrivals
	s.arrivals++
	s.at = append(s.at, time.Now())
	s.mu.Unlock()
	do := s.next(n)
	if do == cutInHead {
		return false
	}
	request, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	s.mu.Lock()
	s.permits[request.Header.Get("Permit")]++
	s.mu.Unlock()
	if do == early {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		return false
	}
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return false
	}
	switch do {
	case reply, replyClose:
		_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return err == nil && do == reply
	case redirect:
		_, err = fmt.Fprintf(c, "HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
		return err == nil
	case long:
		_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n%05000d", 0)
		return err == nil
	case cutInReply:
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	case hang, upgrade, upgradeOf:
		switch do {
		case upgrade:
			_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		case upgradeOf:
			_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		}
		if _, err := in.Peek(1); err != nil {
			s.mu.Lock()
			s.dead++
			s.mu.Unlock()
		}
	}
	return false
}

func always(d deed) func(int) deed { return func(int) deed { return d } }

// script does each deed once and replies after that.
func script(deeds ...deed) func(int) deed {
	return func(n int) deed {
		if n < len(deeds) {
			return deeds[n]
		}
		return reply
	}
}

// eventually polls a condition that another goroutine brings about.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happened that %s", what)
		}
	}
}
