// Package http1 serves HTTP/1.1 to handlers whose answers are short, at half of the
// processor time that net/http's server takes: it reads requests by net/http's own
// parser, and leaves out what a webhook has no use for. There is no TLS and no HTTP/2
// (a proxy before it has both), nothing is streamed or upgraded, and a request's
// context does not end when its sender hangs up.
package http1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves connections. All fields are required, and not to be changed once it serves.
type Server struct {
	// Handler answers requests. An answer is kept in memory until it returns. Its
	// ResponseWriter has a method Conn, which returns the connection.
	Handler http.Handler
	// HeaderTimeout is from a request's first byte, or the connection's opening, to the
	// end of its header; RequestTimeout to the end of its body. AnswerTimeout is how long a
	// sender may take to read the answer, IdleTimeout how long the next request may take
	// to come: this one up to a second less.
	HeaderTimeout, RequestTimeout, AnswerTimeout, IdleTimeout time.Duration
	// HeaderBytes bounds a request's header.
	HeaderBytes int
	Logger      *slog.Logger

	readers sync.Pool
	date    atomic.Pointer[date]
	// halting is stopping, for those who answer.
	halting atomic.Bool

	mu       sync.Mutex
	stopping bool
	// halted is closed when Serve is to end.
	halted   chan struct{}
	listener net.Listener
	conns    map[*conn]struct{}
	// empty is closed when it stops and no connection is left; nil before that.
	empty chan struct{}
}

// Serve accepts connections until Shutdown or Close, and returns http.ErrServerClosed
// then. It closes the listener.
func (s *Server) Serve(listener net.Listener) error {
	defer func() { _ = listener.Close() }()
	s.mu.Lock()
	s.listener, s.conns = listener, make(map[*conn]struct{})
	stopping, halted := s.stopping, make(chan struct{})
	s.halted = halted
	s.mu.Unlock()
	if stopping {
		return http.ErrServerClosed
	}
	var wait time.Duration
	for {
		accepted, err := listener.Accept()
		switch {
		case err == nil:
			wait = 0
			s.begin(accepted)
			continue
		case s.stops():
			return http.ErrServerClosed
		case !passes(err):
			return fmt.Errorf("accepting a connection: %w", err)
		}
		// As net/http: there may be no file descriptor for a moment.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		s.Logger.Error("a connection cannot be accepted, it is tried again", slog.String("error", err.Error()), slog.String("in", wait.String()))
		select {
		case <-time.After(wait):
		case <-halted:
		}
	}
}

// passes reports whether an error of Accept may be over in a moment.
func passes(err error) bool {
	passing, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && passing.Temporary()
}

func (s *Server) begin(accepted net.Conn) {
	c := newConn(s, accepted)
	s.mu.Lock()
	stopping := s.stopping
	if !stopping {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if stopping {
		_ = accepted.Close()
		return
	}
	go func() {
		defer s.end(c)
		c.serve()
	}()
}

func (s *Server) end(c *conn) {
	_ = c.net.Close() // all that was to be said is
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.tellEmpty()
}

// tellEmpty needs the mutex.
func (s *Server) tellEmpty() {
	if s.empty == nil || len(s.conns) > 0 {
		return
	}
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

func (s *Server) stops() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// Shutdown stops accepting, closes the connections that have no request in work, and
// returns nil when the others have had their answers, or the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stop()
	for c := range s.conns {
		if c.state.CompareAndSwap(idle, ended) {
			_ = c.net.Close()
		}
	}
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts all connections, and returns when nobody serves them any more.
func (s *Server) Close() {
	s.mu.Lock()
	s.stop()
	for c := range s.conns {
		_ = c.net.Close() // whoever serves it finds it closed
	}
	empty := s.empty
	s.mu.Unlock()
	<-empty
}

// stop needs the mutex.
func (s *Server) stop() {
	if !s.stopping && s.halted != nil {
		close(s.halted)
	}
	s.stopping = true
	s.halting.Store(true)
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
	s.tellEmpty()
}

// date is the header of that name in a second.
type date struct {
	second int64
	text   string
}

// dateOf returns the header's value at a time; it is made once a second.
func (s *Server) dateOf(now time.Time) string {
	known := s.date.Load()
	if known == nil || known.second != now.Unix() {
		known = &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
		s.date.Store(known)
	}
	return known.text
}
