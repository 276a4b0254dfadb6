package transport

import (
	"syscall"
	"testing"
	"time"
)

// The kernel must drop unsent bytes when the process dies, and unacknowledged
// ones while it is stopped.
func TestUnsentBytesDieWithTheProcess(t *testing.T) {
	s := serve(t, always(reply))
	transport := newTransport(t, Config{Endpoint: s.url(), CallTimeout: 7 * time.Second})
	c, err := transport.dial(t.Context(), "tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	raw, err := c.(*conn).raw.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if got, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout); err != nil || got != 7000 {
			t.Errorf("TCP_USER_TIMEOUT is %d, %v, want 7000", got, err)
		}
		// struct linger starts with its switch; the seconds behind it are 0.
		if got, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER); err != nil || got != 1 {
			t.Errorf("SO_LINGER is %d, %v, want 1", got, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
