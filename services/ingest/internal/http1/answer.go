package http1

import (
	"net"
	"net/http"
	"strconv"
	"time"
)

// keptAnswer is how large a buffer for an answer stays with a connection.
const keptAnswer = 1 << 10

// answer is an http.ResponseWriter that keeps what is written until the handler returns.
type answer struct {
	conn   net.Conn
	header http.Header
	status int
	body   []byte
	wire   []byte
}

func (a *answer) reset() {
	clear(a.header)
	a.status, a.body = 0, a.body[:0]
}

// Conn returns the connection on which the request came.
func (a *answer) Conn() net.Conn { return a.conn }

// Header is part of http.ResponseWriter.
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = make(http.Header)
	}
	return a.header
}

// WriteHeader is part of http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write is part of http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, p...)
	return len(p), nil
}

// send sends the answer to a request, or to what is none.
func (c *conn) send(request *http.Request, last bool) error {
	a := &c.answer
	a.WriteHeader(http.StatusOK)
	wire := a.wire[:0]
	wire = append(wire, "HTTP/1.1 "...)
	wire = strconv.AppendInt(wire, int64(a.status), 10)
	wire = append(append(append(wire, ' '), http.StatusText(a.status)...), "\r\nDate: "...)
	wire = append(append(wire, c.server.dateOf(time.Now())...), "\r\nContent-Length: "...)
	wire = append(strconv.AppendInt(wire, int64(len(a.body)), 10), "\r\n"...)
	if last {
		wire = append(wire, "Connection: close\r\n"...)
	}
	if len(a.body) > 0 && a.Header().Get("Content-Type") == "" {
		a.header.Set("Content-Type", http.DetectContentType(a.body))
	}
	if len(a.header) > 0 {
		wire = a.appendHeader(wire)
	}
	clear(a.header) // a value may be a sender's, and stay as long as the connection is idle
	wire = append(wire, "\r\n"...)
	if request == nil || request.Method != http.MethodHead {
		wire = append(wire, a.body...)
	}
	if a.wire = wire; cap(wire) > keptAnswer {
		a.wire = nil
	}
	if cap(a.body) > keptAnswer {
		a.body = nil
	}
	return c.write(wire)
}

func (a *answer) appendHeader(wire []byte) []byte {
	// The writer's own, which a handler sets too to be sure.
	for _, own := range []string{"Date", "Content-Length", "Connection", "Transfer-Encoding"} {
		delete(a.header, own)
	}
	for name, values := range a.header {
		for _, value := range values {
			wire = append(append(wire, name...), ": "...)
			for _, c := range []byte(value) {
				if c == '\r' || c == '\n' {
					c = ' ' // what a sender wrote must not become a header of its own
				}
				wire = append(wire, c)
			}
			wire = append(wire, "\r\n"...)
		}
	}
	return wire
}

// write writes to the socket.
func (c *conn) write(data []byte) error {
	by := time.Now().Add(c.server.AnswerTimeout)
	if by.Sub(c.writtenBy) >= coarse {
		if err := c.net.SetWriteDeadline(by); err != nil {
			return err
		}
		c.writtenBy = by
	}
	_, err := c.net.Write(data)
	return err
}
