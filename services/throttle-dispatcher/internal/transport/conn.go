package transport

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// rawConn counts the bytes that the kernel took, below any TLS.
type rawConn struct {
	*net.TCPConn
	writing sync.Mutex
	written atomic.Int64
}

func (c *rawConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	n, err := c.TCPConn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// kill closes the connection and returns how many bytes the kernel took in all.
// Closing wakes a write that is blocked, so the lock is free at once; without it
// a write that has just passed might not be counted yet.
func (c *rawConn) kill() int64 {
	// An error means that it is closed already.
	_ = c.Close()
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.written.Load()
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
	if t := c.ticket.Load(); t != nil {
		t.heard(c, n, err)
	}
	return n, err
}

// Close drops the connection at once, with what the kernel has not sent yet. It
// goes past TLS, whose closing alert could block.
func (c *conn) Close() error {
	c.shut()
	return c.raw.Close()
}

// shut wakes a write that waits for its send time.
func (c *conn) shut() { c.once.Do(func() { close(c.closed) }) }

// sleep says whether the connection is still open after d.
func (c *conn) sleep(d time.Duration) (open bool) {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.closed:
		return false
	}
}
