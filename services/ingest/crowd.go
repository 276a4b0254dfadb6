package ingest

import (
	"container/list"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// crowd is a listener that bounds how many connections are open. Where one more
// comes it closes the one that has kept it waiting longest, without a request or
// in the middle of one. Refusing the newcomer instead would let whoever opens
// connections and says nothing lock everybody else out; a sender that means it
// has its request in within milliseconds, and is not in line by then.
type crowd struct {
	net.Listener
	most int

	mu   sync.Mutex
	open int
	// waiting are the connections of which the next or the rest of a request is
	// awaited, the one that began to wait first in front.
	waiting list.List
	// guests by their address.
	guests map[string]*guest
}

func newCrowd(listener net.Listener, most int64) *crowd {
	return &crowd{Listener: listener, most: int(most), guests: make(map[string]*guest)}
}

// guest is one connection of a crowd.
type guest struct {
	net.Conn
	crowd *crowd
	// place is its element in waiting, nil while its request is in work; gone once
	// it is closed. The crowd's mutex guards both.
	place *list.Element
	gone  bool
	// calls are in work, where a connection may have several.
	calls int
}

// Accept returns the next connection. It closes newcomers only where every other
// connection has a request in work.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g := &guest{Conn: conn, crowd: c}
		if c.admit(g) {
			return g, nil
		}
		_ = conn.Close()
	}
}

func (c *crowd) admit(g *guest) bool {
	c.mu.Lock()
	var slowest *guest
	if c.open >= c.most {
		front := c.waiting.Front()
		if front == nil {
			c.mu.Unlock()
			return false
		}
		slowest, _ = front.Value.(*guest) // nothing else is in the list
		slowest.leave()
	}
	c.open++
	g.place = c.waiting.PushBack(g)
	c.guests[addrOf(g.RemoteAddr())] = g
	c.mu.Unlock()
	if slowest != nil {
		_ = slowest.Conn.Close() // its handler finds it closed
	}
	return true
}

// leave takes it out of the count. It needs the crowd's mutex.
func (g *guest) leave() {
	if g.gone {
		return
	}
	g.gone = true
	g.crowd.open--
	if address := addrOf(g.RemoteAddr()); g.crowd.guests[address] == g {
		delete(g.crowd.guests, address)
	}
	if g.place != nil {
		g.crowd.waiting.Remove(g.place)
		g.place = nil
	}
}

// Close closes the connection.
func (g *guest) Close() error {
	g.crowd.mu.Lock()
	g.leave()
	g.crowd.mu.Unlock()
	return g.Conn.Close()
}

// CloseWrite says that nothing more comes, where a connection can say so.
func (g *guest) CloseWrite() error {
	if closer, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return closer.CloseWrite()
	}
	return nil
}

// arrived says that the request is in, and so that nobody waits for its sender.
func (g *guest) arrived() {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	if g.place != nil {
		g.crowd.waiting.Remove(g.place)
		g.place = nil
	}
}

// answered says that the next request is awaited, from now on: also of one whose request was
// answered before its end was read, or it would stay in front, however much it is in use.
func (g *guest) answered() {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	switch {
	case g.gone || g.calls > 0:
	case g.place == nil:
		g.place = g.crowd.waiting.PushBack(g)
	default:
		g.crowd.waiting.MoveToBack(g.place)
	}
}

// begin says that a call is in work, end that it is over; a connection of which any is
// keeps nobody waiting.
func (g *guest) begin() {
	g.crowd.mu.Lock()
	g.calls++
	g.crowd.mu.Unlock()
	g.arrived()
}

func (g *guest) end() {
	g.crowd.mu.Lock()
	g.calls--
	idle := g.calls == 0
	g.crowd.mu.Unlock()
	if idle {
		g.answered()
	}
}

// find returns the guest of that address, nil for none.
func (c *crowd) find(address net.Addr) *guest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.guests[addrOf(address)]
}

// attend takes a connection out of the line from the end of its request's body to
// the end of its handler.
func (c *crowd) attend(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		on, known := w.(interface{ Conn() net.Conn })
		if !known {
			next.ServeHTTP(w, r)
			return
		}
		if g, ok := on.Conn().(*guest); ok {
			defer g.answered()
			r.Body = &arriving{ReadCloser: r.Body, guest: g}
		}
		next.ServeHTTP(w, r)
	})
}

// arriving is a body that tells when its end is read.
type arriving struct {
	io.ReadCloser
	guest *guest
}

func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		a.guest.arrived()
	}
	return n, err
}
