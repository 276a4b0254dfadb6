//go:build !linux

package transport

import (
	"net"
	"time"
)

// setUserTimeout does nothing where the system has no such option: bytes of a
// stopped process may then outlive their deadline by the kernel's own retries.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }

// hungUp cannot tell here: a request may then be lost on a connection that the
// other side has closed, and its outcome is unknown.
func hungUp(*net.TCPConn) bool { return false }
