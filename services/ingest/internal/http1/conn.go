package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// readBuffer is what a connection has to read into: a webhook of an order with its
	// header is in it after one read. Of 4,096 connections it takes 32 MiB.
	readBuffer = 8 << 10
	// coarse is how much earlier a deadline may be than is asked for: what is set for each
	// request anew takes a microsecond of it.
	coarse = time.Second
	// mostUnread is how much of a body that its handler left is read, for the sake of the
	// requests behind it. Beyond that the connection is closed, which takes lingering long:
	// a sender that is still sending may lose the answer otherwise.
	mostUnread = 256 << 10
	lingering  = 500 * time.Millisecond
	// mostLines bounds a header's lines, its names' too: each name takes some 100 bytes of
	// memory, so that 40 KiB of short ones would be a megabyte. Senders and the proxies
	// before them write some twenty.
	mostLines = 256
)

// A connection is idle while no request of it has begun, working until it is answered,
// and ended once Shutdown has closed it.
const (
	idle int32 = iota
	working
	ended
)

// conn is one connection.
type conn struct {
	server *Server
	net    net.Conn
	state  atomic.Int32
	reader *bufio.Reader
	// left is how many bytes may still be read of a header, lines how many of its lines were,
	// and limited whether these count.
	left, lines int
	limited     bool
	// until is when what is read has to be there, readBy and writtenBy what its socket
	// was told.
	until, readBy, writtenBy time.Time
	// posted says that the request before was a POST.
	posted bool
	answer answer
}

func newConn(s *Server, accepted net.Conn) *conn {
	return &conn{server: s, net: accepted, answer: answer{conn: accepted}}
}

// Read reads from the socket. It sets the deadline only here: most requests are there as
// a whole before they are waited for.
func (c *conn) Read(p []byte) (int, error) {
	if c.limited {
		if c.left <= 0 || c.lines > mostLines {
			c.left = 0
			return 0, errHeaderTooLarge
		}
		p = p[:min(len(p), c.left)]
	}
	if !c.until.Equal(c.readBy) {
		if err := c.net.SetReadDeadline(c.until); err != nil {
			return 0, err
		}
		c.readBy = c.until
	}
	n, err := c.net.Read(p)
	if c.limited {
		// What was read before this is all of the header, or it would not be read on.
		c.left -= n
		c.lines += bytes.Count(p[:n], newline)
	}
	return n, err
}

// serve answers one request after the other, until the connection is to be closed.
func (c *conn) serve() {
	s := c.server
	reader, ok := s.readers.Get().(*bufio.Reader)
	if ok {
		reader.Reset(c)
	} else {
		reader = bufio.NewReaderSize(c, readBuffer)
	}
	c.reader = reader
	defer func() {
		if failure := recover(); failure != nil {
			s.Logger.Error("a handler panicked, its connection is closed", slog.Any("panic", failure), slog.String("stack", string(debug.Stack())))
			return // its body may still be read by whom it left behind
		}
		reader.Reset(nil)
		s.readers.Put(reader)
	}()
	c.until = time.Now().Add(s.HeaderTimeout)
	for first := true; ; first = false {
		// No request is shorter than four bytes. Of the first, less than that is worth an answer.
		begins := 4
		if first {
			begins = 1
		}
		if _, err := reader.Peek(begins); err != nil || !c.state.CompareAndSwap(idle, working) {
			return
		}
		began := time.Now()
		if !first {
			c.until = began.Add(s.HeaderTimeout)
		}
		request, err := c.request()
		if err != nil {
			c.refuse(err)
			return
		}
		c.until = began.Add(s.RequestTimeout)
		if !c.respond(request) {
			return
		}
		if c.state.Store(idle); s.halting.Load() && c.state.CompareAndSwap(idle, ended) {
			return
		}
		// Where it would be nearly the same it stays as it is.
		if c.until = time.Now().Add(s.IdleTimeout); c.readBy.Before(c.until) && c.until.Sub(c.readBy) < coarse {
			c.until = c.readBy
		}
	}
}

var newline = []byte{'\n'}

var (
	errHeaderTooLarge = errors.New("the header is too large")
	errProtocol       = errors.New("this is not HTTP/1")
	errMalformed      = errors.New("the request is malformed")
)

// hostBytes are what a Host may hold (RFC 3986, section 3.2.2).
const hostBytes = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!$%&()*+,-.:;='[]_~"

// request reads the next request's header, as net/http's server does.
func (c *conn) request() (*http.Request, error) {
	ahead, _ := c.reader.Peek(c.reader.Buffered()) // may be of the body too
	c.limited, c.lines, c.left = true, bytes.Count(ahead, newline), c.server.HeaderBytes+readBuffer-len(ahead)
	defer func() { c.limited = false }()
	if c.posted {
		// Old senders end a body with an empty line that is no part of it (RFC 9112, section 2.2).
		next, _ := c.reader.Peek(4)
		_, _ = c.reader.Discard(len(next) - len(bytes.TrimLeft(next, "\r\n")))
	}
	request, err := http.ReadRequest(c.reader)
	switch {
	case err != nil && c.left <= 0:
		return nil, errHeaderTooLarge
	case err != nil:
		return nil, err
	case len(request.Header) > mostLines: // it was in the buffer as a whole
		return nil, errHeaderTooLarge
	case request.ProtoMajor != 1:
		return nil, errProtocol
	case request.Host == "" && request.ProtoAtLeast(1, 1), strings.Trim(request.Host, hostBytes) != "":
		return nil, errMalformed
	}
	for name := range request.Header {
		// The parser lets a blank through, which others may take for the end of the name:
		// they would find another length of the body.
		if strings.ContainsAny(name, " \t") {
			return nil, errMalformed
		}
	}
	c.posted = request.Method == http.MethodPost
	return request, nil
}

// refuse answers what is no request. Who says nothing, or hangs up, gets no answer.
func (c *conn) refuse(err error) {
	status := http.StatusBadRequest
	_, failed := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, errHeaderTooLarge):
		status = http.StatusRequestHeaderFieldsTooLarge
	case errors.Is(err, errProtocol):
		status = http.StatusHTTPVersionNotSupported
	case failed, errors.Is(err, io.EOF):
		return
	}
	c.answer.reset()
	http.Error(&c.answer, http.StatusText(status), status)
	if c.send(nil, true) == nil {
		c.linger()
	}
}

// respond answers a request, and reports whether another may follow it.
func (c *conn) respond(request *http.Request) (more bool) {
	c.answer.reset()
	body := &body{ReadCloser: request.Body, conn: c, ended: request.ContentLength == 0}
	if expected := request.Header.Get("Expect"); expected != "" {
		if !names(expected, "100-continue") {
			http.Error(&c.answer, http.StatusText(http.StatusExpectationFailed), http.StatusExpectationFailed)
			if c.send(request, true) == nil {
				c.linger()
			}
			return false
		}
		body.asked = !body.ended && request.ProtoAtLeast(1, 1)
	}
	request.Body = body
	c.server.Handler.ServeHTTP(&c.answer, request)
	// Who asked whether to send, and was not told to, may do either: nobody can tell what
	// its next bytes are.
	unread := !body.ended && (body.asked || body.failed || request.ContentLength > mostUnread)
	last := request.Close || names(request.Header.Get("Connection"), "close") || !request.ProtoAtLeast(1, 1) || unread || c.server.halting.Load()
	if c.send(request, last) != nil {
		return false
	}
	if !body.ended && !unread && !last {
		_, _ = io.CopyN(io.Discard, body, mostUnread+1) // that it has ended is what counts
	}
	if !body.ended {
		c.linger()
		return false
	}
	return !last
}

// names reports whether a header names a token, be it among others or nonsense.
func names(value, token string) bool {
	for name := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		if strings.EqualFold(name, token) {
			return true
		}
	}
	return false
}

// linger has a sender that is still sending get its answer: a socket that is closed
// while there is something to read resets the connection, which may overtake the answer.
func (c *conn) linger() {
	if closer, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = closer.CloseWrite() // it is closed all the same
	}
	c.until = time.Now().Add(lingering)
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) // whatever comes, and for so long
}

// body is a request's.
type body struct {
	io.ReadCloser
	conn *conn
	// asked: its sender waits to be told to send. ended: all of it was read. failed: the
	// rest of it cannot be found.
	asked, ended, failed bool
}

// Read tells a sender that asks to send (RFC 9110, section 10.1.1): whoever reads wants it.
func (b *body) Read(p []byte) (int, error) {
	if b.asked {
		b.asked = false
		if err := b.conn.write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			b.failed = true
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		b.ended = true
	case err != nil:
		b.failed = true
	}
	return n, err
}

// Close does nothing: what is left of it is read, or not, when the answer is sent.
func (b *body) Close() error { return nil }
