package transport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7), which package syscall lacks.
const tcpUserTimeout = 0x12

// setUserTimeout makes the kernel give a connection up when bytes stay
// unacknowledged for so long, also while this process is stopped.
func setUserTimeout(c *net.TCPConn, d time.Duration) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	milliseconds := int(max(d.Milliseconds(), 1))
	if err := raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, milliseconds)
	}); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("set TCP_USER_TIMEOUT: %w", os.NewSyscallError("setsockopt", failed))
	}
	return nil
}

// hungUp says whether the other side has closed the connection already, without
// taking anything from it.
func hungUp(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	// Control, unlike Read, does not wait for the reader that Go's transport
	// keeps on every connection.
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waiting := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
		closed = err == nil && n == 0 || err != nil && !waiting
	})
	return closed || err != nil
}
