// Package blackhole gives tests an address that does not answer: packets to it
// are swallowed, as those to a host behind a broken network are, until it is
// filled.
package blackhole

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Hole is such an address. It belongs to one test.
type Hole struct {
	fd      int
	address string
	filler  []net.Conn
}

// Open returns an address that swallows every attempt to connect. It ends with
// the test.
func Open(t testing.TB) *Hole {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &Hole{fd: fd}
	t.Cleanup(h.close)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	// Linux drops what wants to connect while the queue of those who have not been
	// accepted is full; with a backlog of 0 that is one.
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	inet, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("the socket's name is %T", name)
	}
	h.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(inet.Port))
	for range 4 {
		dialer := net.Dialer{Timeout: 200 * time.Millisecond}
		c, err := dialer.DialContext(t.Context(), "tcp", h.address)
		if err != nil {
			return h
		}
		h.filler = append(h.filler, c)
	}
	t.Skip("this kernel takes connections beyond the backlog")
	return nil
}

// Address returns host and port.
func (h *Hole) Address() string { return h.address }

// Fill ends the hole: the listener takes connections from now on. Those that had
// filled its queue come first, and are closed already. The caller closes it.
func (h *Hole) Fill(t testing.TB) net.Listener {
	t.Helper()
	for _, c := range h.filler {
		_ = c.Close()
	}
	h.filler = nil
	file := os.NewFile(uintptr(h.fd), "blackhole")
	h.fd = -1
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	return listener
}

func (h *Hole) close() {
	for _, c := range h.filler {
		_ = c.Close()
	}
	if h.fd >= 0 {
		_ = syscall.Close(h.fd)
	}
}
