//go:build !linux

package transport

import (
	"net"
	"time"
)

// setUserTimeout does nothing where the system has no such option: bytes of a
// stopped process may then outlive their deadline by the kernel's own retries.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
