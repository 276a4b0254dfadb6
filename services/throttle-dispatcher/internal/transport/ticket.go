package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/peppasync/peppasync/services/throttle-dispatcher/internal/budget"
)

// shortAfter is how long a call waits for room until there counts as too little, or
// half of the time for which its permit is good.
const shortAfter = 100 * time.Millisecond

// errHungUp: a keep-alive connection ended before it was used again.
var errHungUp = errors.New("the server closed the connection before the request was written")

// ticket lets the bytes of one request onto one connection.
type ticket struct {
	permit budget.Permit
	issued func(number int64, at time.Time)
	// stop ends the request's context with a cause, which also keeps Go's
	// transport from trying again.
	stop context.CancelCauseFunc
	// gate is entered before the first byte.
	gate *gate
	// began is when it was handed to the transport.
	began time.Time

	mu          sync.Mutex
	connected   bool
	conn        *conn // that the request was begun on
	base        int64 // of its byte counter
	firstByteAt time.Time
	answered    bool
	recalled    bool
	done        bool
}

// arm gives the connection to the request.
func (t *ticket) arm(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connected = true
	c.ticket.Store(t)
}

// begin says whether bytes of the request may be written to c now, and whether
// they are its first. The first wait for the send time and for room at the gate.
func (t *ticket) begin(c *conn) (first bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.done && t.conn == nil {
		t.mu.Unlock()
		in := c.sleep(time.Until(t.permit.SendAt)) && t.gate.enter(c.closed, min(shortAfter, time.Until(t.permit.NotAfter)/2))
		t.mu.Lock()
		if !in {
			return false, net.ErrClosed
		}
		defer func() {
			if !first {
				t.gate.leave()
			}
		}()
	}
	switch {
	case t.done:
		return false, ErrNoPermit
	case t.recalled:
		return false, ErrRecalled
	case t.conn == c:
		return false, nil
	case t.conn != nil:
		// Go's transport repeats the request by itself.
		t.stop(ErrNoPermit)
		return false, ErrNoPermit
	}
	if hungUp(c.raw.TCPConn) {
		// Go's transport tries another connection, and the permit is still whole.
		return false, errHungUp
	}
	// Read last: what is done between this and the write makes a late byte.
	now := time.Now()
	if now.After(t.permit.NotAfter) {
		t.stop(ErrPermitExpired)
		return false, ErrPermitExpired
	}
	t.conn, t.base, t.firstByteAt = c, c.raw.written.Load(), now
	return true, nil
}

// heard follows what comes back. Where the connection of the request is lost
// before a byte of the reply, it stops the request with that error: Go's
// transport would try another connection, fail there for want of a permit, lose
// it too, and hide the reason.
func (t *ticket) heard(c *conn, n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != c || t.done {
		return
	}
	t.answered = t.answered || n > 0
	if err != nil && !t.answered {
		t.stop(fmt.Errorf("connection lost before the reply: %w", err))
	}
}

// recall stops a request of which no byte was written.
func (t *ticket) recall() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil && !t.done {
		t.recalled = true
		t.stop(ErrRecalled)
	}
}

// expire stops a request of which no byte was written in time. A dial goes on
// without it, and the next request finds the connection. That there was none says
// something of the other side only where it had most of the time that the permit is good
// for; a permit that was late already, such as after a bus that was silent, says nothing.
func (t *ticket) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.conn != nil || t.done:
	case !t.connected && t.began.Before(t.permit.SendAt.Add(t.permit.NotAfter.Sub(t.permit.SendAt)/2)):
		t.stop(ErrNotConnected)
	default:
		t.stop(ErrPermitExpired)
	}
}

// begun says whether the first byte was let pass: the ticket has entered the gate.
func (t *ticket) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn != nil
}

// finish ends the ticket: no byte of the request can be written after it. It
// says whether any was. Unless the reply is whole, the request's connection is
// closed when it returns.
func (t *ticket) finish(whole bool) (written bool) {
	t.mu.Lock()
	t.done = true
	c := t.conn
	t.mu.Unlock()
	if c == nil {
		return false
	}
	defer c.ticket.CompareAndSwap(t, nil)
	// A whole reply with nothing written is one that the server sent by itself;
	// the request's first byte may be about to follow.
	if whole && c.raw.written.Load() > t.base {
		return true
	}
	c.shut()
	return c.raw.kill() > t.base
}
