package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func status(t *testing.T, reader *bufio.Reader) int {
	t.Helper()
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// Who keeps it waiting is cut: before a request, in its header and in its body, and
// however many requests were answered on the connection before.
func TestSlowSendersAreCut(t *testing.T) {
	const short = 150 * time.Millisecond
	for name, test := range map[string]struct {
		change func(*Server)
		sent   string
		// answer is what is told before the end, 0 for nothing.
		answer int
	}{
		"nothing is sent":  {func(s *Server) { s.HeaderTimeout = short }, "", 0},
		"half of a header": {func(s *Server) { s.HeaderTimeout = short }, whole[:40], 0},
		"half of a body":   {func(s *Server) { s.RequestTimeout = short }, whole[:len(whole)-2], http.StatusBadRequest},
		"half of a chunk":  {func(s *Server) { s.RequestTimeout = short }, chunked[:len(chunked)-20], http.StatusBadRequest},
		"no other request": {func(s *Server) { s.IdleTimeout = short }, whole, http.StatusOK},
	} {
		for _, before := range []int{0, 3} {
			t.Run(name, func(t *testing.T) {
				s := newServer(new(recorder))
				test.change(s)
				conn := dial(t, run(t, s))
				reader := bufio.NewReader(conn)
				for range before {
					_, _ = io.WriteString(conn, whole)
					if got := status(t, reader); got != http.StatusOK {
						t.Fatalf("status %d", got)
					}
					if test.sent == "" {
						return // it waits for the next request, not for the first
					}
				}
				begin := time.Now()
				_, _ = io.WriteString(conn, test.sent)
				if test.answer != 0 {
					if got := status(t, reader); got != test.answer {
						t.Errorf("status %d, want %d", got, test.answer)
					}
				}
				if _, err := reader.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after %v the connection is open: %v", time.Since(begin), err)
				}
			})
		}
	}
}

// A deadline is left as it is where it is nearly the same, and never where it is sooner.
func TestTheTimeOfARequestBeginsAnew(t *testing.T) {
	s := newServer(new(recorder))
	s.RequestTimeout = 300 * time.Millisecond
	conn := dial(t, run(t, s))
	reader := bufio.NewReader(conn)
	end := time.Now().Add(2 * s.RequestTimeout)
	for time.Now().Before(end) {
		// In two pieces, so that it has to wait for the second.
		_, _ = io.WriteString(conn, whole[:len(whole)-2])
		<-time.After(20 * time.Millisecond)
		_, _ = io.WriteString(conn, whole[len(whole)-2:])
		if got := status(t, reader); got != http.StatusOK {
			t.Fatalf("status %d", got)
		}
	}
}

// Who asks is told to send when its body is wanted, and not before.
func TestWhoAsksIsToldToSend(t *testing.T) {
	conn := dial(t, run(t, newServer(new(recorder))))
	reader := bufio.NewReader(conn)
	for range 2 {
		_, _ = io.WriteString(conn, "POST /asked HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
		line, err := reader.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Fatalf("told %q, %v", line, err)
		}
		_, _ = reader.ReadString('\n')
		_, _ = io.WriteString(conn, "hello")
		if got := status(t, reader); got != http.StatusOK {
			t.Fatalf("status %d", got)
		}
	}
	_, _ = io.WriteString(conn, "POST /unread HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if got := status(t, reader); got != http.StatusNotFound {
		t.Errorf("status %d to one whose body nobody wants", got)
	}
	if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("nobody knows whether the body comes, and the connection is open: %v", err)
	}
}

// gated is a handler that answers when it may.
type gated struct{ begun, may chan struct{} }

func (h gated) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h.begun <- struct{}{}
	<-h.may
	w.WriteHeader(http.StatusAccepted)
}

func TestShutdown(t *testing.T) {
	h := gated{make(chan struct{}), make(chan struct{})}
	s := newServer(h)
	address := run(t, s)
	silent, works := dial(t, address), dial(t, address)
	_, _ = io.WriteString(works, nothing)
	<-h.begun
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown with a request in work: %v", err)
	}
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("who says nothing has an open connection: %v", err)
	}
	h.may <- struct{}{}
	reader := bufio.NewReader(works)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusAccepted || !response.Close {
		t.Errorf("the request in work is answered %+v, %v", response, err)
	}
	if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is open after the answer: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := s.Serve(nobody{}); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

func TestClose(t *testing.T) {
	s := newServer(new(recorder))
	conn := dial(t, run(t, s))
	_, _ = io.WriteString(conn, whole[:40])
	s.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is open: %v", err)
	}
}

// An answer reaches a sender that is still sending.
func TestAnAnswerIsNotOvertakenByTheEnd(t *testing.T) {
	address := run(t, newServer(new(recorder)))
	for range 20 {
		conn := dial(t, address)
		_, _ = io.WriteString(conn, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
		if _, err := conn.Write(make([]byte, 6_000_000)); err != nil {
			t.Fatal(err) // it wrote on, and would not have read
		}
		if got := status(t, bufio.NewReader(conn)); got != http.StatusNotFound {
			t.Fatalf("status %d", got)
		}
	}
}
