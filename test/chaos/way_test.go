package chaos

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// way is the network between the product and the ERP. It can refuse connections, as
// a machine does that runs and serves nothing, and swallow what is sent, as a broken
// network does.
type way struct {
	t               *testing.T
	address, target string

	mu       sync.Mutex
	listener net.Listener
	// swallows is closed when what is sent flows again; nil while it flows.
	swallows chan struct{}
	conns    map[net.Conn]bool
	working  sync.WaitGroup
}

func newWay(t *testing.T, target string) *way {
	t.Helper()
	w := &way{t: t, target: strings.TrimPrefix(target, "http://"), address: "127.0.0.1:0", conns: make(map[net.Conn]bool)}
	w.listen()
	w.address = w.listener.Addr().String()
	t.Cleanup(func() {
		w.flow()
		w.refuse()
		w.working.Wait()
	})
	return w
}

func (w *way) listen() {
	w.t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.listener = listener
	w.mu.Unlock()
	w.working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			w.working.Go(func() { w.lead(conn) })
		}
	})
}

// lead carries the bytes of one connection.
func (w *way) lead(near net.Conn) {
	far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", w.target)
	if err != nil {
		_ = near.Close()
		return
	}
	if !w.enter(near, far) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { w.carry(far, near) })
	both.Go(func() { w.carry(near, far) })
	both.Wait()
	w.mu.Lock()
	delete(w.conns, near)
	delete(w.conns, far)
	w.mu.Unlock()
}

// enter says that the connection is one to be cut, if none is refused by now.
func (w *way) enter(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range conns {
		if w.listener == nil {
			_ = conn.Close()
			continue
		}
		w.conns[conn] = true
	}
	return w.listener != nil
}

func (w *way) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		swallows := w.swallows
		w.mu.Unlock()
		if swallows != nil {
			<-swallows
			return // what was swallowed is gone, and with it the connection
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// refuse cuts every connection and takes none.
func (w *way) refuse() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener == nil {
		return
	}
	if err := w.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		w.t.Error(err)
	}
	w.listener = nil
	for conn := range w.conns {
		_ = conn.Close()
	}
}

// swallow takes connections and everything that is sent, and leads nowhere.
func (w *way) swallow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.swallows = make(chan struct{})
}

// flow ends what refuse and swallow began.
func (w *way) flow() {
	w.mu.Lock()
	if w.swallows != nil {
		close(w.swallows)
		w.swallows = nil
	}
	refuses := w.listener == nil
	w.mu.Unlock()
	if refuses {
		w.listen()
	}
}
