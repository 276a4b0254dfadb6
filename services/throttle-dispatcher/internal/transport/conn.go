package transport

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// rawConn counts the bytes that the kernel took, below any TLS.
type rawConn struct {
	*net.TCPConn
	written atomic.Int64
}

func (c *rawConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// conn is the outermost layer of a connection: what is written to it are bytes
// of requests, and none passes without a ticket.
type conn struct {
	net.Conn
	raw    *rawConn
	ticket atomic.Pointer[ticket]
	closed chan struct{}
	once   sync.Once
}

func newConn(outer net.Conn, raw *rawConn) *conn {
	return &conn{Conn: outer, raw: raw, closed: make(chan struct{})}
}

// arm gives the connection the ticket of the request that is about to use it.
func (c *conn) arm(t *ticket) { c.ticket.Store(t) }

// disarm takes t away, unless the next request has armed it already.
func (c *conn) disarm(t *ticket) { c.ticket.CompareAndSwap(t, nil) }

func (c *conn) Write(p []byte) (int, error) {
	t := c.ticket.Load()
	if t == nil {
		_ = c.Close()
		return 0, ErrNoPermit
	}
	first, err := t.begin(c)
	if err != nil {
		_ = c.Close()
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if first && n > 0 && t.issued != nil {
		t.issued(t.permit.Number, time.Now())
	}
	return n, err
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		if t := c.ticket.Load(); t != nil {
			t.lost(c, err)
		}
	}
	return n, err
}

// Close drops the connection at once, with what the kernel has not sent yet. It
// goes past TLS, whose closing alert could block.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.raw.Close()
}

// ticket lets the bytes of one request onto one connection.
type ticket struct {
	permit budget.Permit
	issued func(number int64, at time.Time)
	stop   context.CancelCauseFunc

	mu          sync.Mutex
	conn        *conn // that the request was begun on
	base        int64 // of its raw counter
	done        bool
	firstByteAt time.Time
	early       error // why conn was lost
}

// begin says whether bytes of the request may be written to c now, and whether
// they are its first. The first wait for the send time.
func (t *ticket) begin(c *conn) (first bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.done:
		return false, ErrNoPermit
	case t.conn == c:
		return false, nil
	case t.conn != nil:
		// Go's transport repeats the request by itself.
		t.stop(ErrNoPermit)
		return false, ErrNoPermit
	}
	if wait := time.Until(t.permit.SendAt); wait > 0 {
		t.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.closed:
			timer.Stop()
		}
		t.mu.Lock()
		if t.done || t.conn != nil {
			return false, ErrNoPermit
		}
	}
	now := time.Now()
	switch {
	case now.Before(t.permit.SendAt):
		return false, net.ErrClosed
	case now.After(t.permit.NotAfter):
		t.stop(ErrPermitExpired)
		return false, ErrPermitExpired
	}
	t.conn, t.base, t.firstByteAt = c, c.raw.written.Load(), now
	return true, nil
}

// lost notes why the connection of the request failed, before Go's transport
// tries another one and hides it.
func (t *ticket) lost(c *conn, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == c && !t.done && t.early == nil {
		t.early = err
	}
}

// finish ends the ticket: no byte of the request can be written after it. It
// says whether any was, and what the connection died of. Unless the reply is
// whole, the connection is closed when it returns.
func (t *ticket) finish(whole bool) (written bool, early error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = true
	if t.conn == nil {
		return false, nil
	}
	if !whole {
		// An error means that it is closed already.
		_ = t.conn.Close()
	}
	written = t.conn.raw.written.Load() > t.base
	t.conn.disarm(t)
	return written, t.early
}
